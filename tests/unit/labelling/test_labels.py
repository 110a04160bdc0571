"""Labels out to a tool and in again: each format, what a person changed, and bad exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from pycocotools.coco import COCO

from streetseg.config.params import load_params
from streetseg.data.annotations.formats import FORMATS
from streetseg.data.collection import load_sources
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.data.prepare import prepare
from streetseg.images.decode import decode_ids, read_image
from streetseg.labelling.export import correct
from streetseg.labelling.imports import import_labels
from streetseg.labelling.prelabels import ExportFormat
from streetseg.labelling.writers import WRITERS
from tests.unit.labelling.exports import LABELS, MODEL, accepted, export, masks_of

SIZE = (256, 512)
FORMAT_NAMES = [*WRITERS]
Masks = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three drawn frames."""
    from streetseg.synth import write_cityscapes

    root = tmp_path_factory.mktemp("streets")
    images = write_cityscapes(
        root / "city", frames={"train": 3}, cities=1, size=SIZE, seed=5, workers=1
    )
    (root / "frames").mkdir()
    for image in images:
        shutil.copy(image, root / "frames")
    return root / "frames"


@pytest.fixture(scope="module")
def masks(frames: Path) -> Masks:
    """What a model would predict of them."""
    return masks_of(frames.parent / "city", sorted(frames.iterdir()))


def imported_categories(folder: Path, name: str) -> np.ndarray:
    ids = read_image(folder / "labels" / f"{name}.png", decode_ids)
    return LABELS.category_of[ids]


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_labels_that_nobody_changed_come_back(
    format: ExportFormat, frames: Path, masks: Masks, tmp_path: Path
) -> None:
    export(frames, masks, tmp_path / "out", format)
    returned = accepted(tmp_path / "out", tmp_path / "returned")
    imported = import_labels(returned, tmp_path / "out", tmp_path / "new")
    assert imported.corrected == 0
    assert imported.counts == {"exported": 3, "labelled": 3}
    for name, mask in masks.items():
        differs = imported_categories(tmp_path / "new", name) != mask
        edges = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        near = cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert differs.mean() <= 0.005
        assert not (differs & ~near).any()
        image = tmp_path / "new" / "images" / f"{name}.png"
        assert image.read_bytes() == (frames / f"{name}.png").read_bytes()


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_what_a_person_changed_is_told_of_the_model(
    format: ExportFormat, frames: Path, masks: Masks, tmp_path: Path
) -> None:
    export(frames, masks, tmp_path / "out", format, tolerance=0)
    first, *others = masks
    corrected = {name: masks[name].copy() for name in masks}
    corrected[first][40:60, 100:150] = LABELS.category_id("vehicle")
    changed = {name: int((corrected[name] != masks[name]).sum()) for name in masks}
    correct(tmp_path / "out", corrected, tmp_path / "returned", "ada@example.org")
    imported = import_labels(tmp_path / "returned", tmp_path / "out", tmp_path / "new")

    provenance = json.loads((tmp_path / "new" / "provenance.json").read_text())
    pixels = SIZE[0] * SIZE[1]
    assert changed[first] > 500
    assert imported.corrected == pytest.approx(changed[first] / (3 * pixels), abs=2e-4)
    assert provenance["frames"][first]["corrected"] == pytest.approx(
        changed[first] / pixels, abs=5e-4
    )
    assert all(provenance["frames"][name]["corrected"] < 5e-4 for name in others)
    was = masks[first][corrected[first] != masks[first]]
    most = int(np.bincount(was).argmax())
    of_all = sum(int((mask == most).sum()) for mask in masks.values())
    assert provenance["corrected_by_category"][LABELS.names[most]] == pytest.approx(
        int((was == most).sum()) / of_all, abs=5e-3
    )
    assert provenance["model"] == MODEL
    told = {"cityscapes": ["ada@example.org"], "label-studio": ["ada@example.org"]}
    assert provenance["annotators"] == told.get(format, [])


@pytest.mark.parametrize(
    ("format", "file", "text"),
    [
        ("cvat", "annotations.xml", "pre-labelled by street-segmenter version 3 at 20"),
        (
            "coco",
            "annotations/instances_default.json",
            '"contributor": "street-segmenter version 3"',
        ),
        ("label-studio", "tasks.json", '"model_version": "street-segmenter version 3"'),
        ("labelme", "images/*.json", '"description": "street-segmenter version 3, 20'),
        (
            "cityscapes",
            "gtFine/default/*_polygons.json",
            '"user": "street-segmenter version 3"',
        ),
    ],
)
def test_the_model_is_named_inside_and_beside(
    format: ExportFormat, file: str, text: str, frames: Path, masks: Masks, tmp_path: Path
) -> None:
    export(frames, masks, tmp_path / "out", format)
    assert text in min((tmp_path / "out").glob(file)).read_text()
    manifest = json.loads((tmp_path / "out" / "prelabels.json").read_text())
    assert manifest["model"] == MODEL
    assert manifest["tolerance"] == 0.75
    assert [frame["name"] for frame in manifest["frames"]] == [*masks]
    assert LabelSpace.from_dict(manifest["labels"]) == LABELS


def test_coco_needs_no_drawing_order(frames: Path, masks: Masks, tmp_path: Path) -> None:
    export(frames, masks, tmp_path / "out", "coco", tolerance=0)
    path = tmp_path / "out" / "annotations" / "instances_default.json"
    tree = json.loads(path.read_text())
    tree["annotations"].reverse()
    path.write_text(json.dumps(tree))
    imported = import_labels(path, tmp_path / "out", tmp_path / "new")
    assert imported.corrected == 0
    assert any(each["iscrowd"] for each in tree["annotations"])
    names = {each["file_name"] for each in tree["images"]}
    (picture, *_) = FORMATS["coco"].read(path.read_bytes(), path).pictures
    assert picture.name in names


def test_pycocotools_draws_the_exported_coco(frames: Path, masks: Masks, tmp_path: Path) -> None:
    export(frames, masks, tmp_path / "out", "coco")
    coco = COCO(tmp_path / "out" / "annotations" / "instances_default.json")
    for image in coco.imgs.values():
        drawn = np.zeros(SIZE, np.uint8)
        times = np.zeros(SIZE, np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            mask = coco.annToMask(annotation)
            assert annotation["area"] == mask.sum()
            drawn[mask > 0] = annotation["category_id"] - 1
            times += mask
        assert (times == 1).mean() > 0.999  # a hole is no part of what is around it
        assert (drawn == masks[Path(image["file_name"]).stem]).mean() > 0.995


def test_the_scripts_of_cityscapes_draw_the_exported_polygons(
    frames: Path, masks: Masks, tmp_path: Path
) -> None:
    export(frames, masks, tmp_path / "out", "cityscapes")
    for path in tmp_path.glob("out/gtFine/default/*_polygons.json"):
        annotation = Annotation()
        annotation.fromJsonFile(str(path))
        drawn = np.array(createLabelImage(annotation, "ids"))
        beside = str(path).replace("polygons.json", "labelIds.png")
        assert (drawn == read_image(Path(beside), decode_ids)).all()
        name = path.name.replace("gtFine_polygons.json", "leftImg8bit")
        assert (LABELS.category_of[drawn] == masks[name]).mean() > 0.995


def test_new_frames_join_the_split_of_their_drive(
    cityscapes: Path, masks: Masks, frames: Path, tmp_path: Path
) -> None:
    (known,) = [*cityscapes.glob("leftImg8bit/val/*/*.png")][:1]
    drawn = masks_of(cityscapes, [known])
    (tmp_path / "frames").mkdir()
    shutil.copy(known, tmp_path / "frames")
    shutil.copy(min(frames.iterdir()), tmp_path / "frames")
    export(tmp_path / "frames", masks | drawn, tmp_path / "out")
    import_labels(tmp_path / "out", tmp_path / "out", tmp_path / "raw" / "new")
    (tmp_path / "raw" / "city").symlink_to(cityscapes)
    sources = [
        {"source": "cityscapes", "folder": "city"},
        {"source": str(tmp_path / "raw" / "new" / "source.yaml"), "folder": "new"},
    ]
    data = load_params(overrides={"data.sources": sources, "data.root": str(tmp_path / "raw")}).data
    collection = load_sources(data)
    assert collection.labels == LABELS
    of_new = [frame for frame in collection.find(tmp_path / "raw") if frame.source == "new"]
    assert {frame.split for frame in of_new if known.stem in frame.name} == {"val"}


def test_prepare_takes_the_imported_source_as_it_is(
    frames: Path, masks: Masks, tmp_path: Path
) -> None:
    export(frames, masks, tmp_path / "out")
    import_labels(tmp_path / "out", tmp_path / "out", tmp_path / "new", split="val")
    params = load_params(
        overrides={
            "data.source": str(tmp_path / "new" / "source.yaml"),
            "data.root": str(tmp_path / "new"),
            "data.prepared": str(tmp_path / "prepared"),
            "prepare.size": SIZE,
        }
    )
    dataset = PreparedDataset(prepare(params))
    assert dataset.labels == LABELS
    assert [*dataset.index["split"]] == ["val"] * 3
    for row, name in enumerate(dataset.index["frame"]):
        assert (dataset.label_ids(row) != 255).all()
        assert (LABELS.category_of[dataset.label_ids(row)] == masks[name]).mean() > 0.995
