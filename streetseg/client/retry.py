"""How long one call goes on trying, and what it waits for."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

import httpx

BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
"""Statuses after which the same request may do better."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0


class RetryPolicy:
    """What is left to one call of its time and of its attempts."""

    def __init__(self, timeout: float, retries: int) -> None:
        """The call begins; it may take ``timeout`` seconds."""
        self._end = time.monotonic() + timeout
        self._retries = retries
        self._pause = FIRST_PAUSE_S

    @property
    def left(self) -> float:
        """Seconds; never quite none, so that the last attempt fails as a timeout."""
        return max(self._end - time.monotonic(), 0.001)

    def pause_after(self, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """Seconds to wait before the next attempt, or None to be content with this outcome.

        They are those that the service asks for, or else they double each time, less a random part
        that keeps clients from coming back together.
        """
        response = outcome if isinstance(outcome, httpx.Response) else None
        if self._retries < 1 or (response is not None and response.status_code not in BUSY):
            return None
        asked = None if response is None else _retry_after(response)
        pause = self._pause * random.uniform(0.5, 1) if asked is None else asked
        if pause >= min(self.left, MAX_PAUSE_S):
            return None
        self._retries -= 1
        self._pause *= 2
        return pause


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110, 10.2.3): a number or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
