"""Following a Kubeflow run: a live table in a terminal, a line for each change in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.live import Live
from rich.markup import escape

from pipelines.kubeflow.run_steps import Step, failure_of, steps_of
from streetseg.core.errors import StreetsegError
from streetseg.core.terminal import table_of

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

    from pipelines.kubeflow.client import KubeflowClient


def follow(client: KubeflowClient, run_id: str) -> None:
    """Show how a run goes until it ends; Ctrl-C exits with status 130 and leaves it running.

    Raises:
        StreetsegError: it did not succeed.
    """
    show = _show_table if sys.stdout.isatty() else _print_changes
    try:
        run = show(client.follow(run_id))
    except KeyboardInterrupt:
        print(f"\nthe run goes on; follow it again: python -m pipelines.training wait {run_id}")
        sys.exit(130)
    if run.state != "SUCCEEDED":
        raise StreetsegError(f"{failure_of(run)}; see 'python -m pipelines.training logs {run_id}'")
    print(f"run {run_id} succeeded")


def _show_table(runs: Iterator[V2beta1Run]) -> V2beta1Run:
    with Live(table_of("step", "state", "duration")) as live:
        for run in runs:
            table = table_of("step", "state", "duration")
            for step in steps_of(run):
                table.add_row(escape(step.name), step.state, str(step.duration or ""))
            live.update(table, refresh=True)
    return run


def _print_changes(runs: Iterator[V2beta1Run]) -> V2beta1Run:
    states: dict[str, str] = {}
    for run in runs:
        for step in steps_of(run):
            if states.get(step.name) != step.state:
                states[step.name] = step.state
                print(describe_step(step), flush=True)
    return run


def describe_step(step: Step) -> str:
    """Name, state and duration of a step, in one line."""
    return f"{step.name} {step.state}" + (f" ({step.duration})" if step.duration else "")
