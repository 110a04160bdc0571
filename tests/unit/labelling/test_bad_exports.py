"""Exports that are not finished, or not of these frames: refused in one line, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.core.errors import StreetsegError
from streetseg.data.label_files import decode_labels
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.images.decode import decode_ids, read_image
from streetseg.labelling.export import export_masks
from streetseg.labelling.imports import import_labels
from streetseg.labelling.prelabels import ExportFormat
from tests.unit.labelling.exports import LABELS, MODEL, accepted, export

SIZE = (48, 64)
NAMES = ("a", "b", "c")
TREE, SKY = LABELS.category_id("nature"), LABELS.category_id("sky")
Edit = Callable[[Any], None]


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Three pictures of noise."""
    folder = tmp_path / "frames"
    folder.mkdir()
    random = np.random.default_rng(3)
    for name in NAMES:
        cv2.imwrite(str(folder / f"{name}.png"), random.integers(0, 255, (*SIZE, 3), np.uint8))
    return folder


def mask() -> np.ndarray:
    categories = np.full(SIZE, SKY, np.uint8)
    categories[24:] = TREE
    return categories


def exported(frames: Path, format: ExportFormat, edit: Edit | None = None) -> tuple[Path, Path]:
    """An export, and what comes back of it after an edit of its label file."""
    out = frames.parent / "out"
    export(frames, {name: mask() for name in NAMES}, out, format)
    returned = accepted(out, frames.parent / "returned")
    if returned == out:
        returned = Path(shutil.copytree(out, frames.parent / "returned"))
        (returned / "prelabels.json").unlink()
        shutil.rmtree(returned / "prelabels")
    if format == "cvat":
        path = returned / "annotations.xml"
        tree = ElementTree.parse(path)
        if edit:
            edit(tree.getroot())
        tree.write(path)
    else:
        path = returned / {
            "label-studio": "tasks.json",
            "coco": "annotations/instances_default.json",
        }.get(format, "")
        if edit and path.is_file():
            content = json.loads(path.read_text())
            edit(content)
            path.write_text(json.dumps(content))
    return out, returned


def images(root: ElementTree.Element) -> list[ElementTree.Element]:
    return root.findall("image")


def remove_shapes(root: ElementTree.Element) -> None:
    for shape in list(images(root)[1]):
        images(root)[1].remove(shape)


def label_twice(root: ElementTree.Element) -> None:
    other = ElementTree.fromstring(ElementTree.tostring(images(root)[1]))
    other[0].attrib["label"] = "road"
    root.append(other)


def draw_outside(root: ElementTree.Element) -> None:
    images(root)[1][0].attrib["points"] = "70,2;90,2;90,20"


def rename_label(root: ElementTree.Element) -> None:
    images(root)[1][0].attrib["label"] = "Baum"


def rename_image(root: ElementTree.Element) -> None:
    images(root)[1].attrib["name"] = "frame_000001.png"


def drop_image(root: ElementTree.Element) -> None:
    root.remove(images(root)[1])


def resize(root: ElementTree.Element) -> None:
    images(root)[1].attrib.update(width="32", height="24")


def turn(root: ElementTree.Element) -> None:
    images(root)[1].attrib.update(width=str(SIZE[0]), height=str(SIZE[1]))


def label_little(root: ElementTree.Element) -> None:
    for shape in images(root)[1]:
        shape.attrib["points"] = "2,2;20,2;20,20"


def two_annotators(tasks: list[Any]) -> None:
    tasks[1]["annotations"] *= 2


def skip(tasks: list[Any]) -> None:
    tasks[1]["annotations"][0]["was_cancelled"] = True


def touch_nothing(tasks: list[Any]) -> None:
    tasks[1]["annotations"] = []


def submit_empty(tasks: list[Any]) -> None:
    tasks[1]["annotations"][0]["result"] = []


UNFINISHED = {
    "empty": ("cvat", remove_shapes, "empty"),
    "missing": ("cvat", drop_image, "missing"),
    "half labelled": ("cvat", label_little, "half labelled"),
    "two opinions in one file": ("cvat", label_twice, "conflicting"),
    "two annotators": ("label-studio", two_annotators, "conflicting"),
    "untouched": ("label-studio", touch_nothing, "untouched"),
    "submitted empty": ("label-studio", submit_empty, "empty"),
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_an_unfinished_frame_is_refused_or_left_out(case: str, frames: Path) -> None:
    format, edit, reason = UNFINISHED[case]
    out, returned = exported(frames, format, edit)  # type: ignore[arg-type]
    target = frames.parent / "new"
    with pytest.raises(StreetsegError) as refused:
        import_labels(returned, out, target)
    assert str(refused.value) == (
        f"{returned}: 1 of 3 frames are not finished (1 {reason}; the first is b, {reason}): "
        "finish them there, or leave them out by --partial"
    )
    assert not target.exists()
    imported = import_labels(returned, out, target, partial=True)
    assert imported.counts == {"exported": 3, "labelled": 2, reason: 1}
    assert imported.provenance["left_out"] == {"b": reason}
    assert sorted(path.stem for path in (target / "labels").iterdir()) == ["a", "c"]


def test_a_frame_that_a_person_skipped_is_left_out_and_counted(frames: Path) -> None:
    out, returned = exported(frames, "label-studio", skip)
    imported = import_labels(returned, out, frames.parent / "new")
    assert imported.counts == {"exported": 3, "labelled": 2, "skipped": 1}
    assert sorted(imported.provenance["frames"]) == ["a", "c"]


WRONG = {
    "outside": (draw_outside, "a shape 'sky' of b lies outside the picture of 64x48: delete it"),
    "unknown label": (rename_label, "labels that the model does not know: 'Baum' (in b): give"),
    "another size": (resize, "b is 32x24 there, but was exported as 64x48: it is another image"),
    "not turned": (turn, "b is 48x64 there, but was exported as 64x48: the tool did not turn it"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_export_is_refused_and_an_earlier_import_stays(case: str, frames: Path) -> None:
    edit, message = WRONG[case]
    out, returned = exported(frames, "cvat", edit)
    target = frames.parent / "new"
    import_labels(out, out, target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(StreetsegError) as refused:
        import_labels(returned, out, target)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_a_renamed_image_is_known_by_its_bytes_alone(frames: Path) -> None:
    out, returned = exported(frames, "cvat", rename_image)
    with pytest.raises(StreetsegError) as refused:
        import_labels(returned, out, frames.parent / "new")
    assert "'frame_000001.png', which is none of the 3 frames of the pre-labels" in str(
        refused.value
    )
    (returned / "images" / "b.png").rename(returned / "images" / "frame_000001.png")
    imported = import_labels(returned, out, frames.parent / "new")
    assert imported.provenance["matched"] == {"sha256": 3}
    assert sorted(path.name for path in (frames.parent / "new/images").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
    ]


def test_label_studios_upload_prefix_does_not_matter(frames: Path) -> None:
    def upload(tasks: list[Any]) -> None:
        for number, task in enumerate(tasks):
            task["file_upload"] = f"0a1b2c{number:02d}-{NAMES[number]}.png"

    out, returned = exported(frames, "label-studio", upload)
    imported = import_labels(returned, out, frames.parent / "new")
    assert imported.provenance["matched"] == {"name": 3}
    assert imported.provenance["annotators"] == ["user 1"]


def test_a_photo_that_exif_turns_comes_back_upright(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    stored = BytesIO()
    Image.new("RGB", (SIZE[1], SIZE[0]), (90, 120, 90)).save(stored, "JPEG", exif=exif)
    (folder / "turned.jpg").write_bytes(stored.getvalue())
    upright = np.full((SIZE[1], SIZE[0]), SKY, np.uint8)
    upright[40:] = TREE
    export(folder, {"turned": upright}, tmp_path / "out")
    (image,) = images(ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot())
    assert (image.attrib["width"], image.attrib["height"]) == ("48", "64")
    import_labels(tmp_path / "out", tmp_path / "out", tmp_path / "new")
    assert (tmp_path / "new/images/turned.jpg").read_bytes() == stored.getvalue()
    ids = read_image(tmp_path / "new/labels/turned.png", decode_ids)
    assert (LABELS.category_of[ids] == upright).all()


def test_labels_of_other_pre_labels_are_not_replaced(frames: Path) -> None:
    out, returned = exported(frames, "cvat")
    target = frames.parent / "new"
    import_labels(returned, out, target)
    import_labels(returned, out, target)  # the same once more is no other
    manifest = out / "prelabels.json"
    manifest.write_text(manifest.read_text().replace('"d1.dir"', '"d2.dir"'))
    with pytest.raises(StreetsegError, match="holds labels of other pre-labels than those in"):
        import_labels(returned, out, target)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no label file that can be read"),
        ({"a.zip": b"PK"}, "unpack the export"),
        (
            {"x.xml": b"<annotations/>", "y.json": b'{"shapes": []}'},
            "label files of cvat and labelme",
        ),
        ({"x.json": b"{"}, "x.json is not valid JSON"),
        ({"x.xml": b"<annotation></annotation>"}, "LabelMe's XML tells no drawing order"),
    ],
)
def test_a_folder_without_one_kind_of_label_files_is_refused(
    files: dict[str, bytes], message: str, frames: Path
) -> None:
    out, _ = exported(frames, "cvat")
    folder = frames.parent / "folder"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(StreetsegError) as refused:
        import_labels(folder, out, frames.parent / "new")
    assert message in str(refused.value)


def test_a_label_of_the_label_space_is_taken_beside_categories(frames: Path) -> None:
    def finer(root: ElementTree.Element) -> None:
        images(root)[1][0].attrib["label"] = "Terrain"

    out, returned = exported(frames, "cvat", finer)
    import_labels(returned, out, frames.parent / "new")
    ids = read_image(frames.parent / "new/labels/b.png", decode_ids)
    assert {22, 21} == {*np.unique(ids).tolist()}  # terrain, and vegetation for nature


def test_a_damaged_manifest_is_refused(frames: Path) -> None:
    out, returned = exported(frames, "cvat")
    manifest = out / "prelabels.json"
    for text, message in (("{", "is damaged"), ('{"labels": {}, "format": 9}', "has format 9")):
        manifest.write_text(text)
        with pytest.raises(StreetsegError, match=message):
            import_labels(returned, out, frames.parent / "new")
    manifest.unlink()
    with pytest.raises(StreetsegError, match="name the folder that 'streetseg labels export'"):
        import_labels(returned, out, frames.parent / "new")


def test_an_export_that_somebody_has_edited_is_not_replaced(frames: Path) -> None:
    out, masks = frames.parent / "out", {name: mask() for name in NAMES}
    export(frames, masks, out, "labelme")
    export(frames, masks, out, "labelme")  # nobody has
    edited = out / "images" / "b.json"
    text = edited.read_text().replace('"sky"', '"nature"')
    edited.write_text(text)
    with pytest.raises(StreetsegError, match=r"images/b\.json was not written by the export"):
        export(frames, masks, out, "labelme")
    assert edited.read_text() == text
    imported = import_labels(out, out, frames.parent / "new")
    assert imported.provenance["frames"]["b"]["corrected"] == 0.5


def test_an_interrupted_export_leaves_nothing(frames: Path) -> None:
    def interrupt(path: str, _: np.ndarray) -> np.ndarray:
        if path == "b.png":
            raise KeyboardInterrupt
        return mask()

    with pytest.raises(KeyboardInterrupt):
        export_masks(str(frames), frames.parent / "out", interrupt, LABELS, MODEL)
    assert [path.name for path in frames.parent.iterdir()] == ["frames"]


def test_names_that_addresses_and_xml_write_otherwise(frames: Path) -> None:
    strange = "a&b <50%+1> ü"
    (frames / "a.png").rename(frames / f"{strange}.png")
    masks = {name: mask() for name in (strange, "b", "c")}
    for format in ("cvat", "label-studio"):
        out = frames.parent / format
        export(frames, masks, out, format)  # type: ignore[arg-type]
        returned = accepted(out, frames.parent / f"{format}-returned")
        import_labels(returned, out, frames.parent / f"{format}-new")
        assert (frames.parent / f"{format}-new" / "labels" / f"{strange}.png").exists()


def test_cvats_assignee_is_the_annotator(frames: Path) -> None:
    def assign(root: ElementTree.Element) -> None:
        (task,) = root.iter("task")
        for role, name in (("owner", "boss"), ("assignee", "ada")):
            person = ElementTree.SubElement(task, role)
            ElementTree.SubElement(person, "username").text = name

    out, returned = exported(frames, "cvat", assign)
    imported = import_labels(returned, out, frames.parent / "new")
    assert imported.provenance["annotators"] == ["ada"]


@pytest.mark.parametrize("encoding", ["ids", "red", "colors"])
def test_label_images_have_the_encoding_of_the_label_space(encoding: str, frames: Path) -> None:
    labels = LabelSpace.from_dict(
        {
            "name": "two",
            "encoding": encoding,
            "categories": [
                {"name": "low", "color": [1, 2, 3]},
                {"name": "high", "color": [4, 5, 6]},
            ],
            "labels": [
                {"id": 7, "name": "low", "category": "low", "color": [1, 2, 3]},
                {"id": 9, "name": "high", "category": "high", "color": [4, 5, 6]},
                {"id": 0, "name": "ego", "color": [0, 0, 0]},
            ],
        }
    )
    categories = np.zeros(SIZE, np.uint8)
    categories[24:] = 1
    categories[:, 60:] = IGNORE  # nothing is drawn there
    out, new = frames.parent / "out", frames.parent / "new"
    export_masks(str(frames), out, lambda *_: categories, labels, MODEL, format="cityscapes")
    imported = import_labels(out, out, new)
    ids = read_image(new / "labels" / "a.png", partial(decode_labels, labels=labels))
    expected = np.array([7, 9])[np.where(categories == 1, 1, 0)]
    expected[:, 60:] = 0
    assert (ids == expected).all()
    beside = read_image(out / "gtFine" / "default" / "a_gtFine_labelIds.png", decode_ids)
    assert (beside == expected).all()
    assert imported.corrected == 0
    assert imported.provenance["frames"]["a"]["unlabelled"] == 4 / 64
