"""Stopping a long job between two steps, so that it can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_outermost: list[list[str]] = []
"""The list of the outermost active block, if there is one."""


@contextmanager
def stop_requests() -> Iterator[list[str]]:
    """Collect the names of SIGTERM and SIGINT (Ctrl-C) in a list instead of ending the process.

    A second signal of the same kind ends the process at once. A nested block yields the list of the
    outer one, so both see every request.
    """
    if _outermost:
        yield _outermost[0]
        return
    requests: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests  # Python runs signal handlers in the main thread only
        return

    def request(number: int, frame: FrameType | None) -> None:
        requests.append(signal.Signals(number).name)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, request)
    _outermost.append(requests)
    try:
        yield requests
    finally:
        _outermost.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
