"""Label files of annotation tools: how they belong to images, and what changes and mistakes do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.formats import FormatName
from streetseg.data.dataset import PreparedDataset
from streetseg.data.origin import open_prepared
from streetseg.data.sources import load_source
from tests.support import source_layouts as layouts
from tests.support.cityscapes_layout import small_recipe
from tests.unit.data.test_annotations import coco, refusal
from tests.unit.data.test_label_tools import LABELS


@pytest.mark.parametrize("format", ["cityscapes", "coco", "label-studio", "labelme", "supervisely"])
def test_a_damaged_or_other_json_is_refused(format: FormatName) -> None:
    assert "is not valid JSON (EOF while" in refusal(format, '{"images": [')
    other = {"shapes": []} if format != "labelme" else coco()
    kind = "labelme" if format != "labelme" else "COCO"
    assert f"it looks like one of {kind}" in refusal(format, other)


def towns(root: Path, images: str = "{city}/{name}.jpg") -> Path:
    """Photographs of two towns, four of each, and one COCO file for all, with a road in each."""
    entries, annotations = [], []
    for number in range(8):
        name = images.format(city="north" if number < 4 else "south", name=f"frame_{number}")
        layouts.write_photo(root / "photos" / name)
        entries.append({"id": number, "file_name": name, "height": 32, "width": 64})
        ring = [0, number, 64, number, 64, 32, 0, 32]
        annotations.append({"image_id": number, "category_id": 0, "segmentation": [ring]})
    content = coco(images=entries) | {"annotations": annotations}
    (root / "all.json").write_text(json.dumps(content))
    return root


COCO_TOWNS = {
    **layouts.pair("photos/{city}/{name}.jpg", "all.json", format="coco"),
    "val_cities": ["south"],
}


def test_one_file_holds_the_pictures_of_all_splits(tmp_path: Path) -> None:
    source = layouts.own(tmp_path / "recipe", COCO_TOWNS, LABELS)
    dataset = layouts.prepared(source, towns(tmp_path / "data"))
    assert dataset.index["split"].value_counts().to_dict() == {"train": 4, "val": 4}
    for row in dataset.rows("val"):
        start = int(dataset.index["frame"][row][-1])
        ids = dataset.label_ids(int(row))
        np.testing.assert_array_equal(ids[:, 0], [0] * start + [1] * (32 - start))
    assert dataset.index["label_hash"].nunique() == 8


def test_without_places_the_last_frames_are_val(tmp_path: Path) -> None:
    pairs = {**COCO_TOWNS, "val_cities": [], "val_share": 0.25}
    source = layouts.own(tmp_path / "recipe", pairs, LABELS)
    dataset = layouts.prepared(source, towns(tmp_path / "data"))
    assert dataset.index.query("split == 'val'")["frame"].tolist() == [
        "north_frame_3",
        "south_frame_7",
    ]


def edited(root: Path, number: int) -> None:
    """Move the road of one picture."""
    content = json.loads((root / "all.json").read_text())
    content["annotations"][number]["segmentation"][0][1] = 20
    (root / "all.json").write_text(json.dumps(content))


def test_an_edit_changes_the_frame_and_the_shard_that_it_is_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = layouts.own(tmp_path / "recipe", COCO_TOWNS, LABELS)
    root = towns(tmp_path / "data")
    before = layouts.prepared(source, root)
    recipe = small_recipe(root, before.path, data__source=str(source))
    (root / "all.json").write_text(
        json.dumps(json.loads((root / "all.json").read_text()), indent=1)
    )
    capsys.readouterr()
    open_prepared(recipe)
    assert capsys.readouterr().err == ""  # written anew, but no picture has changed
    edited(root, 6)
    open_prepared(recipe)
    said = capsys.readouterr().err
    assert "at least 1 frames changed (such as all.json)" in said
    after = layouts.prepared(source, root)
    assert isinstance(after, PreparedDataset)
    changed = before.index["label_hash"] != after.index["label_hash"]
    assert after.index["frame"][changed].tolist() == ["south_frame_6"]


def test_names_that_could_be_of_two_pictures_are_refused(tmp_path: Path) -> None:
    root = towns(tmp_path / "data")
    content = json.loads((root / "all.json").read_text())
    content["images"][1]["file_name"] = content["images"][0]["file_name"]
    (root / "all.json").write_text(json.dumps(content))
    source = layouts.own(tmp_path / "recipe", COCO_TOWNS, LABELS)
    with pytest.raises(StreetsegError, match=r"frame_0.jpg has the name of 2 pictures in .*all"):
        layouts.prepared(source, root)


def test_folders_that_the_file_leaves_out_must_not_share_names(tmp_path: Path) -> None:
    root = towns(tmp_path / "data", images="{city}/frame.jpg")
    content = json.loads((root / "all.json").read_text())
    content["images"] = [{**content["images"][0], "file_name": "frame.jpg"}]
    content["annotations"] = []
    (root / "all.json").write_text(json.dumps(content))
    source = layouts.own(tmp_path / "recipe", COCO_TOWNS, LABELS)
    with pytest.raises(StreetsegError, match=r"are both 'frame.jpg' in .*all.json: give each fold"):
        layouts.prepared(source, root)


def test_images_and_pictures_without_each_other_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = towns(tmp_path / "data")
    for number in (6, 7):
        (root / f"photos/south/frame_{number}.jpg").rename(root / f"photos/south/new_{number}.jpg")
    source = layouts.own(tmp_path / "recipe", COCO_TOWNS, LABELS)
    with pytest.raises(
        StreetsegError, match=r"new_6.jpg is not among the pictures of .*all.json \(and 1 more\)"
    ):
        layouts.prepared(source, root)
    said = capsys.readouterr().err
    assert "all.json has 'south/frame_6.jpg' (and 1 more), of which there is no image here" in said
    dataset = layouts.prepared(source, root, prepare__on_error="skip")
    assert (len(dataset.index), len(dataset.skipped)) == (6, 2)


def in_two_files(root: Path) -> list[dict[str, Any]]:
    """The file of the towns as two, each with the annotations of every second image."""
    content = json.loads((root / "all.json").read_text())
    halves = []
    for half in (0, 1):
        mine = {each["id"] for each in content["images"][half::2]}
        shapes = [each for each in content["annotations"] if each["image_id"] in mine]
        images = [each for each in content["images"] if each["id"] in mine]
        halves.append(content | {"images": images, "annotations": shapes})
    return halves


TWO_FILES = {
    "pairs": [
        {"images": "photos/{city}/{name}.jpg", "labels": f"{name}.json", "format": "coco"}
        for name in ("even", "odd")
    ],
    "val_cities": ["south"],
}


def write_two(root: Path, halves: list[dict[str, Any]]) -> Path:
    for name, half in zip(("even", "odd"), halves, strict=True):
        (root / f"{name}.json").write_text(json.dumps(half))
    return root


@pytest.mark.parametrize("listed", ["own", "all"])
def test_several_files_of_one_folder_are_joined(
    listed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file may list images that another annotates, as a task of which others did a part."""
    root = towns(tmp_path / "data")
    expected = layouts.prepared(layouts.own(tmp_path / "one", COCO_TOWNS, LABELS), root)
    halves = in_two_files(root)
    if listed == "all":
        halves = [half | {"images": halves[0]["images"] + halves[1]["images"]} for half in halves]
    capsys.readouterr()
    source = layouts.own(tmp_path / "two", TWO_FILES, LABELS)
    dataset = layouts.prepared(source, write_two(root, halves))
    assert dataset.index["label_hash"].tolist() == expected.index["label_hash"].tolist()
    assert "of which there is no image" not in capsys.readouterr().err


def test_an_image_with_shapes_in_two_files_is_refused(tmp_path: Path) -> None:
    root = towns(tmp_path / "data")
    even, odd = in_two_files(root)
    odd["images"] = [*odd["images"], even["images"][0]]
    odd["annotations"] = [*odd["annotations"], even["annotations"][0]]
    source = layouts.own(tmp_path / "two", TWO_FILES, LABELS)
    with pytest.raises(
        StreetsegError,
        match=r"^photos/north/frame_0.jpg has shapes in .*even.json and in .*odd.json: leave them",
    ):
        layouts.prepared(source, write_two(root, [even, odd]))


def test_an_image_that_no_file_lists_is_told_with_all_files(tmp_path: Path) -> None:
    root = towns(tmp_path / "data")
    even, odd = in_two_files(root)
    write_two(root, [even, {**odd, "images": odd["images"][1:], "annotations": []}])
    source = layouts.own(tmp_path / "two", TWO_FILES, LABELS)
    with pytest.raises(
        StreetsegError, match=r"frame_1.jpg is not among the pictures of .*even.json or .*odd.json"
    ):
        layouts.prepared(source, root)
    dataset = layouts.prepared(source, root, prepare__on_error="skip")
    assert dataset.skipped["frame"].tolist() == ["north_frame_1"]


def test_folders_that_share_names_keep_their_own_files(tmp_path: Path) -> None:
    """Each file lists all names, and has the shapes of its own folder."""
    root = towns(tmp_path / "data", images="{city}/frame.jpg")
    content = json.loads((root / "all.json").read_text())
    for name, number in (("even", 0), ("odd", 4)):
        image, shape = content["images"][number], content["annotations"][number]
        half = content | {"images": [image], "annotations": [shape]}
        (root / f"{name}.json").write_text(json.dumps(half))
    source = load_source(str(layouts.own(tmp_path / "two", TWO_FILES, LABELS)))
    labels = {frame.city: frame.label.name for frame in source.find(root)}
    assert labels == {"north": "even.json", "south": "odd.json"}


def test_a_mask_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    root = towns(tmp_path / "data")
    content = json.loads((root / "all.json").read_text())
    content["annotations"] = [
        {
            "image_id": 0,
            "file_name": "../../../outside.png",
            "segments_info": [{"id": 1, "category_id": 0}],
        }
    ]
    (root / "all.json").write_text(json.dumps(content))
    source = layouts.own(tmp_path / "recipe", COCO_TOWNS, LABELS)
    with pytest.raises(StreetsegError, match=r"as a mask, which is outside data.root"):
        layouts.prepared(source, root)


def test_the_panoptic_files_of_wilddash_are_read(tmp_path: Path) -> None:
    root, images, annotations = tmp_path / "data", [], []
    for number in range(3):
        layouts.write_photo(root / f"images/wd_{number}.jpg")
        values = np.zeros((*layouts.SIZE, 3), np.uint8)  # R + 256 G + 65536 B
        values[:8], values[8:16] = (1, 2, 0), (0, 0, 3)
        layouts.write(root / f"panoptic/wd_{number}.png", values)
        images.append({"id": number, "file_name": f"wd_{number}.jpg", "height": 32, "width": 64})
        segments = [{"id": 513, "category_id": 7}, {"id": 196608, "category_id": 35}]
        annotations.append(
            {"image_id": number, "file_name": f"wd_{number}.png", "segments_info": segments}
        )
    categories = [{"id": 7, "name": "road", "isthing": 0}, {"id": 35, "name": "van", "isthing": 1}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(content))
    dataset = layouts.prepared("wilddash-2", root, data__target="own")
    ids = dataset.label_ids(int(dataset.rows("val")[0]))
    assert [np.unique(ids[rows]).tolist() for rows in (slice(8), slice(8, 16), slice(16, 32))] == [
        [7],
        [35],
        [0],
    ]
    assert dataset.shapes == {"read:segment": 6}
    layouts.write(root / "panoptic/wd_2.png", np.full((*layouts.SIZE, 3), 9, np.uint8))
    with pytest.raises(StreetsegError, match=r"wd_2.png holds the segment 592137, which its JSON"):
        layouts.prepared("wilddash-2", root, data__target="own")


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ({"labels": "all.json"}, "labels end in .json, which may be of several formats: state it"),
        ({"labels": "{name}.png", "format": "coco"}, "labels end in .png, but 'format: coco' has"),
        (
            {"labels": "{split}.json", "format": "coco"},
            "images need {name}, and all placeholders of labels",
        ),
        ({"labels": "{city}.json", "format": "labelme"}, "images and labels need the same placeh"),
    ],
)
def test_a_pair_that_cannot_be_read_is_refused(
    pair: dict[str, str], said: str, tmp_path: Path
) -> None:
    source = layouts.own(
        tmp_path / "recipe", {"pairs": [{"images": "{city}/{name}.jpg", **pair}]}, LABELS
    )
    with pytest.raises(StreetsegError, match=said):
        layouts.prepared(source, tmp_path)


def test_ids_have_no_effect_on_names(tmp_path: Path) -> None:
    source = layouts.own(tmp_path / "recipe", {**COCO_TOWNS, "ids": "train"}, LABELS)
    with pytest.raises(StreetsegError, match="ids has no effect on files with a format, whose lab"):
        layouts.prepared(source, towns(tmp_path / "data"))
