"""Progress of a long job: a live bar in a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

LOG_EVERY_S = 15.0
STATUS_EVERY_S = 0.5


def track(
    items: Iterable[Item],
    *,
    total: int | None,
    description: str,
    transient: bool = False,
    status: Callable[[], str] | None = None,
    shown: bool = True,
) -> Iterator[Item]:
    """Yield ``items`` and show on standard error how many of ``total`` are done.

    Args:
        total: None if unknown.
        transient: leave nothing on the screen at the end, because the caller reports the result.
        status: gives the text beside the bar; None shows the remaining time.
        shown: False shows nothing, for a process other than the main one.
    """
    if not shown:
        yield from items
        return
    live = sys.stderr.isatty()
    last_column = TextColumn("{task.fields[status]}") if status else TimeRemainingColumn()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), last_column
    began = updated = time.monotonic()
    with Progress(
        *columns, console=Console(stderr=True), transient=transient, disable=not live
    ) as bar:
        task = bar.add_task(description, total=total, status="")
        for done, item in enumerate(items, 1):
            yield item
            bar.advance(task)
            now = time.monotonic()
            if live and status and now - updated > STATUS_EVERY_S:
                updated = now
                bar.update(task, status=status())
            elif not live and (now - updated > LOG_EVERY_S or (done == total and not transient)):
                updated = now
                count = done if total is None else f"{done}/{total}"
                state = status() if status else f"in {now - began:.0f} s"
                print(f"{description}: {count} {state}", file=sys.stderr)


class Throughput:
    """The rate of a long job and the time it still takes."""

    def __init__(self, total: int, done: int = 0) -> None:
        """Start the clock of a job with ``total`` parts, of which ``done`` were done before."""
        self.total = total
        self.before = self.done = done
        self.began = time.monotonic()
        self.ended: float | None = None

    def stop(self) -> None:
        """Stop the clock, so that the rate no longer changes."""
        self.ended = time.monotonic()

    @property
    def rate(self) -> float:
        """Parts per second while the clock ran."""
        seconds = (self.ended or time.monotonic()) - self.began
        return (self.done - self.before) / max(seconds, 1e-9)

    @property
    def left(self) -> str:
        """The remaining time as h:mm:ss."""
        if self.done == self.before:
            return "-:--:--"
        return str(timedelta(seconds=round((self.total - self.done) / self.rate)))
