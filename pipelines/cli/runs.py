"""The commands for runs on Kubeflow: list, wait, logs, cancel and retry."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import EXPERIMENT, Connection, Experiment, RunId, Timeout, Wait
from pipelines.kubeflow.follow import follow
from streetseg.cli.option_groups import option_groups
from streetseg.core.terminal import print_table, table_of

app = typer.Typer()


@app.command()
@option_groups
def wait(run: RunId, timeout: Timeout = None, *, connection: Connection) -> None:
    """Follow a run to its end: status 0 if it succeeds, 1 if not. Ctrl-C leaves it going.

    Example: python -m pipelines.training wait RUN --timeout 3600
    """
    follow(connection.client(), _id(run), timeout)


@app.command("list")
@option_groups
def list_runs(
    experiment: Experiment = EXPERIMENT,
    last: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 10,
    *,
    connection: Connection,
) -> None:
    """The last runs on Kubeflow, the newest first.

    Example: python -m pipelines.training list --last 20
    """
    from rich.markup import escape

    from components.runs.steps import duration_of

    client = connection.client()
    runs = client.runs(experiment, last)
    if not runs:
        print(f"the experiment '{experiment}' has no runs at {client.url}")
        return
    table = table_of("run", "state", "started", "duration", "data version", "url")
    for run in runs:
        parameters = (run.runtime_config and run.runtime_config.parameters) or {}
        table.add_row(
            escape(run.display_name or "-"),
            client.state(run).lower(),
            f"{run.created_at.astimezone():%Y-%m-%d %H:%M}" if run.created_at else "-",
            str(duration_of(run.created_at, run.finished_at) or "-"),
            escape(str(parameters.get("data_version", "-"))),
            client.run_url(run.run_id),
        )
    print_table(table)


@app.command()
@option_groups
def logs(
    run: RunId,
    step: Annotated[str, typer.Option(help="This step alone.")] = "",
    attempt: Annotated[
        int | None, typer.Option(min=1, help="This attempt of a step; the last if not given.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="With the lines of Kubeflow's launcher and of Argo.")
    ] = False,
    follow_: Annotated[
        bool, typer.Option("--follow", help="Print what comes until the run, or the step, ends.")
    ] = False,
    *,
    connection: Connection,
) -> None:
    """What the steps of a run on Kubeflow have printed.

    Example: python -m pipelines.training logs RUN --step train --follow
    """
    from pipelines.kubeflow.show_logs import follow_logs, print_logs

    if follow_ and attempt:
        raise typer.BadParameter("--follow prints every attempt as it comes: leave --attempt out")
    client = connection.client()
    if follow_:
        follow_logs(client, _id(run), step, all_)
    else:
        print_logs(client, _id(run), step, attempt, all_)


@app.command()
@option_groups
def cancel(run: RunId, *, connection: Connection) -> None:
    """Stop a run: its pods are gone at once, and no step gets a signal.

    Example: python -m pipelines.training cancel RUN
    """
    client, run_id = connection.client(), _id(run)
    client.cancel(run_id)
    print(f"run {run_id} is being canceled: {client.run_url(run_id)}")


@app.command()
@option_groups
def retry(
    run: RunId, wait_: Wait = False, timeout: Timeout = None, *, connection: Connection
) -> None:
    """Do what failed in a run again; what succeeded is kept.

    Example: python -m pipelines.training retry RUN --wait
    """
    client, run_id = connection.client(), _id(run)
    client.retry(run_id)
    print(f"run {run_id} goes on: {client.run_url(run_id)}", flush=True)
    if wait_ or timeout:
        follow(client, run_id, timeout)


def _id(run: str) -> str:
    """The id of a run, from its URL or itself."""
    return run.partition("?")[0].rstrip("/").rpartition("/")[2]
