"""Exports of real annotation tools come in as the labels that were drawn there.

What is in each is described in tests/data/label_tools/README.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_ids, read_image
from streetseg.labelling.export import export_masks
from streetseg.labelling.imports import import_labels
from tests.unit.labelling.exports import MODEL

EXPORTS = Path(__file__).parents[2] / "data" / "label_tools"
NAMES = ("background", "road", "Car", "person", "building")
DRAWN = LabelSpace.from_dict(
    {
        "name": "drawn",
        "categories": [
            {"name": name, "color": [9, 9, number]} for number, name in enumerate(NAMES)
        ],
        "labels": [
            {"id": number, "name": name, "category": name} for number, name in enumerate(NAMES)
        ],
    }
)
TRUTH = {
    "datumaro-cvat": "datumaro-truth/by_z_order",
    "datumaro-coco": "datumaro-coco/truth_pycocotools",
    "datumaro-coco-panoptic": "datumaro-truth/by_list_order",
    "datumaro-voc-segmentation": "datumaro-truth/by_z_order",
    "datumaro-cityscapes": "datumaro-truth/by_z_order",
    "datumaro-camvid": "datumaro-truth/by_z_order",
    "labelme-json": "labelme-label-png/class",
    "label-studio-json": "datumaro-truth/by_list_order",
    "label-studio-brush-json": "label-studio-brush-truth",
}

WITHOUT_EMPTY = ("datumaro-voc-segmentation", "datumaro-cityscapes", "datumaro-camvid")
"""They have no mask of a picture without a shape."""


@pytest.fixture
def prelabels(tmp_path: Path) -> Path:
    """The three pictures, pre-labelled as nothing but road."""
    out = tmp_path / "out"
    export_masks(
        str(EXPORTS / "datumaro-cvat" / "images"),
        out,
        lambda _, rgb: np.ones(rgb.shape[:2], np.uint8),
        DRAWN,
        MODEL,
    )
    return out


@pytest.mark.parametrize("name", TRUTH)
def test_an_export_of_a_tool_comes_in_as_it_was_drawn(
    name: str, prelabels: Path, tmp_path: Path
) -> None:
    imported = import_labels(EXPORTS / name, prelabels, tmp_path / "new", partial=True)
    without = "missing" if name in WITHOUT_EMPTY else "empty"
    assert imported.counts == {"exported": 3, "labelled": 2, without: 1}
    changed = 0
    for street in ("street_01", "street_02"):
        ids = read_image(tmp_path / "new" / "labels" / f"{street}.png", decode_ids)
        truth = read_image(EXPORTS / TRUTH[name] / f"{street}.png", decode_ids)
        assert (ids == truth).all()
        changed += int((truth != 1).sum())
    assert imported.corrected == pytest.approx(changed / (2 * 96 * 64), abs=1e-6)


def test_two_annotators_a_skipped_and_an_untouched_task(prelabels: Path, tmp_path: Path) -> None:
    export = EXPORTS / "label-studio-traps-json"
    with pytest.raises(StreetsegError) as refused:
        import_labels(export, prelabels, tmp_path / "new", partial=True)
    assert str(refused.value) == (
        f"{export} holds no labelled frame: 1 conflicting, 1 skipped, 1 missing"
    )


def test_a_box_without_an_outline_is_told(prelabels: Path, tmp_path: Path) -> None:
    coco = EXPORTS / "datumaro-coco" / "annotations" / "instances_train.json"
    imported = import_labels(coco, prelabels, tmp_path / "new", partial=True)
    assert imported.notes[-1] == "1 shapes dropped: box without an outline"


def test_a_copy_of_label_studio_that_loses_regions_is_refused(
    prelabels: Path, tmp_path: Path
) -> None:
    for name in ("label-studio-coco", "label-studio-json-min"):
        with pytest.raises(StreetsegError, match="export JSON"):
            import_labels(EXPORTS / name, prelabels, tmp_path / "new")
