"""Pauses between attempts."""

from __future__ import annotations

from streetseg.core.retry import Backoff


def test_pauses_double_up_to_the_limit() -> None:
    backoff = Backoff(first_s=1, max_s=5)
    for limit in (1, 2, 4, 5, 5):
        assert limit / 2 <= backoff.next() <= limit


def test_the_first_pause_obeys_the_limit_too() -> None:
    assert Backoff(first_s=60, max_s=2).next() <= 2


def test_two_clients_do_not_wait_equally_long() -> None:
    assert len({Backoff(1, 1).next() for _ in range(20)}) > 1
