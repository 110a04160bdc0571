"""How long to wait before trying again."""

from __future__ import annotations

import random


class Backoff:
    """Exponential back-off with jitter, which keeps many clients from retrying at the same moment.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
    """

    def __init__(self, first_s: float, max_s: float) -> None:
        """Start with a pause of at most ``first_s`` seconds; no pause exceeds ``max_s`` seconds."""
        self._max_s = max_s
        self._limit = min(first_s, max_s)

    def next(self) -> float:
        """Seconds to wait now: half to all of the current limit, which then doubles."""
        pause = self._limit * random.uniform(0.5, 1)
        self._limit = min(2 * self._limit, self._max_s)
        return pause
