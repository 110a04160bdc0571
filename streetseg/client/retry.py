"""Whether and when the client sends a request again, within the time limit of one call."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx

from streetseg.core.retry import Backoff

BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
"""Statuses after which the same request may succeed."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0


class RetryPolicy:
    """The time and the retries that one call has left."""

    def __init__(self, timeout: float, retries: int) -> None:
        """Start a call that may take ``timeout`` seconds with all its retries."""
        self._end = time.monotonic() + timeout
        self._retries = retries
        self._backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)

    @property
    def seconds_left(self) -> float:
        """Never quite zero, so that the last attempt fails as a timeout."""
        return max(self._end - time.monotonic(), 0.001)

    def pause_after(self, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """Seconds to wait before the next attempt; None if this outcome is final.

        The pause is that of ``Retry-After``, or else an exponential back-off. An outcome is final
        if the pause exceeds ``MAX_PAUSE_S`` or the time left.
        """
        response = outcome if isinstance(outcome, httpx.Response) else None
        if self._retries < 1 or (response is not None and response.status_code not in BUSY):
            return None
        pause = self._backoff.next()
        if response is not None and (requested := _retry_after(response)) is not None:
            pause = requested
        if pause >= self.seconds_left or pause > MAX_PAUSE_S:
            return None
        self._retries -= 1
        return pause


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110, 10.2.3): a number or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
