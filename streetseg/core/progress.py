"""Progress bars: a live bar in a terminal, a line now and then in a log."""

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
    """Yield ``items`` while showing on standard error how many of ``total`` have passed.

    Args:
        items: what to yield.
        total: how many there are; None if it is not known.
        description: what is being done.
        transient: leave no trace at the end, because the caller reports the outcome.
        status: says how it goes; asked when it is shown. None shows the time that is left.
        shown: False to say nothing, in a process beside the one that speaks.
    """
    if not shown:
        yield from items
        return
    show = _bar if sys.stderr.isatty() else _log
    yield from show(items, total, description, transient, status)


class Throughput:
    """How fast a long job goes, and when it will be done."""

    def __init__(self, total: int, done: int = 0) -> None:
        """A job of ``total`` parts of which ``done`` were done before."""
        self.total = total
        self.before = self.done = done
        self.began = time.monotonic()
        self.ended: float | None = None

    def stop(self) -> None:
        """Let what follows count no more."""
        self.ended = time.monotonic()

    @property
    def rate(self) -> float:
        """Parts per second, since this process began."""
        took = (self.ended or time.monotonic()) - self.began
        return (self.done - self.before) / max(took, 1e-9)

    @property
    def left(self) -> str:
        """The time that the rest will take, as h:mm:ss."""
        if self.done == self.before:
            return "-:--:--"
        return str(timedelta(seconds=round((self.total - self.done) / self.rate)))


def _bar(
    items: Iterable[Item],
    total: int | None,
    description: str,
    transient: bool,
    status: Callable[[], str] | None,
) -> Iterator[Item]:
    rest = TextColumn("{task.fields[status]}") if status else TimeRemainingColumn()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rest
    with Progress(*columns, console=Console(stderr=True), transient=transient) as bar:
        task = bar.add_task(description, total=total, status="")
        said = 0.0
        for item in items:
            yield item
            bar.advance(task)
            if status and time.monotonic() - said > STATUS_EVERY_S:
                said = time.monotonic()
                bar.update(task, status=status())


def _log(
    items: Iterable[Item],
    total: int | None,
    description: str,
    transient: bool,
    status: Callable[[], str] | None,
) -> Iterator[Item]:
    began = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said > LOG_EVERY_S or (done == total and not transient):
            said = now
            of = done if total is None else f"{done}/{total}"
            how = status() if status else f"in {now - began:.0f} s"
            print(f"{description}: {of} {how}", file=sys.stderr)
