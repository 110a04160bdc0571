"""How sure a score is."""

import numpy as np
import pytest

from streetseg.metrics.bootstrap import (
    bootstrap_probability,
    frames_showing,
    interval,
    mean_iou,
    resampled_iou,
)
from streetseg.metrics.confusion import category_miou


def frames(number: int, seed: int = 0) -> np.ndarray:
    """Confusion matrices of three categories."""
    return np.random.default_rng(seed).integers(1, 100, (number, 3, 3))


def test_alike_frames_leave_no_doubt() -> None:
    counts = np.repeat(frames(1), 20, axis=0)
    samples = mean_iou(resampled_iou(counts))
    assert np.allclose(samples, category_miou(counts.sum(axis=0)))
    assert np.ptp(interval(samples, 20)) == pytest.approx(0)


def test_a_resample_is_the_score_of_the_frames_drawn() -> None:
    counts = frames(2)
    possible = {round(category_miou(first + second), 9) for first in counts for second in counts}
    samples = mean_iou(resampled_iou(counts, resamples=50))
    assert set(samples.round(9)) == possible


def test_two_models_are_resampled_on_the_same_frames() -> None:
    counts = frames(30)
    better = counts + 50 * np.eye(3, dtype=int)
    assert (mean_iou(resampled_iou(better)) > mean_iou(resampled_iou(counts))).all()
    np.testing.assert_array_equal(resampled_iou(counts), resampled_iou(counts))
    assert (resampled_iou(counts, seed=1) != resampled_iou(counts)).any()


@pytest.mark.parametrize("number", [2, 4, 8, 60])
def test_the_interval_holds_the_truth_as_often_as_it_says(number: int) -> None:
    population = frames(4000, seed=1)
    truth = category_miou(population.sum(axis=0))
    random = np.random.default_rng(2)
    hits = 0
    for seed in range(200):
        sample = population[random.integers(len(population), size=number)]
        low, high = interval(mean_iou(resampled_iou(sample, 300, seed)), number)
        hits += low <= truth <= high
    assert 0.9 <= hits / 200 <= 0.99


def test_one_frame_tells_nothing_about_others() -> None:
    samples = mean_iou(resampled_iou(frames(1)))
    assert np.isnan(interval(samples, 1)).all()
    assert not np.isnan(interval(samples, 2)).any()


def test_a_category_is_as_sure_as_the_frames_that_show_it_are_many() -> None:
    counts = frames(5)
    counts[1:, 2, :] = 0
    assert frames_showing(counts).tolist() == [5, 5, 1]


def test_an_interval_stays_within_what_a_score_can_be() -> None:
    samples = np.linspace(0.2, 0.9, 101)
    assert interval(samples, 2) == (0, 1)
    assert interval(samples - 0.5, 2, lowest=-1) == (-1, 1)
    assert interval(samples, 10**6) == pytest.approx((0.2175, 0.8825), abs=1e-4)


def test_a_category_that_never_occurs_has_no_score_and_no_interval() -> None:
    counts = frames(5)
    counts[:, 2, :] = counts[:, :, 2] = 0
    samples = resampled_iou(counts, resamples=20)
    assert np.isnan(samples[:, 2]).all()
    assert np.isnan(interval(samples[:, 2], 5)).all()
    assert not np.isnan(mean_iou(samples)).any()


def test_the_fewer_the_frames_the_nearer_the_probability_is_to_a_half() -> None:
    holds = np.arange(2000) < 1900
    assert bootstrap_probability(holds, 5000) == pytest.approx(0.95, abs=1e-3)
    probabilities = [bootstrap_probability(holds, frames) for frames in (1, 2, 4, 24, 5000)]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] == 0.5
    assert bootstrap_probability(~holds, 24) == pytest.approx(1 - bootstrap_probability(holds, 24))
