"""Exports of colour masks: what is black, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE
from streetseg.images.decode import decode_ids, read_image
from streetseg.labelling.export import export_masks
from streetseg.labelling.imports import import_labels
from tests.unit.labelling.exports import LABELS, MODEL

SIZE = (40, 60)
SKY = LABELS.category_id("sky")
ROAD, BLUE = (128, 64, 128), (70, 130, 180)
MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\nsky:70,130,180::\n"


@pytest.fixture
def prelabels(tmp_path: Path) -> Path:
    """One picture that is all sky."""
    (tmp_path / "frames").mkdir()
    noise = np.random.default_rng(3).integers(0, 255, (*SIZE, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "frames" / "a.png"), noise)
    predict = lambda _, rgb: np.full(rgb.shape[:2], SKY, np.uint8)  # noqa: E731
    export_masks(str(tmp_path / "frames"), tmp_path / "out", predict, LABELS, MODEL)
    return tmp_path / "out"


def returned(folder: Path, labelmap: str = MAP, black: int = 0, name: str = "a.png") -> Path:
    """An upper half of sky, a lower one of road, the first rows black."""
    rgb = np.full((*SIZE, 3), BLUE, np.uint8)
    rgb[20:] = ROAD
    rgb[:black] = 0
    path = folder / "SegmentationClass" / name
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), rgb[..., ::-1])
    (folder / "labelmap.txt").write_text(labelmap)
    return folder


def test_colours_are_the_labels_of_their_names(prelabels: Path, tmp_path: Path) -> None:
    export = returned(tmp_path / "back")
    imported = import_labels(export, prelabels, tmp_path / "new")
    ids = read_image(tmp_path / "new" / "labels" / "a.png", decode_ids)
    categories = LABELS.category_of[ids]
    assert (categories[:20] == SKY).all()
    assert (categories[20:] == LABELS.category_id("flat")).all()
    assert imported.corrected == 0.5
    provenance = json.loads((tmp_path / "new" / "provenance.json").read_text())
    assert [*provenance["files"]] == ["labelmap.txt", "SegmentationClass/a.png"]
    assert provenance["tool"] == "colour masks"


@pytest.mark.parametrize("label", ["background", "void"])
def test_black_is_nobodys_beside_a_background_else_its_own_label(
    label: str, prelabels: Path, tmp_path: Path
) -> None:
    export = returned(tmp_path / "back", MAP.replace("background", label), black=10)
    imported = import_labels(export, prelabels, tmp_path / "new")
    assert imported.provenance["frames"]["a"]["unlabelled"] == (
        0.25 if label == "background" else 0
    )
    ids = read_image(tmp_path / "new" / "labels" / "a.png", decode_ids)
    assert LABELS.category_of[ids[0, 0]] in (LABELS.category_id("void"), IGNORE)


def test_a_frame_that_is_mostly_black_is_half_labelled(prelabels: Path, tmp_path: Path) -> None:
    export = returned(tmp_path / "back", f"{MAP}void:0,0,0::\n", black=30)
    with pytest.raises(StreetsegError, match="1 half labelled"):
        import_labels(export, prelabels, tmp_path / "new")


@pytest.mark.parametrize(
    ("labelmap", "reason"),
    [
        (MAP.replace("road:128", "road:127"), "a.png has the colour 128, 64, 128, which"),
        (
            MAP.replace("road", "strasse"),
            r"labels that the model does not know: 'strasse' \(in a\)",
        ),
        (f"{MAP}car:70,130,180::\n", "'sky' and 'car' have the same colour"),
        (" road\n car\n", "'road' is not a label and its colour"),
        ("road:300,0,0::\n", "channels end at 255"),
    ],
)
def test_a_bad_list_of_colours_is_refused(
    labelmap: str, reason: str, prelabels: Path, tmp_path: Path
) -> None:
    with pytest.raises(StreetsegError, match=reason):
        import_labels(returned(tmp_path / "back", labelmap), prelabels, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_two_masks_of_a_frame_that_differ_are_not_chosen_from(
    prelabels: Path, tmp_path: Path
) -> None:
    export = returned(tmp_path / "back", name="one/a.png")
    other = export / "SegmentationClass" / "two" / "a.png"
    other.parent.mkdir()
    cv2.imwrite(str(other), cv2.imread(str(export / "SegmentationClass/one/a.png"))[::-1])
    with pytest.raises(StreetsegError, match="1 conflicting"):
        import_labels(export, prelabels, tmp_path / "new")


def test_a_list_without_masks_and_an_unknown_picture(prelabels: Path, tmp_path: Path) -> None:
    export = returned(tmp_path / "back", name="b.png")
    with pytest.raises(StreetsegError, match=r"has 'b.png', which is none of the 1 frames"):
        import_labels(export, prelabels, tmp_path / "new")
    (export / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(StreetsegError, match="no masks lie beside"):
        import_labels(export, prelabels, tmp_path / "new")
