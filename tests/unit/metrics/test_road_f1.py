"""MaxF1 of KITTI road."""

import numpy as np
import pytest

from streetseg.data.labels import LabelSpace
from streetseg.metrics.road_f1 import RoadF1
from tests.support.scored_frames import scored_frame

SPACE = LabelSpace.load("kitti-road")
NOT_ROAD, ROAD, NOT_VALID = 0, 1, 255


def add(metric: RoadF1, truth: np.ndarray, road: np.ndarray) -> None:
    """Count a frame by its predicted probabilities of road."""
    probabilities = np.stack([1 - road, road]).astype(np.float32)
    metric.add(scored_frame(SPACE, truth=truth, probabilities=probabilities))


def benchmark(metric: RoadF1) -> dict:
    return metric.result()["benchmark"]


def test_it_is_the_best_f1_of_256_thresholds_on_valid_pixels() -> None:
    random = np.random.default_rng(0)
    truth = random.choice([NOT_ROAD, ROAD, NOT_VALID], (40, 60)).astype(np.uint8)
    levels = np.clip(random.normal(np.where(truth == ROAD, 160, 110), 40), 0, 255).round()
    metric = RoadF1(SPACE)
    add(metric, truth[:10], levels[:10] / 255)
    add(metric, truth[10:], levels[10:] / 255)

    valid, road = truth != NOT_VALID, truth == ROAD
    best = (-1.0, 0.0, 0.0, 0.0)
    for threshold in range(256):
        predicted = (levels >= threshold) & valid
        hit = (predicted & road).sum()
        precision, recall = hit / max(predicted.sum(), 1), hit / road.sum()
        f1 = 2 * precision * recall / max(precision + recall, 1e-10)
        best = max(best, (f1, precision, recall, threshold / 255))
    result = benchmark(metric)
    assert result["max_f1"] == pytest.approx(best[0], abs=1e-6)
    assert result["precision"] == pytest.approx(best[1], abs=1e-6)
    assert result["recall"] == pytest.approx(best[2], abs=1e-6)
    assert result["threshold"] == pytest.approx(best[3], abs=1e-6)


def test_the_best_threshold_is_searched_for() -> None:
    truth = np.array([[ROAD, ROAD, NOT_ROAD, NOT_VALID]], np.uint8)
    metric = RoadF1(SPACE)
    add(metric, truth, np.array([[0.3, 0.4, 0.2, 0.9]]))
    assert benchmark(metric)["max_f1"] == 1
    assert 0.2 < benchmark(metric)["threshold"] <= 0.3


def test_probabilities_are_brought_to_the_size_of_the_truth() -> None:
    truth = np.kron([[ROAD, NOT_ROAD]], np.ones((8, 8))).astype(np.uint8)
    metric = RoadF1(SPACE)
    add(metric, truth, np.array([[1.0, 0.0]]))
    assert metric.road.sum() == metric.background.sum() == 64
    assert benchmark(metric)["max_f1"] == 1


def test_without_road_there_is_no_score() -> None:
    metric = RoadF1(SPACE)
    add(metric, np.zeros((2, 2), np.uint8), np.full((2, 2), 0.5))
    assert benchmark(metric)["max_f1"] == 0
    assert benchmark(RoadF1(SPACE))["max_f1"] is None
