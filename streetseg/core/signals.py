"""Letting a long job stop where it can be gone on with: between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_heard: list[list[str]] = []
"""The requests that the outermost block collects, while there is one."""


@contextmanager
def stop_requests() -> Iterator[list[str]]:
    """Collect SIGTERM and Ctrl-C instead of dying of them; a second one is not waited out.

    A block inside another gets the list of the outer one, so that both know of every request.
    """
    if _heard:
        yield _heard[0]
        return
    requests: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests  # only the main thread is told of signals
        return

    def request(number: int, frame: FrameType | None) -> None:
        requests.append(signal.Signals(number).name)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, request)
    _heard.append(requests)
    try:
        yield requests
    finally:
        _heard.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
