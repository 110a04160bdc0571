"""Progress of a long job: a live bar in a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

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
    below: RenderableType = "",
    shown: bool = True,
) -> Iterator[Item]:
    """Yield ``items`` and show on standard error how many of ``total`` are done.

    Args:
        total: None if unknown.
        transient: leave nothing on the screen at the end, because the caller reports the result.
        status: gives the line below the bar; None shows the remaining time beside it.
        below: what a terminal shows below that, such as a table.
        shown: False shows nothing, for a process other than the main one.
    """
    if not shown:
        yield from items
        return
    live = sys.stderr.isatty()
    columns = [TextColumn("{task.description}"), BarColumn(), count_column()]
    columns += [] if status else [TimeRemainingColumn()]
    began = updated = time.monotonic()
    with StatusBar(
        *columns,
        console=Console(stderr=True),
        transient=transient,
        disable=not live,
        below=below,
    ) as bar:
        task = bar.add_task(description, total=total)
        for done, item in enumerate(items, 1):
            yield item
            bar.advance(task)
            now = time.monotonic()
            if live and status and now - updated > STATUS_EVERY_S:
                updated = now
                bar.status = status()
            elif not live and (now - updated > LOG_EVERY_S or (done == total and not transient)):
                updated = now
                count = done if total is None else f"{done}/{total}"
                state = status() if status else f"in {now - began:.0f} s"
                print(f"{description}: {count} {state}", file=sys.stderr)


def count_column() -> ProgressColumn:
    """How many are done of how many, on one line however narrow the terminal."""
    return MofNCompleteColumn(table_column=Column(no_wrap=True))


class StatusBar(Progress):
    """A progress bar with a line of text and a table below it."""

    def __init__(self, *columns: ProgressColumn, below: RenderableType, **options: Any) -> None:
        """Take columns and options of rich's bar; set ``status`` to change the line."""
        self.status, self.below = "", below
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bar, the line if it is not empty, and what stands below."""
        yield from super().get_renderables()
        yield from filter(None, (self.status and Text(self.status), self.below))


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
