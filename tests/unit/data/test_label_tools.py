"""One drawing as real label tools exported it: read to its truth masks, or refused with a reason.

The exports and what is in each are described in tests/data/label_tools/README.md.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from streetseg.cli import app
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.images.decode import decode_ids
from tests.support import source_layouts as layouts

EXPORTS = Path(__file__).parents[2] / "data" / "label_tools"
BY_Z_ORDER, BY_LIST = "datumaro-truth/by_z_order", "datumaro-truth/by_list_order"
LABELS = {
    "name": "drawn",
    "categories": [
        {"name": "rest", "color": [0, 0, 0]},
        {"name": "things", "color": [200, 0, 0]},
    ],
    "labels": [
        {"id": 0, "name": "background", "category": "rest"},
        {"id": 1, "name": "road", "category": "things", "color": [128, 64, 128]},
        {"id": 2, "name": "Car", "category": "things", "color": [0, 0, 142]},
        {"id": 3, "name": "person", "category": "things", "color": [220, 20, 60]},
        {"id": 4, "name": "building", "category": "things", "color": [70, 70, 70]},
    ],
}
IMAGES = "images/{name}.png"
STUDIO = "label-studio"


def exported(folder: Path, name: str) -> Path:
    """A copy of an export, with the pictures beside it where it has none."""
    shutil.copytree(EXPORTS / name, folder)
    if not [*folder.glob("images/*")]:
        shutil.copytree(EXPORTS / "datumaro-cvat/images", folder / "images", dirs_exist_ok=True)
    return folder


def prepared(root: Path, images: str, labels: str, **more: Any) -> PreparedDataset:
    """The dataset of an export, all of it val, whose label ids are kept."""
    settings = {key: more.pop(key) for key in ("format",) if key in more}
    pairs = layouts.pair(images, labels, split="val", **settings)
    source = layouts.own(root.parent / "recipe", pairs, LABELS)
    return layouts.prepared(source, root, **more)


def differing(dataset: PreparedDataset, truth: str) -> dict[str, int]:
    """The number of pixels of each picture that are not those of its truth."""
    return {
        name: int(
            (
                dataset.label_ids(row)
                != decode_ids((EXPORTS / truth / f"{name[-9:]}.png").read_bytes())
            ).sum()
        )
        for row, name in enumerate(dataset.index["frame"])
    }


READ = {
    "datumaro-cvat": (IMAGES, "train.xml", "cvat", BY_Z_ORDER),
    "datumaro-coco": (
        "images/train/{name}.png",
        "annotations/instances_train.json",
        "coco",
        "datumaro-coco/truth_pycocotools",
    ),
    "datumaro-coco-polygons": (
        "images/train/{name}.png",
        "annotations/instances_train.json",
        "coco",
        "datumaro-coco-polygons/truth_pycocotools",
    ),
    "datumaro-coco-from-cityscapes": (
        IMAGES,
        "annotations/instances_train.json",
        "coco",
        BY_Z_ORDER,
    ),
    "datumaro-coco-panoptic": (
        "images/train/{name}.png",
        "annotations/panoptic_train.json",
        "coco",
        BY_LIST,
    ),
    "labelme-json": ("{name}.png", "{name}.json", "labelme", "labelme-label-png/class"),
    "labelme-label-png": (IMAGES, "class/{name}.png", None, "labelme-label-png/class"),
    "label-studio-json": (IMAGES, "project.json", STUDIO, BY_LIST),
    "label-studio-brush-json": (IMAGES, "project.json", STUDIO, "label-studio-brush-truth"),
}


@pytest.mark.parametrize("name", READ)
def test_an_export_is_read_to_its_truth(name: str, tmp_path: Path) -> None:
    images, labels, format, truth = READ[name]
    settings = {"format": format} if format else {}
    dataset = prepared(exported(tmp_path / name, name), images, labels, **settings)
    assert differing(dataset, truth) == {"street_01": 0, "street_02": 0, "street_03": 0}


MASKS = {
    "datumaro-cityscapes": (
        "leftImg8bit/train/{name}_leftImg8bit.png",
        "gtFine/train/{name}_gtFine_labelIds.png",
    ),
    "datumaro-voc-segmentation": ("JPEGImages/{name}.png", "SegmentationClass/{name}.png"),
    "datumaro-camvid": ("train/{name}.png", "trainannot/{name}.png"),
    "datumaro-camvid-index": ("train/{name}.png", "trainannot/{name}.png"),
    "datumaro-kitti-segmentation": ("train/image_2/{name}.png", "train/semantic/{name}.png"),
}


@pytest.mark.parametrize("name", MASKS)
def test_exported_masks_are_read_by_the_listing_beside_them(name: str, tmp_path: Path) -> None:
    root = exported(tmp_path / name, name)
    with pytest.raises(StreetsegError, match=r"street_03.* has no label .*: 'CVAT for images 1.1'"):
        prepared(root, *MASKS[name])
    dataset = prepared(root, *MASKS[name], prepare__on_error="skip")
    assert differing(dataset, BY_Z_ORDER) == {"street_01": 0, "street_02": 0}
    assert len(dataset.skipped) == 1


@pytest.mark.parametrize("masks", ["semantic_rgb", "SegmentationClass"])
def test_colours_mean_the_names_of_the_export(masks: str, tmp_path: Path) -> None:
    """Not those of the label space: here the colours of road and building are exchanged."""
    name = {"semantic_rgb": "datumaro-kitti-segmentation"}.get(masks, "datumaro-voc-segmentation")
    root = exported(tmp_path / name, name)
    images = MASKS[name][0]
    (listing,) = [*root.glob("label_colors.txt"), *root.glob("labelmap.txt")]
    text = listing.read_text()
    exchanged = text.replace("road", "?").replace("building", "road").replace("?", "building")
    listing.write_text(exchanged)
    labels = str(next(root.rglob(f"{masks}/*")).relative_to(root)).replace("street_01", "{name}")
    labels = labels.replace("street_02", "{name}")
    dataset = prepared(root, images, labels, prepare__on_error="skip")
    truth = decode_ids((EXPORTS / BY_Z_ORDER / "street_02.png").read_bytes())
    exchange = np.array([0, 4, 2, 3, 1])
    row = dataset.index["frame"].tolist().index("street_02")
    np.testing.assert_array_equal(dataset.label_ids(row), exchange[truth])


@pytest.mark.parametrize("name", ["datumaro-voc-segmentation", "datumaro-camvid"])
def test_without_colours_in_the_listing_those_of_voc_count(name: str, tmp_path: Path) -> None:
    """As Datumaro draws masks of a project without colours."""
    root, (images, labels) = exported(tmp_path / name, name), MASKS[name]
    (listing,) = [*root.glob("label_colors.txt"), *root.glob("labelmap.txt")]
    voc = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    numbers = {"building": 1, "car": 2, "person": 3, "road": 4}  # the order of both listings
    table = np.array([voc[numbers.get(each["name"].lower(), 0)] for each in LABELS["labels"]])
    for number in (1, 2):
        truth = decode_ids((EXPORTS / BY_Z_ORDER / f"street_0{number}.png").read_bytes())
        layouts.write(root / labels.format(name=f"street_0{number}"), table[truth].astype(np.uint8))
    names = ["background", *numbers] if listing.name == "labelmap.txt" else [*numbers]
    line = "{}:::" if listing.name == "labelmap.txt" else " {}"
    listing.write_text("\n".join(line.format(each) for each in names))
    dataset = prepared(root, images, labels, prepare__on_error="skip")
    assert differing(dataset, BY_Z_ORDER) == {"street_01": 0, "street_02": 0}


def test_masks_of_kitti_without_background_are_refused(tmp_path: Path) -> None:
    """They give the id and the colour of the first label to what nobody annotated."""
    name = "datumaro-kitti-segmentation"
    root, (images, labels) = exported(tmp_path / name, name), MASKS[name]
    listing = root / "label_colors.txt"
    listing.write_text(listing.read_text().replace("0 0 0 background\n", ""))
    for folder in ("semantic", "semantic_rgb"):
        masks = labels.replace("semantic", folder)
        with pytest.raises(StreetsegError, match="give 'building' to what nobody annotated: put"):
            prepared(root, images, masks, prepare__on_error="skip")


REFUSED = {
    "datumaro-labelme": (
        "Images/train/{name}.png",
        "Annotations/train/{name}.xml",
        None,
        "the XML of the old LabelMe is not read: export CVAT or COCO",
    ),
    "datumaro-yolo-ultralytics": (
        IMAGES,
        "labels/train/{name}.txt",
        None,
        "as YOLO's, whose exports leave out brush regions, masks or even polygons: export",
    ),
    "label-studio-yolo": (IMAGES, "labels/{name}.txt", None, "as YOLO's, whose exports leave out"),
    "label-studio-traps-yolo": (IMAGES, "labels/{name}.txt", None, "as YOLO's"),
    "label-studio-browser-yolo": (IMAGES, "labels/{name}.txt", None, "as YOLO's"),
    "label-studio-json-min": (IMAGES, "project.json", STUDIO, "the order in which .* is lost: exp"),
    "label-studio-traps-json-min": (IMAGES, "project.json", STUDIO, "JSON_MIN.*: export JSON"),
    "label-studio-coco": (IMAGES, "result.json", "coco", "leaves out .* brush .*: export JSON"),
    "label-studio-brush-to-coco": (IMAGES, "result_coco.json", "coco", "Label Studio's COCO"),
    "label-studio-traps-coco": (IMAGES, "result.json", "coco", "Label Studio's COCO"),
    "label-studio-browser-coco": (
        "images/{name}.jpg",
        "result.json",
        "coco",
        "turned by Exif: export JSON",
    ),
    "label-studio-browser-brush-to-coco": (IMAGES, "result_coco.json", "coco", "Label Studio's"),
    "label-studio-brush-numpy": (IMAGES, "{name}.npy", None, "one file a region .*: export JSON"),
    "label-studio-brush-png": (
        IMAGES,
        "{name}.png",
        None,
        "brush regions of Label Studio, one a file, which tell neither .*: export JSON",
    ),
    "label-studio-browser-brush-png": (IMAGES, "{name}.png", None, "brush regions of Label Studio"),
    "label-studio-traps-brush-png": (IMAGES, "{name}.png", None, "brush regions of Label Studio"),
    "label-studio-traps-json": (
        IMAGES,
        "project.json",
        STUDIO,
        r"street_01.png task 31 of Label Studio has 2 annotations: .* \(and 2 more\): mend",
    ),
    "label-studio-traps-json-all-tasks": (IMAGES, "project.json", STUDIO, "has 2 annotations"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_export_that_has_lost_something_is_refused_with_the_way_out(
    name: str, tmp_path: Path
) -> None:
    images, labels, format, reason = REFUSED[name]
    settings = {"format": format} if format else {}
    root = exported(tmp_path / name, name)
    with pytest.raises(StreetsegError, match=reason) as caught:
        prepared(root, images, labels, **settings)
    assert "\n" not in str(caught.value)
    assert not Path(f"{root}-prepared").exists()


def test_every_export_is_tried() -> None:
    folders = {path.name for path in EXPORTS.iterdir() if path.is_dir()}
    elsewhere = {"label-studio-browser-json", "datumaro-truth", "label-studio-brush-truth"}
    assert folders - elsewhere == {*READ, *MASKS, *REFUSED}


def test_what_an_export_has_lost_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("datumaro-coco-polygons", "datumaro-coco-from-cityscapes"):
        images, labels, format, _ = READ[name]
        dataset = prepared(exported(tmp_path / name, name), images, labels, format=format)
    said = capsys.readouterr().err
    assert "1 polygons repeat their first point, as outlines of masks do: holes are lost" in said
    assert "1 boxes have no outline and are left out; 'CVAT for images 1.1' and the JSON" in said
    assert "3 annotation ids occur more than once; annotations were taken by their image" in said
    assert dataset.shapes == {"read:mask": 7, "empty pictures": 1}


def test_shapes_are_counted_by_kind_and_kept(tmp_path: Path) -> None:
    images, labels, format, _ = READ["datumaro-coco"]
    root = exported(tmp_path / "coco", "datumaro-coco")
    dataset = prepared(root, images, labels, format=format)
    assert dataset.shapes == {
        "dropped:box without an outline": 1,
        "empty pictures": 1,
        "pixels by order": 665,
        "read:mask": 1,
        "read:polygon": 6,
    }
    assert dataset.shape_summary.startswith(
        "shapes read: 1x mask, 6x polygon; shapes dropped: 1x box without an outline; pictures "
        "without a shape: 1; pixels whose label hangs on the order in the file"
    )
    assert "shapes" not in dataset.index.columns


def test_the_command_prints_what_was_read(tmp_path: Path) -> None:
    root = exported(tmp_path / "cvat", "datumaro-cvat")
    pairs = layouts.pair(IMAGES, "train.xml", split="val", format="cvat")
    settings = {
        "data.root": root,
        "data.source": layouts.own(tmp_path / "recipe", pairs, LABELS),
        "data.prepared": tmp_path / "prepared",
        "prepare.workers": 1,
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    options += ["--params", str(Path(__file__).parents[3] / "params.yaml")]
    preview = str(tmp_path / "preview.jpg")
    called = CliRunner().invoke(app, ["prepare", *options, "--preview", preview])
    assert called.exit_code == 0, called.output
    assert (
        "shapes read: 1x box, 1x mask, 7x polygon; shapes dropped: none; pictures without a shape: "
        "1" in called.output
    )


def test_skipped_tasks_and_those_of_two_annotators_are_left_out_if_wanted(tmp_path: Path) -> None:
    root = exported(tmp_path / "traps", "label-studio-traps-json-all-tasks")
    path = root / "project.json"
    path.write_text(path.read_text().replace('"ground_truth":false', '"ground_truth":true', 1))
    dataset = prepared(root, IMAGES, "project.json", format=STUDIO, prepare__on_error="skip")
    assert differing(dataset, BY_LIST) == {"street_01": 0}
    assert dataset.skipped["error"].str.extract("(task .*)")[0].tolist() == [
        "task 32 of Label Studio was skipped",
        "task 33 of Label Studio has no annotation",
    ]


def test_a_task_that_was_skipped_does_not_count_beside_one_that_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = exported(tmp_path / "twice", "label-studio-json")
    path = root / "project.json"
    tasks = json.loads(path.read_text())
    again = json.loads(json.dumps(tasks[0]).replace("977e7eb9-", "0a1b2c3d-"))
    again["annotations"][0]["was_cancelled"] = True
    path.write_text(json.dumps([again, *tasks]))
    dataset = prepared(root, IMAGES, "project.json", format=STUDIO)
    assert differing(dataset, BY_LIST) == {"street_01": 0, "street_02": 0, "street_03": 0}
    assert "note:" not in capsys.readouterr().err
    again["annotations"][0]["was_cancelled"] = False
    path.write_text(json.dumps([again, *tasks]))
    with pytest.raises(StreetsegError, match=r"street_01.png has the name of 2 pictures in .*pro"):
        prepared(root, IMAGES, "project.json", format=STUDIO)


def test_a_picture_turned_by_exif_is_read_as_it_is_shown(tmp_path: Path) -> None:
    root = tmp_path / "browser"
    shutil.copytree(EXPORTS / "label-studio-browser-json", root)
    shutil.copytree(EXPORTS / "label-studio-browser-coco/images", root / "images")
    dataset = prepared(root, "images/{name}.jpg", "project.json", format=STUDIO)
    assert dataset.index[["height", "width"]].to_numpy().tolist() == [[96, 64], [64, 96]]
    road = [int((dataset.label_ids(row) == 1).sum()) for row in (0, 1)]
    assert 111 in road  # of plain.jpg: half opaque pixels of its stroke, by Label Studio's PNG
    turned, plain = (decode_alpha(number) for number in (44, 43))
    for row, alpha in ((0, turned), (1, plain)):
        ids = dataset.label_ids(row)
        np.testing.assert_array_equal((ids == 1) | (ids == 2), (alpha >= 128) | (ids == 2))


def decode_alpha(task: int) -> np.ndarray:
    (path,) = (EXPORTS / "label-studio-browser-brush-png").glob(f"task-{task}-*.png")
    return decode_ids(path.read_bytes())
