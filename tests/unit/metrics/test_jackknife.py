"""How sure a score is."""

import numpy as np
import pytest

from streetseg.metrics.confusion import category_miou
from streetseg.metrics.jackknife import Drives, Estimate, Jackknife, correlation


def frames(number: int, seed: int = 0) -> np.ndarray:
    """Confusion matrices of three categories."""
    return np.random.default_rng(seed).integers(1, 100, (number, 3, 3))


def alone(number: int) -> Drives:
    """As many drives as frames."""
    return Drives(np.arange(number))


def mean_of(counts: np.ndarray) -> Estimate:
    return Jackknife(counts, alone(len(counts))).mean()


def test_alike_frames_leave_no_doubt() -> None:
    counts = np.repeat(frames(1), 20, axis=0)
    estimate = mean_of(counts)
    assert estimate.value == pytest.approx(category_miou(counts.sum(axis=0)))
    assert np.ptp(estimate.interval()) == pytest.approx(0)


def test_the_standard_error_of_a_mean_is_that_of_the_textbook() -> None:
    """Of equally long drives and a score that is linear, it is s / sqrt(D)."""
    values = np.array([0.2, 0.5, 0.6, 0.9])
    without = (values.sum() - values) / 3
    estimate = Estimate.of(values.mean(), without, np.full(4, 7))
    assert estimate.error == pytest.approx(values.std(ddof=1) / 2)
    assert estimate.effective_drives == 4
    assert estimate.interval(level=0.9) == pytest.approx(
        (0.55 - 2.353363 * estimate.error, 0.55 + 2.353363 * estimate.error)
    )
    assert estimate.probability_above(0.55 - 2.353363 * estimate.error) == pytest.approx(0.95)


def test_frames_of_a_drive_count_as_one_if_they_are_the_same() -> None:
    counts = frames(5)
    repeated = np.repeat(counts, 8, axis=0)
    drives = Drives(np.repeat(np.arange(5), 8))
    assert Jackknife(repeated, drives).mean() == mean_of(counts)
    assert correlation(repeated, drives) == pytest.approx(1, abs=0.2)
    assert mean_of(repeated).error < mean_of(counts).error / 2, "as if they were independent"


def test_independent_frames_do_not_correlate() -> None:
    counts, drives = frames(600), Drives(np.arange(600) // 10)
    assert correlation(counts, drives) == pytest.approx(0, abs=0.05)
    assert correlation(counts, alone(600)) is None
    assert correlation(counts, Drives(np.zeros(600, int))) is None


def test_frames_of_unknown_drives_count_as_drives_of_their_own() -> None:
    drives = Drives.of_names(np.array(["b", "", "a", "", "b"]))
    assert drives.n_unknown == 2
    assert len(drives.frames) == 4
    assert drives.of[0] == drives.of[4]
    assert len(set(drives.of[:4])) == 4
    np.testing.assert_array_equal(drives.sum(np.array([1, 2, 4, 8, 16])).sum(), 31)


def test_drives_of_different_length_count_as_fewer() -> None:
    drives = Drives(np.array([0] * 8 + [1, 2]))
    assert Jackknife(frames(10), drives).mean().effective_drives == pytest.approx(100 / 66)


def test_two_models_are_compared_drive_by_drive() -> None:
    counts = frames(30)
    better = counts + 50 * np.eye(3, dtype=int)
    gain = Jackknife(better, alone(30), minus=counts).mean()
    assert gain.value == pytest.approx(
        category_miou(better.sum(axis=0)) - category_miou(counts.sum(axis=0))
    )
    assert gain.probability_above(0) == 0.9999
    assert gain.error < mean_of(counts).error, "what both find hard cancels out"


@pytest.mark.parametrize("number", [2, 4, 8, 60])
def test_the_interval_holds_the_truth_as_often_as_it_says(number: int) -> None:
    population = frames(4000, seed=1)
    truth = category_miou(population.sum(axis=0))
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        low, high = mean_of(population[random.integers(len(population), size=number)]).interval()
        hits += low <= truth <= high
    assert 0.9 <= hits / 200 <= 0.99


def test_one_drive_tells_nothing_about_others() -> None:
    estimate = Jackknife(frames(9), Drives(np.zeros(9, int))).mean()
    assert estimate.value > 0
    assert np.isnan(estimate.interval()).all()
    assert estimate.probability_above(0) is None
    assert not np.isnan(mean_of(frames(2)).interval()).any()


def test_a_category_is_as_sure_as_the_drives_that_show_it_are_many() -> None:
    counts = frames(5)
    counts[1:, 2, :] = 0
    jackknife = Jackknife(counts, alone(5))
    assert [jackknife.category(column).drives for column in range(3)] == [5, 5, 1]
    assert np.isnan(jackknife.category(2).interval()).all()
    assert not np.isnan(jackknife.mean().interval()).any()


def test_an_interval_stays_within_what_a_score_can_be() -> None:
    estimate = Estimate(0.5, 10, 4, 4)
    assert estimate.interval() == (0, 1)
    assert estimate.interval(lowest=-1) == (-1, 1)


def test_a_category_that_never_occurs_has_no_score_and_no_interval() -> None:
    counts = frames(5)
    counts[:, 2, :] = 0
    jackknife = Jackknife(counts, alone(5))
    assert np.isnan(jackknife.category(2).value)
    assert np.isnan(jackknife.category(2).interval()).all()
    assert not np.isnan(jackknife.mean().interval()).any()


def test_a_category_that_one_model_alone_predicts_is_in_neither_mean() -> None:
    champion, challenger = np.zeros((2, 5, 3, 3), np.int64)
    champion[:, 0, 0] = champion[:, 1, 1] = 80
    champion[:, 0, 1] = champion[:, 1, 0] = 20
    challenger[:] = champion
    challenger[0, 0, 1] -= 1
    challenger[0, 0, 2] += 1  # the truth shows no third category
    gain = Jackknife(challenger, alone(5), minus=champion).mean()
    assert 0 < gain.value < 0.01


def test_tied_models_are_not_better_and_no_worse() -> None:
    counts = frames(6)
    tie = Jackknife(counts, alone(6), minus=counts).mean()
    assert tie.probability_above(0) == pytest.approx(0.0001)
    assert tie.probability_above(-1e-9) == 0.9999


def test_the_fewer_the_drives_the_nearer_the_probability_is_to_a_half() -> None:
    estimates = [Estimate(0.2, 0.1, drives, drives) for drives in (2, 3, 10, 1000)]
    probabilities = [each.probability_above(0) for each in estimates]
    assert probabilities == sorted(probabilities)
    assert probabilities[-1] == pytest.approx(0.977, abs=1e-3)
    assert probabilities[0] == pytest.approx(0.852, abs=1e-3)
