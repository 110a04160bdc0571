"""Watching a Kubeflow run: a live table in a terminal, a line for each change in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
from rich.live import Live
from rich.markup import escape

from pipelines.kubeflow.run_steps import Step, failure_of, steps_of
from streetseg.core.errors import StreetsegError
from streetseg.core.terminal import table_of

if TYPE_CHECKING:
    from kfp_server_api import V2beta1Run

    from pipelines.kubeflow.client import Endpoint


def follow(endpoint: Endpoint, run_id: str) -> None:
    """Show how a run goes until it ends.

    Raises:
        StreetsegError: it did not succeed.
    """
    show = _live if sys.stdout.isatty() else _lines
    try:
        run = show(endpoint.follow(run_id))
    except KeyboardInterrupt:
        print(f"\nthe run goes on; follow it again: python -m pipelines.training wait {run_id}")
        raise typer.Exit(130) from None
    if run.state != "SUCCEEDED":
        raise StreetsegError(f"{failure_of(run)}; see 'python -m pipelines.training logs {run_id}'")
    print(f"run {run_id} succeeded")


def _live(runs: Iterator[V2beta1Run]) -> V2beta1Run:
    with Live(table_of("step", "state", "duration")) as live:
        for run in runs:
            table = table_of("step", "state", "duration")
            for step in steps_of(run):
                table.add_row(escape(step.name), step.state, str(step.duration or ""))
            live.update(table, refresh=True)
    return run


def _lines(runs: Iterator[V2beta1Run]) -> V2beta1Run:
    told: dict[str, str] = {}
    for run in runs:
        for step in steps_of(run):
            if told.get(step.name) != step.state:
                told[step.name] = step.state
                print(line(step), flush=True)
    return run


def line(step: Step) -> str:
    """A step in words."""
    return f"{step.name} {step.state}" + (f" ({step.duration})" if step.duration else "")
