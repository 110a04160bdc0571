"""Calibration."""

import numpy as np
import pytest

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.inference.upsampling import softmax
from streetseg.metrics.calibration import BINS, Calibration
from streetseg.metrics.metric import ScoredFrame
from tests.support.scored_frames import scored_frame

SPACE = LabelSpace.load("cityscapes")


def frame(probabilities: np.ndarray, truth: np.ndarray) -> ScoredFrame:
    return scored_frame(SPACE, probabilities=probabilities, small_truth=truth)


def counted(confidences: list[float], correct: list[bool]) -> Calibration:
    """Pixels in a row, of two categories, the first of them always predicted."""
    confidence = np.array(confidences, np.float32)
    calibration = Calibration()
    truth = np.where(correct, 0, 1).astype(np.uint8)[None]
    calibration.add(frame(np.stack([confidence, 1 - confidence])[:, None], truth))
    return calibration


def bins(calibration: Calibration) -> list[dict]:
    return calibration.result()["calibration"]["bins"]


def test_it_is_the_gap_of_confidence_and_accuracy_weighted_by_pixels() -> None:
    calibration = counted([0.95, 0.97, 0.99, 0.61], [True, True, False, True])
    gaps = abs(2 / 3 - (0.95 + 0.97 + 0.99) / 3) * 3 / 4 + abs(1 - 0.61) / 4
    assert calibration.ece == pytest.approx(gaps)
    (last,) = (entry for entry in bins(calibration) if entry["share"] == 0.75)
    assert last["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert last["confidence"] == pytest.approx(0.97, abs=1e-6)


def test_a_network_as_accurate_as_confident_has_no_error() -> None:
    assert counted([0.75] * 4, [True, True, True, False]).ece == pytest.approx(0)
    assert counted([1.0, 1.0], [False, False]).ece == 1


def test_the_reference_of_the_paper_on_random_logits() -> None:
    random = np.random.default_rng(0)
    probabilities = softmax(random.normal(0, 3, (4, 20, 30)).astype(np.float32))
    truth = random.integers(0, 4, (20, 30)).astype(np.uint8)
    calibration = Calibration()
    calibration.add(frame(probabilities[:, :10], truth[:10]))
    calibration.add(frame(probabilities[:, 10:], truth[10:]))
    confidence = probabilities.max(axis=0)
    correct = probabilities.argmax(axis=0) == truth
    expected = 0.0
    for number in range(BINS):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration.ece == pytest.approx(expected, abs=1e-6)
    assert sum(entry["share"] for entry in bins(calibration)) == pytest.approx(1, abs=1e-5)


def test_unlabelled_pixels_do_not_count() -> None:
    calibration = Calibration()
    truth = np.full((4, 4), IGNORE, np.uint8)
    calibration.add(frame(np.full((2, 4, 4), 0.5, np.float32), truth))
    assert np.isnan(calibration.ece)
    assert calibration.result()["calibration"]["ece"] is None
    assert {entry["accuracy"] for entry in bins(calibration)} == {None}


def test_softmax_is_stable_for_large_logits() -> None:
    probabilities = softmax(np.array([1000.0, 999.0, -1000.0], np.float32).reshape(3, 1, 1))
    np.testing.assert_allclose(
        probabilities.ravel(), [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], rtol=1e-6
    )
