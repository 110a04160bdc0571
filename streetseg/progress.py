"""Progress bars: a live bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as live_bar

Item = TypeVar("Item")

LOG_EVERY_S = 15.0


def track(
    items: Iterable[Item], *, total: int, description: str, transient: bool = False
) -> Iterator[Item]:
    """Yield ``items`` while showing on standard error how many of ``total`` have passed.

    Args:
        items: what to yield.
        total: how many there are.
        description: what is being done.
        transient: leave no trace at the end, because the caller reports the outcome.
    """
    if sys.stderr.isatty():
        console = Console(stderr=True)
        yield from live_bar(items, description, total=total, console=console, transient=transient)
        return
    began = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said > LOG_EVERY_S or (done == total and not transient):
            said = now
            print(f"{description}: {done}/{total} in {now - began:.0f} s", file=sys.stderr)
