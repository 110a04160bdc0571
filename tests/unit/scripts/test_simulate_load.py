"""The simulation of pods that answer one request after another."""

from __future__ import annotations

import pytest

from scripts.simulate_load import simulate


def test_a_request_that_comes_alone_takes_as_long_as_an_answer() -> None:
    seen = simulate(0.001, 1, 0.3, 32, 2000, at_random=True)
    assert (seen.p50, seen.p99, seen.refused) == (pytest.approx(0.3), pytest.approx(0.3), 0)


def test_what_is_more_than_all_can_answer_is_refused_and_the_wait_is_bounded() -> None:
    seen = simulate(2 * 4 / 0.3, 4, 0.3, 8, 20_000, at_random=True)
    assert seen.refused == pytest.approx(0.5, abs=0.02)
    assert seen.p99 <= 8 * 0.3


def test_half_a_load_waits_as_queueing_theory_says() -> None:
    # Of an M/D/1 queue at a load of 0.5, half of the requests find nobody before them.
    seen = simulate(0.5 / 0.3, 1, 0.3, 1000, 50_000, at_random=True)
    assert seen.p50 == pytest.approx(0.3, abs=0.01)
    assert simulate(0.5 / 0.3, 1, 0.3, 1000, 50_000, at_random=False) == seen


def test_pods_that_share_by_what_they_have_in_hand_wait_less() -> None:
    chance, fewest = (simulate(11, 4, 0.3, 32, 20_000, at_random=r) for r in (True, False))
    assert fewest.p99 < chance.p99 / 2
