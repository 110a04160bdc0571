"""Following a Kubeflow run: a live table in a terminal, a line for each change in a log."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from streetseg.core.errors import StreetsegError
from streetseg.core.terminal import table_of

if TYPE_CHECKING:
    from rich.table import Table

    from components.runs.reader import Run
    from components.runs.steps import Step
    from pipelines.kubeflow.client import KubeflowClient

COMMAND = "python -m pipelines.training"
TIMED_OUT = 124
"""Exit status, as of ``timeout``."""
SHOW_CURSOR = "\x1b[?25h"


def follow(client: KubeflowClient, run_id: str, timeout_s: float | None = None) -> None:
    """Show how a run goes until it ends.

    Ctrl-C exits with status 130, the end of the time with 124; both leave the run running.

    Raises:
        StreetsegError: it did not succeed.
    """
    again = f"the run goes on; follow it again: {COMMAND} wait {run_id}"
    show = _show_table if sys.stdout.isatty() else _print_changes
    with exit_on_interrupt(again):
        run = show(client.follow(run_id, timeout_s))
        if not run.has_ended:
            print(f"error: not ended after {timeout_s:g} s: {again}", file=sys.stderr)
            sys.exit(TIMED_OUT)
        if run.state != "SUCCEEDED":
            step = f" --step {run.failed[0].name.partition('[')[0]}" if run.failed else ""
            raise StreetsegError(f"{client.outcome(run)}; see '{COMMAND} logs {run_id}{step}'")
    print(f"run {run_id} succeeded")


@contextmanager
def exit_on_interrupt(message: str) -> Iterator[None]:
    """Exit with status 130 at Ctrl-C, whatever runs at that moment.

    A KeyboardInterrupt would not do: Python drops one that is raised in a finalizer or a callback,
    and the libraries for HTTP have some.
    """

    def leave(*_: object) -> None:
        text = f"{SHOW_CURSOR if sys.stdout.isatty() else ''}\n{message}\n"
        with suppress(OSError):
            os.write(sys.__stdout__.fileno(), text.encode())  # type: ignore[union-attr]
        os._exit(130)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def describe_step(run: Run, step: Step) -> str:
    """Name, state, attempt, duration and reason of a step, in one line."""
    attempt = f", attempt {step.attempt.number}" if step.attempt else ""
    text = f"{step.name} {step.state}{attempt}"
    if step.duration and step.state != "pending":
        text += f" ({step.duration})"
    reason = run.reason(step)
    return f"{text}: {reason}" if reason else text


def _show_table(runs: Iterator[Run]) -> Run:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for run in runs:
            live.update(_table(run, console.height - 2), refresh=True)
    console.print(_table(run, len(run.steps)))
    return run


def _table(run: Run, max_rows: int) -> Table:
    """The last steps of a run."""
    from rich.markup import escape

    table = table_of("step", "state", "attempt", "time", "")
    for step in run.steps[-max_rows:]:
        table.add_row(
            escape(step.name),
            step.state,
            str(step.attempt.number) if step.attempt else "",
            str(step.duration or ""),
            escape(run.reason(step)),
        )
    return table


def _print_changes(runs: Iterator[Run]) -> Run:
    known: dict[str, Any] = {}
    for run in runs:
        for step in run.steps:
            now = (step.state, len(step.attempts), run.reason(step))
            if known.get(step.path) != now:
                known[step.path] = now
                print(describe_step(run, step), flush=True)
    return run
