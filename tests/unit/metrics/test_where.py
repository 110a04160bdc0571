"""IoU by image row and by object size, on masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from streetseg.data.labels import LabelSpace
from streetseg.metrics.image_rows import BANDS, RowScores
from streetseg.metrics.object_size import ObjectSizeScores
from tests.support.scored_frames import scored_frame

SPACE = LabelSpace.load("cityscapes-19")
ROAD, CAR, PERSON = (SPACE.names.index(name) for name in ("road", "car", "person"))


def truth_of(categories: np.ndarray) -> np.ndarray:
    """Label ids of category ids."""
    return SPACE.representative_ids[categories]


def test_a_band_is_scored_by_its_rows_alone() -> None:
    truth = np.full((8 * BANDS, 10), ROAD, np.uint8)
    predicted = truth.copy()
    predicted[:8, :5] = CAR
    truth[-8:] = CAR
    predicted[-8:] = CAR
    scores = RowScores(SPACE)
    ids = truth_of(truth)
    ids[8:16] = 0  # ignored
    scores.add(scored_frame(SPACE, truth=ids, categories=predicted))
    rows = scores.result()["rows"]
    assert [band["top"] for band in rows] == [band / BANDS for band in range(BANDS)]
    assert rows[0]["iou"]["road"] == rows[0]["miou"] == 0.5
    assert rows[0]["iou"]["car"] is None, "the truth does not show it there"
    assert rows[1]["pixels"] == 0
    assert rows[1]["miou"] is None
    assert rows[2]["iou"] == {**dict.fromkeys(SPACE.names), "road": 1.0}
    assert rows[-1]["iou"]["car"] == 1


def test_a_size_has_the_iou_of_its_parts_and_of_false_parts_of_that_size() -> None:
    truth = np.full((256, 512), ROAD, np.uint8)
    truth[10:30, 10:30] = PERSON  # small, found
    truth[10:30, 60:80] = PERSON  # small, lost
    truth[100:200, 100:200] = PERSON  # large, found by half
    predicted = truth.copy()
    predicted[10:30, 60:80] = ROAD
    predicted[150:200, 100:200] = ROAD
    predicted[10:30, 300:310] = PERSON  # a false small one
    scores = ObjectSizeScores(SPACE)
    scores.add(scored_frame(SPACE, truth=truth_of(truth), categories=predicted))
    small, medium, large = scores.result()["object_sizes"]
    assert (small["parts"]["person"], medium["parts"]["person"], large["parts"]["person"]) == (
        2,
        0,
        1,
    )
    assert small["iou"]["person"] == pytest.approx(400 / (400 + 400 + 200), abs=1e-6)
    assert medium["iou"]["person"] is None
    assert large["iou"]["person"] == 0.5


def test_of_a_wide_frame_every_second_pixel_counts_at_native_size() -> None:
    truth = np.full((1024, 2048), ROAD, np.uint8)
    truth[:40, :40] = CAR
    scores = ObjectSizeScores(SPACE)
    scores.add(scored_frame(SPACE, truth=truth_of(truth), categories=truth))
    sizes = scores.result()["object_sizes"]
    assert [size["parts"]["car"] for size in sizes] == [0, 1, 0], "1600 pixels, not 400"
