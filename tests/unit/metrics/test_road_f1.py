"""MaxF1 of KITTI road."""

import numpy as np
import pytest

from streetseg.data.labels import LabelSpace
from streetseg.metrics.road_f1 import RoadCurve

SPACE = LabelSpace.load("kitti-road")
NOT_ROAD, ROAD, NOT_VALID = 0, 1, 255


def probabilities_of(road: np.ndarray) -> np.ndarray:
    """Probabilities of background and road."""
    return np.stack([1 - road, road]).astype(np.float32)


def test_it_is_the_best_f1_of_256_thresholds_on_valid_pixels() -> None:
    random = np.random.default_rng(0)
    truth = random.choice([NOT_ROAD, ROAD, NOT_VALID], (40, 60)).astype(np.uint8)
    levels = np.clip(random.normal(np.where(truth == ROAD, 160, 110), 40), 0, 255).round()
    curve = RoadCurve(SPACE)
    curve.add(truth[:10], probabilities_of(levels[:10] / 255))
    curve.add(truth[10:], probabilities_of(levels[10:] / 255))

    valid, road = truth != NOT_VALID, truth == ROAD
    best = (-1.0, 0.0, 0.0, 0.0)
    for threshold in range(256):
        called = (levels >= threshold) & valid
        hit = (called & road).sum()
        precision, recall = hit / max(called.sum(), 1), hit / road.sum()
        f1 = 2 * precision * recall / max(precision + recall, 1e-10)
        best = max(best, (f1, precision, recall, threshold / 255))
    found = curve.to_dict()
    assert found["max_f1"] == pytest.approx(best[0], abs=1e-6)
    assert found["precision"] == pytest.approx(best[1], abs=1e-6)
    assert found["recall"] == pytest.approx(best[2], abs=1e-6)
    assert found["threshold"] == pytest.approx(best[3], abs=1e-6)


def test_the_threshold_is_looked_for_not_assumed() -> None:
    truth = np.array([[ROAD, ROAD, NOT_ROAD, NOT_VALID]], np.uint8)
    curve = RoadCurve(SPACE)
    curve.add(truth, probabilities_of(np.array([[0.3, 0.4, 0.2, 0.9]])))
    assert curve.to_dict()["max_f1"] == 1
    assert 0.2 < curve.to_dict()["threshold"] <= 0.3


def test_probabilities_are_brought_to_the_size_of_the_truth() -> None:
    truth = np.kron([[ROAD, NOT_ROAD]], np.ones((8, 8))).astype(np.uint8)
    curve = RoadCurve(SPACE)
    curve.add(truth, probabilities_of(np.array([[1.0, 0.0]])))
    assert curve.road.sum() == curve.rest.sum() == 64
    assert curve.to_dict()["max_f1"] == 1


def test_without_road_there_is_no_score() -> None:
    curve = RoadCurve(SPACE)
    curve.add(np.zeros((2, 2), np.uint8), probabilities_of(np.full((2, 2), 0.5)))
    assert curve.to_dict()["max_f1"] == 0
    assert RoadCurve(SPACE).to_dict()["max_f1"] is None
