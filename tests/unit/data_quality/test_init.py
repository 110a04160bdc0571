"""``streetseg init``: public sets are recognised, other folders get files that can be used."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from streetseg.cli import app
from streetseg.core.atomic_files import write_new
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.drafting.draft import draft
from streetseg.data.drafting.files import draft_files
from streetseg.data.drafting.measure import Finding, measure
from streetseg.data.drafting.public_sets import recognize
from streetseg.data.labels import LabelSpace
from streetseg.data.prepare import prepare
from streetseg.data.sources import load_source
from streetseg.images.decode import decode_ids
from streetseg.images.encode import encode_palette_png
from tests.support import source_layouts as layouts
from tests.support.cityscapes_layout import small_recipe, write_frames
from tests.support.public_sets import PUBLISHED, public_set
from tests.unit.data.test_annotation_files import in_two_files, towns, write_two

EXPORTS = Path(__file__).parents[2] / "data" / "label_tools"
ROAD, CAR, NOTHING = (128, 64, 128), (0, 0, 142), (0, 0, 0)


def drafted(root: Path, out: Path, limit: int = 200) -> dict[str, Finding]:
    """Draft and write the files, and what was found by label."""
    source = draft(root, limit)
    findings, unusable = measure(source)
    assert unusable == []
    write_new({out / name: text for name, text in draft_files(source, findings).items()})
    return {finding.label.name: finding for finding in findings}


def prepared(root: Path, out: Path, **settings: object) -> PreparedDataset:
    settings = {"data__source": str(out / "source.yaml"), **settings}
    return PreparedDataset(prepare(small_recipe(root, out / "prepared", **settings)))


def exported(folder: Path, name: str) -> Path:
    """A copy of an export, with the pictures beside it where it has none."""
    shutil.copytree(EXPORTS / name, folder)
    if name in WITHOUT_IMAGES:
        shutil.copytree(EXPORTS / "datumaro-cvat/images", folder / "images", dirs_exist_ok=True)
    return folder


def write_pair(root: Path, image: str, label: str, values: np.ndarray) -> None:
    layouts.write_photo(root / image)
    layouts.write(root / label, values)


BY_Z_ORDER, BY_LIST = "datumaro-truth/by_z_order", "datumaro-truth/by_list_order"
TRUTH = {
    "datumaro-cvat": BY_Z_ORDER,
    "datumaro-coco": "datumaro-coco/truth_pycocotools",
    "datumaro-coco-polygons": "datumaro-coco-polygons/truth_pycocotools",
    "datumaro-coco-from-cityscapes": BY_Z_ORDER,
    "datumaro-coco-panoptic": BY_LIST,
    "datumaro-cityscapes": BY_Z_ORDER,
    "datumaro-voc-segmentation": BY_Z_ORDER,
    "datumaro-camvid": BY_Z_ORDER,
    "datumaro-camvid-index": BY_Z_ORDER,
    "datumaro-kitti-segmentation": BY_Z_ORDER,
    "labelme-json": "labelme-label-png/class",
    "labelme-label-png": "labelme-label-png/class",
    "label-studio-json": BY_LIST,
    "label-studio-brush-json": "label-studio-brush-truth",
}
"""The truth of each export that can be read: ids of the drawing, 1 road to 4 building."""
WITHOUT_IMAGES = (
    "datumaro-coco-from-cityscapes",
    "labelme-label-png",
    "label-studio-json",
    "label-studio-brush-json",
    "label-studio-traps-json",
)
DRAWN = ["background", "road", "car", "person", "building"]


@pytest.mark.parametrize("name", TRUTH)
def test_the_draft_of_an_export_is_prepared_to_its_truth(name: str, tmp_path: Path) -> None:
    root, out = exported(tmp_path / name, name), tmp_path / "drafted"
    found = drafted(root, out)
    assert {each.strip("_").lower() for each in found} == {*DRAWN}
    lines = (out / "source.yaml").read_text().replace("val_share: 0.2\n", "")
    lines = lines.replace("    labels:", "    split: val\n    labels:")
    (out / "source.yaml").write_text(lines)  # whose label ids are kept
    dataset = prepared(root, out, prepare__on_error="skip")
    names = {label.id: label.name.strip("_").lower() for label in dataset.labels.labels}
    ids = np.array([DRAWN.index(names.get(number, "background")) for number in range(256)])
    for row, frame in enumerate(dataset.index["frame"]):
        truth = decode_ids((EXPORTS / TRUTH[name] / f"{frame[-9:]}.png").read_bytes())
        np.testing.assert_array_equal(ids[dataset.label_ids(row)], truth)
    assert len(dataset.index) + len(dataset.skipped) == 3


REFUSED = {
    "datumaro-labelme": "the XML of the old LabelMe is not read",
    "datumaro-yolo-ultralytics": "export 'CVAT for images 1.1'",
    "label-studio-brush-numpy": "one file a region",
    "label-studio-brush-png": "export JSON, with 'format: label-studio'",
    "label-studio-traps-brush-png": "export JSON, with 'format: label-studio'",
    "label-studio-coco": "Label Studio's COCO",
    "label-studio-brush-to-coco": "Label Studio's COCO",
    "label-studio-json-min": "export JSON",
    "label-studio-yolo": "as YOLO's",
    "label-studio-traps-json": "mark one as ground truth",
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_export_that_has_lost_something_is_refused(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(exported(tmp_path / name, name))])
    assert isinstance(result.exception, StreetsegError)
    assert REFUSED[name] in str(result.exception)
    assert not (tmp_path / name / "source.yaml").exists()


def test_an_export_without_its_images_is_drafted_for_where_they_go(tmp_path: Path) -> None:
    shutil.copytree(EXPORTS / "label-studio-json", tmp_path / "export")
    source = draft(tmp_path / "export", 200)
    assert [(pair.images, pair.labels, pair.format) for pair in source.pairs] == [
        ("images/{name}.png", "project.json", "label-studio")
    ]
    assert "put the images into" in source.notes[0]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_public_sets_are_recognized(name: str, tmp_path: Path) -> None:
    public_set(tmp_path, name)
    assert name in recognize(tmp_path)


def test_cityscapes_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    root = write_frames(tmp_path / "data")
    result = CliRunner().invoke(app, ["init", str(root)])
    assert result.exit_code == 0
    assert f"streetseg explore --set data.source=cityscapes --set data.root={root}" in result.output
    assert "data.source=cityscapes-19" in result.output
    assert not [*root.glob("*.*")]
    result = CliRunner().invoke(app, ["init", str(root), "--own", "--out", str(tmp_path / "own")])
    assert result.exit_code == 0
    (pair,) = load_source(str(tmp_path / "own/source.yaml")).pairs
    assert pair.images == "leftImg8bit/{split}/{city}/{name}_leftImg8bit.png"
    assert pair.labels == "gtFine/{split}/{city}/{name}_gtFine_labelIds.png"


def test_carla_fits_every_numbering_of_its_few_ids(tmp_path: Path) -> None:
    assert recognize(layouts.carla(tmp_path)) == ["carla", "carla-0.9.13", "carla-13"]


def test_own_ids_in_the_layout_of_a_public_set_are_not_that_set(tmp_path: Path) -> None:
    """GTA5 has images/ beside labels/, as many folders do, and ids of Cityscapes."""
    for number in range(5):
        values = layouts.filled(range(12))
        write_pair(tmp_path, f"images/{number:05}.png", f"labels/{number:05}.png", values)
    assert recognize(tmp_path) == []


def test_a_folder_of_ids_is_drafted_and_prepared(tmp_path: Path) -> None:
    root, out = tmp_path / "munich", tmp_path / "out"
    for split, numbers in (("train", range(4)), ("val", range(2))):
        for number in numbers:
            values = np.full(layouts.SIZE, 3, np.uint8)
            values[:8, :16] = 7 if split == "train" else 255
            values[30:] = 9
            name = f"{split}/ulm_{number:03}"
            write_pair(root, f"rgb/{name}.jpg", f"masks/{name}_L.png", values)
    found = drafted(root, out)
    pixels = layouts.SIZE[0] * layouts.SIZE[1]
    assert {name: (each.fraction, each.frames) for name, each in found.items()} == {
        "label 3": (1 - 128 / pixels - 128 / pixels, 6),
        "label 7": (pytest.approx(4 * 128 / pixels / 6), 4),
        "label 9": (pytest.approx(128 / pixels), 6),
        "label 255": (pytest.approx(2 * 128 / pixels / 6), 2),
    }
    source = load_source(str(out / "source.yaml"))
    assert [(pair.images, pair.labels) for pair in source.pairs] == [
        ("rgb/{split}/{name}.jpg", "masks/{split}/{name}_L.png")
    ]
    assert source.file_labels.names == ["label 3", "label 7", "label 9"]
    dataset = prepared(root, out)
    assert dataset.name == "munich"
    assert dataset.index.groupby("split")["pixels_label 7"].sum().to_dict() == {
        "train": 4 * 128,
        "val": 0,
    }


def test_colours_are_drafted_with_a_rule_for_val(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "out"
    for number in range(10):
        colors = np.array([NOTHING, ROAD, CAR], np.uint8)[layouts.filled([0, 1, 2])]
        write_pair(root, f"um_{number:06}.png", f"gt/um_lane_{number:06}.png", colors)
    shutil.move(root, tmp_path / "moved")
    for image in (tmp_path / "moved").glob("*.png"):
        (root / "image_2").mkdir(parents=True, exist_ok=True)
        shutil.move(image, root / "image_2")
    shutil.move(tmp_path / "moved/gt", root / "gt")
    drafted(root, out)
    source = load_source(str(out / "source.yaml"))
    assert source.pairs[0].images == "image_2/um_{name}.png"
    assert source.pairs[0].labels == "gt/um_lane_{name}.png"
    assert source.file_labels.encoding == "colors"
    assert [label.color for label in source.file_labels.labels] == [NOTHING, CAR, ROAD]
    assert prepared(root, out).index["split"].value_counts().to_dict() == {"train": 8, "val": 2}


def test_ids_in_the_red_channel_are_drafted(tmp_path: Path) -> None:
    for number in range(5):
        red = np.zeros((*layouts.SIZE, 3), np.uint8)
        red[..., 0] = layouts.filled([0, 4, 12])
        write_pair(tmp_path, f"images/{number}.png", f"labels/{number}.png", red)
    found = drafted(tmp_path, tmp_path)
    assert [each.label.id for each in found.values()] == [0, 4, 12]
    space = load_source(str(tmp_path / "source.yaml")).file_labels
    assert space.encoding == "red"


def test_a_palette_gives_colours(tmp_path: Path) -> None:
    palette = np.array([NOTHING, ROAD, CAR], np.uint8)
    for number in range(5):
        layouts.write_photo(tmp_path / f"images/{number}.png")
        path = tmp_path / f"labels/{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_palette_png(layouts.filled([0, 1, 2]), palette))
    found = drafted(tmp_path, tmp_path)
    assert [each.label.color for each in found.values()] == [NOTHING, ROAD, CAR]


def test_names_of_cityscapes_serve_its_target(tmp_path: Path) -> None:
    for number in range(5):
        write_pair(
            tmp_path, f"images/{number}.png", f"labels/{number}.png", layouts.filled([0, 1, 2])
        )
    (tmp_path / "label_colors.txt").write_text(
        "0 0 0 background\n220 220 0 Traffic_Sign\n1 2 3 hut\n"
    )
    drafted(tmp_path, tmp_path)
    space = LabelSpace.load("labels.yaml", tmp_path)
    assert [(each.name, each.cityscapes, each.color) for each in space.labels] == [
        ("background", (), NOTHING),
        ("Traffic_Sign", ("traffic sign",), (220, 220, 0)),
        ("hut", (), (1, 2, 3)),
    ]
    target = load_source(str(tmp_path / "source.yaml"), "cityscapes")
    assert target.labels.names == LabelSpace.load("cityscapes").names


@pytest.mark.parametrize(
    ("names", "folders"),
    [(("01", "02"), "{condition}/{city}"), (("01", "01"), "{city}/{number}")],
)
def test_cities_conditions_and_other_words_for_splits_are_found(
    names: tuple[str, str], folders: str, tmp_path: Path
) -> None:
    for split in ("training", "validation"):
        for condition, name in zip(("night", "rain"), names, strict=True):
            for city in ("ulm", "bonn"):
                path = f"{split}/{condition}/{city}/{name}"
                values = layouts.filled([1, 2])
                write_pair(tmp_path, f"image/{path}_rgb.png", f"gt/{path}_labelIds.png", values)
                layouts.write(tmp_path / f"gt/{path}_instanceIds.png", values)
    assert [(pair.images, pair.labels, pair.split) for pair in draft(tmp_path, 9).pairs] == [
        (
            f"image/{split}/{folders}/{{name}}_rgb.png",
            f"gt/{split}/{folders}/{{name}}_labelIds.png",
            meaning,
        )
        for split, meaning in (("training", "train"), ("validation", "val"))
    ]


def mixed(root: Path) -> None:
    rgb = np.array([NOTHING, ROAD, CAR], np.uint8)[layouts.filled([0, 1, 2])]
    write_pair(root, "images/1.png", "labels/1.png", layouts.filled([0, 1]))
    write_pair(root, "images/2.png", "labels/2.png", rgb)


def test_polygons_of_cityscapes_are_drafted_by_name(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "out"
    square = [[0, 0], [32, 0], [32, 16], [0, 16]]
    names = ["unlabeled", "road", "hut", "hutgroup", "license plate"]
    tree = {
        "imgHeight": layouts.SIZE[0],
        "imgWidth": layouts.SIZE[1],
        "objects": [{"label": name, "polygon": square} for name in names],
    }
    for split, city in (("train", "ulm"), ("train", "bonn"), ("val", "köln")):
        layouts.write_photo(root / f"leftImg8bit/{split}/{city}/1_leftImg8bit.jpg")
        path = root / f"gt/{split}/{city}/1_polygons.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(tree))
    found = drafted(root, out)
    (pair,) = load_source(str(out / "source.yaml")).pairs
    assert (pair.images, pair.labels, pair.format) == (
        "leftImg8bit/{split}/{city}/{name}_leftImg8bit.jpg",
        "gt/{split}/{city}/{name}_polygons.json",
        "cityscapes",
    )
    space = LabelSpace.load("labels.yaml", out)
    assert {each.name: (each.id, each.category) for each in space.labels} == {
        "unlabeled": (0, "unlabeled"),
        "road": (1, "road"),
        "hut": (2, "hut"),
        "license plate": (-1, None),
    }
    assert found["hut"].frames == 3
    assert len(prepared(root, out).index) == 3


def test_boxes_beside_masks_do_not_matter(tmp_path: Path) -> None:
    """As PASCAL VOC and YOLO list objects beside label images."""
    for number in range(5):
        write_pair(
            tmp_path, f"JPEGImages/{number}.jpg", f"masks/{number}.png", layouts.filled([0, 1])
        )
        (tmp_path / f"masks/{number}.txt").write_text("0 0.5 0.5 0.1 0.1")
        (tmp_path / f"JPEGImages/{number}.xml").write_text("<annotation></annotation>")
    assert [pair.labels for pair in draft(tmp_path, 9).pairs] == ["masks/{name}.png"]


def test_exports_of_several_tasks_are_drafted_together(tmp_path: Path) -> None:
    """Two files that annotate images of one folder, as a labelling tool writes for each task."""
    root = towns(tmp_path / "data")
    write_two(root, in_two_files(root))
    (root / "all.json").unlink()
    drafted(root, tmp_path / "draft")
    dataset = prepared(root, tmp_path / "draft")
    assert sorted(dataset.index["image"]) == [
        f"photos/{'north' if number < 4 else 'south'}/frame_{number}.jpg" for number in range(8)
    ]
    assert dataset.shapes["read:polygon"] == 8


def test_splits_may_be_files_of_one_folder(tmp_path: Path) -> None:
    root = towns(tmp_path / "data", images="{name}.jpg")
    for name, half in zip(("train", "val"), in_two_files(root), strict=True):
        (root / f"{name}.json").write_text(json.dumps(half))
    (root / "all.json").unlink()
    drafted(root, tmp_path / "draft")
    dataset = prepared(root, tmp_path / "draft")
    val = dataset.index.query("split == 'val'")["image"]
    assert val.tolist() == [f"photos/frame_{number}.jpg" for number in (1, 3, 5, 7)]


def test_names_may_differ_at_both_ends(tmp_path: Path) -> None:
    for number in range(5):
        image, label = f"photos/a_{number}_pic.jpg", f"drawn/b_{number}_x.png"
        write_pair(tmp_path, image, label, layouts.filled([0, 1]))
    (pair,) = draft(tmp_path, 9).pairs
    assert (pair.images, pair.labels) == ("photos/a_{name}_pic.jpg", "drawn/b_{name}_x.png")


def test_folders_without_telling_names_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    for number in range(5):
        write_pair(tmp_path, f"a/{number}.png", f"b/{number}.png", layouts.filled([0, 255]))
    (pair,) = draft(tmp_path, 9).pairs
    assert (pair.images, pair.labels) == ("a/{name}.png", "b/{name}.png")


def test_splits_may_be_followed_by_a_year(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        path = f"{split}/1.png"
        write_pair(tmp_path, f"images/{path}", f"masks/{path}", layouts.filled([0, 1]))
    (pair,) = draft(tmp_path, 9).pairs
    assert (pair.images, pair.split) == ("images/{split}2017/{name}.png", None)


def test_folders_of_labels_named_like_those_of_images_are_told_apart(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("GOPR0351_frame_01", "GOPR0351_frame_02"):
            path = f"cam_left/{split}annot/{name}.png"
            write_pair(tmp_path, f"cam_left/{split}/{name}.png", path, layouts.filled([0, 1, 2]))
    source = draft(tmp_path, 9)
    assert [(pair.images, pair.labels, pair.split) for pair in source.pairs] == [
        (f"cam_left/{split}/{{name}}.png", f"cam_left/{split}annot/{{name}}.png", split)
        for split in ("test", "train", "val")
    ]
    assert (len(source.sample), source.notes) == (6, [])


MISTAKES = {
    "is empty": lambda root: None,
    "holds 1 images and no labels": lambda root: layouts.write_photo(root / "images/1.jpg"),
    "encodings are mixed": mixed,
    "no image is named like a label file": lambda root: write_pair(
        root, "images/1.png", "labels/x.png", layouts.filled([0, 1])
    ),
    "hold 1 labels (label 3)": lambda root: write_pair(
        root, "images/1.png", "labels/1.png", layouts.filled([3])
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_one_line(message: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    MISTAKES[message](tmp_path / "data")
    result = CliRunner().invoke(app, ["init", str(tmp_path / "data")])
    assert isinstance(result.exception, StreetsegError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("mine")
    result = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert "labels.yaml exists and is not overwritten" in str(result.exception)
    assert (tmp_path / "labels.yaml").read_text() == "mine"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.write_photo(tmp_path / "set/images/a.png")
    layouts.write(tmp_path / "set/labels/a.png", layouts.filled([1, 2]))
    monkeypatch.chdir(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # enough for the YAML files
    try:
        done = CliRunner().invoke(app, ["init", "set", "--out", "drafts", "--own"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write drafts/init.html: File too large" in str(done.exception)
    assert [*(tmp_path / "drafts").iterdir()] == []


def test_the_page_shows_a_crop_of_each_label(tmp_path: Path) -> None:
    root = exported(tmp_path / "cvat", "datumaro-cvat")
    result = CliRunner().invoke(app, ["init", str(root)])
    assert result.exit_code == 0, result.exception
    page = (root / "init.html").read_text()
    assert page.count("data:image/jpeg") == len(DRAWN)
    assert "building" in result.output


def undefined_in(page: Path, root: Path, source: Path) -> list[str]:
    """The warnings of explore about a source, which the page tells too."""
    settings = [f"data.source={source}", f"data.root={root}", "prepare.size=[32,64]"]
    options = [option for setting in settings for option in ("--set", setting)]
    result = CliRunner().invoke(app, ["explore", "--out", str(page), *options])
    assert result.exit_code == 0, result.exception
    return [line for line in result.output.splitlines() if "not defined" in line]


INCOMPLETE = {
    "ids": ("label 7", "id 7 is not defined by the label space: 3 frames of the sample, such as"),
    "colors": ("label 1", "colour (0, 0, 142) is not defined by the label space: 5 frames"),
}


@pytest.mark.parametrize("encoding", INCOMPLETE)
def test_explore_shows_what_is_not_defined_yet(encoding: str, tmp_path: Path) -> None:
    root, (name, told) = tmp_path / "data", INCOMPLETE[encoding]
    for number in range(5):
        values = layouts.filled([1, 2, 7 if number < 3 else 1])
        if encoding == "colors":
            values = np.array([NOTHING, CAR, ROAD], np.uint8)[layouts.filled([0, 1, 2])]
        write_pair(root, f"images/{number}.png", f"labels/{number}.png", values)
    drafted(root, tmp_path)
    labels = tmp_path / "labels.yaml"
    rows = [line for line in labels.read_text().splitlines() if f"name: {name}" not in line]
    labels.write_text("\n".join(rows) + "\n")
    (line,) = undefined_in(tmp_path / "page.html", root, tmp_path / "source.yaml")
    assert told in line
    page = (tmp_path / "page.html").read_text()
    assert "Labels that the label space does not define" in page
    assert "No frame fails a check" in page or "skipped" not in page


@pytest.mark.parametrize("name", ["datumaro-cvat", "datumaro-camvid"])
def test_explore_shows_names_that_are_not_defined_yet(name: str, tmp_path: Path) -> None:
    root = exported(tmp_path / "data", name)
    drafted(root, tmp_path)
    labels = tmp_path / "labels.yaml"
    rows = [line for line in labels.read_text().splitlines() if "name: person" not in line]
    labels.write_text("\n".join(rows) + "\n")
    (line,) = undefined_in(tmp_path / "page.html", root, tmp_path / "source.yaml")
    assert "'person' is not defined by the label space: 2 frames" in line


def test_a_crop_is_around_the_largest_part(tmp_path: Path) -> None:
    values = np.full((200, 300), 1, np.uint8)
    values[100:150, 200:260] = 2
    values[0:5, 0:5] = 2
    layouts.write(tmp_path / "labels/1.png", values)
    (tmp_path / "images").mkdir()
    Image.fromarray(np.where(values == 2, 255, 0).astype(np.uint8)).convert("RGB").save(
        tmp_path / "images/1.png"
    )
    crop = drafted(tmp_path, tmp_path)["label 2"].crop
    assert crop is not None
    above = crop[: len(crop) // 2]
    assert above.shape == (100, 120, 3)
    assert (above == 255).all(axis=2).sum() == 50 * 60
