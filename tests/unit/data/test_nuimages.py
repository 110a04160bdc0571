"""nuImages in its published layout: tables of each split beside the images of all.

Second sources: the numbering is that of ``name_to_index_mapping``, the drawing that of
``get_segmentation`` in nutonomy/nuscenes-devkit d9de17a (python-sdk/nuimages), done again here with
pycocotools; the layout is that of its README.md and docs/schema_nuimages.md.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from streetseg.core.errors import StreetsegError
from streetseg.data.drafting.public_sets import recognize
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.sources import load_source
from tests.support import source_layouts as layouts

LOGS = ("n013-2018-08-01-16-21-53-0400", "n015-2018-10-02-10-50-40+0800")
HEIGHT, WIDTH = layouts.SIZE
NAMES = [label.name for label in LabelSpace.load("nuimages").labels if label.id]
INDEX = {name: number for number, name in enumerate(sorted(NAMES[:23]), 1)} | {
    "flat.driveable_surface": 24,
    "vehicle.ego": 31,
}


def rle(mask: np.ndarray) -> dict[str, Any]:
    """A mask as the tables hold it."""
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [*encoded["size"]], "counts": b64encode(encoded["counts"]).decode()}


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def annotations(image: str) -> dict[str, list[dict[str, Any]]]:
    """Every category in an image; objects overlap below, and their tokens are not in order."""
    surfaces = [("flat.driveable_surface", box(16, 0, 32, 64)), ("vehicle.ego", box(28, 0, 32, 64))]
    objects = [
        (name, box(0, number * 2, 4, number * 2 + 2) | box(8, number * 2, 24, number * 2 + 12))
        for number, name in enumerate(sorted(NAMES[:23]))
    ]
    rows = {
        table: [
            {
                "token": f"{number * 7 % 23:02d}-{image}",
                "sample_data_token": image,
                "category_token": f"category {name}",
                "mask": rle(mask),
                "bbox": [0, 0, 1, 1],
            }
            for number, (name, mask) in enumerate(drawn)
        ]
        for table, drawn in (("surface_ann", surfaces), ("object_ann", objects))
    }
    rows["object_ann"].append({**rows["object_ann"][0], "token": f"99-{image}", "mask": None})
    return rows


def write_nuimages(root: Path) -> Path:
    """Two key frames of train, one of val and one of test, each with a sweep before it."""
    for split, logs in (("train", LOGS), ("val", LOGS[1:]), ("test", LOGS[:1])):
        tables: dict[str, list[dict[str, Any]]] = {"surface_ann": [], "object_ann": []}
        images = []
        for number, log in enumerate(logs):
            camera = f"CAM_{'FRONT' if number else 'BACK_LEFT'}"
            name = f"{camera}/{log}__{camera}__15331516035{len(split)}{number}.jpg"
            layouts.write_photo(root / "samples" / name)
            for folder, key in (("sweeps", False), ("samples", True)):
                images.append(
                    {
                        "token": f"{folder}-{split}-{number}",
                        "filename": f"{folder}/{name}",
                        "is_key_frame": key,
                        "width": WIDTH,
                        "height": HEIGHT,
                    }
                )
            if split != "test":
                for table, rows in annotations(f"samples-{split}-{number}").items():
                    tables[table] += rows
        tables |= {
            "sample_data": images,
            "category": [{"token": f"category {name}", "name": name} for name in NAMES[::-1]],
        }
        for table, rows in tables.items():
            (root / f"v1.0-{split}").mkdir(exist_ok=True)
            (root / f"v1.0-{split}/{table}.json").write_text(json.dumps(rows))
    return root


def segmentation(folder: Path, image: str) -> np.ndarray:
    """The ids of an image, as the devkit draws them: surfaces, then objects sorted by token."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    tables = [
        json.loads((folder / f"{name}_ann.json").read_text()) for name in ("surface", "object")
    ]
    tables[1].sort(key=lambda row: str(row["token"]))
    for row in (row for table in tables for row in table if row["sample_data_token"] == image):
        if row["mask"]:
            counts = b64decode(row["mask"]["counts"])
            mask = coco_mask.decode({"size": row["mask"]["size"], "counts": counts})
            ids[mask == 1] = INDEX[row["category_token"].removeprefix("category ")]
    return ids


def test_the_masks_are_those_of_the_devkit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_nuimages(tmp_path / "set")
    dataset = layouts.prepared("nuimages", root, data__target="own")
    assert "1 frames of unlisted" in capsys.readouterr().err
    assert dataset.index["split"].tolist() == ["train", "train", "val"]
    assert sorted(dataset.index["city"]) == [LOGS[0], LOGS[1], LOGS[1]]
    row = int(dataset.rows("val")[0])
    expected = segmentation(root / "v1.0-val", "samples-val-0")
    assert {*np.unique(expected)} >= {0, *range(1, 25), 31}
    np.testing.assert_array_equal(dataset.label_ids(row), expected)
    assert dataset.shapes == {
        "read:surface": 6,
        "read:object": 69,
        "dropped:annotation without a mask": 3,
    }


def test_what_is_not_drawn_is_ignored_in_the_categories_of_cityscapes(tmp_path: Path) -> None:
    root = write_nuimages(tmp_path / "set")
    dataset = layouts.prepared("nuimages", root)
    assert dataset.labels == LabelSpace.load("cityscapes")
    categories = dataset.categories(int(dataset.rows("val")[0]))
    ids = segmentation(root / "v1.0-val", "samples-val-0")
    assert {*categories[ids == 0]} == {IGNORE}
    assert {*categories[ids == 24]} == {dataset.labels.category_id("flat")}
    assert {*categories[ids == INDEX["vehicle.car"]]} == {dataset.labels.category_id("vehicle")}


def test_the_mini_set_is_divided_by_logs(tmp_path: Path) -> None:
    root = write_nuimages(tmp_path)
    (root / "v1.0-train").rename(root / "v1.0-mini")
    frames = load_source("nuimages-mini").find(root)
    assert [(frame.split, frame.city) for frame in frames] == [("train", LOGS[0]), ("val", LOGS[1])]


def test_init_recognizes_the_set(tmp_path: Path) -> None:
    assert recognize(write_nuimages(tmp_path)) == ["nuimages"]


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        (
            "category",
            [],
            r"object_ann.json|surface_ann.json has the annotation .* which .*category",
        ),
        ("object_ann", None, r"cannot read .*v1.0-train/object_ann.json: No such file"),
        ("object_ann", {"mask": {"size": [32, 64], "counts": "?"}}, "has a damaged mask: unpack"),
        ("object_ann", {"sample_data_token": "x"}, "of x, which .*sample_data.json does not list"),
        ("surface_ann", {"mask": 7}, r"surface_ann.json is not a label file of nuImages: '0.mask'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    table: str, change: Any, said: str, tmp_path: Path
) -> None:
    root = write_nuimages(tmp_path / "set")
    path = root / f"v1.0-train/{table}.json"
    rows = json.loads(path.read_text())
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps([rows[0] | change, *rows[1:]] if change else []))
    with pytest.raises(StreetsegError, match=said):
        load_source("nuimages").find(root)
