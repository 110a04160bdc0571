"""Progress bars: a live bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

LOG_EVERY_S = 15.0


def bar(console: Console | None = None) -> Progress:
    """A progress display on standard error, so that standard output stays fit for pipes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
    )


def track(items: Iterable[Item], *, total: int, description: str) -> Iterator[Item]:
    """Yield ``items`` while showing how many of ``total`` have passed."""
    if sys.stderr.isatty():
        with bar() as progress:
            task = progress.add_task(description, total=total, note="")
            for item in items:
                yield item
                progress.advance(task)
        return
    began = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if done == total or now - said > LOG_EVERY_S:
            said = now
            print(f"{description}: {done}/{total} in {now - began:.0f} s", file=sys.stderr)
