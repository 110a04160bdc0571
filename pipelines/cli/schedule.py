"""The command ``schedule``: training again and again on Kubeflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.kubeflow import split_settings, upload
from pipelines.cli.options import EXPERIMENT, Connection, Experiment, Package, ScheduledInputs
from pipelines.kubeflow.cron import next_time
from streetseg.cli.option_groups import option_groups
from streetseg.core.errors import StreetsegError
from streetseg.core.terminal import print_table, table_of

if TYPE_CHECKING:
    from kfp_server_api import V2beta1RecurringRun

    from components.runs.reader import Run
    from pipelines.kubeflow.client import KubeflowClient

app = typer.Typer()


@app.command()
@option_groups
def schedule(
    context: typer.Context,
    *,
    cron: Annotated[
        str,
        typer.Option(
            metavar="FIELDS",
            help="When, as six fields with the SECONDS first: '0 0 3 * * *' is daily at 3:00 in "
            "the time zone of the server, most often UTC.",
        ),
    ] = "",
    inputs: ScheduledInputs,
    name: Annotated[str, typer.Option(help="Name of the schedule.")] = "street-segmentation",
    delete: Annotated[bool, typer.Option("--delete", help="Delete the schedule instead.")] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Show all schedules and their last runs instead.")
    ] = False,
    last: Annotated[int, typer.Option(min=1, max=50, help="How many runs --list shows.")] = 3,
    experiment: Experiment = EXPERIMENT,
    package: Package = None,
    connection: Connection,
) -> None:
    """Train again and again on Kubeflow, whenever the data has moved; else a run does nothing.

    A schedule of the same name is replaced, unless a run of it is under way.

    Example: python -m pipelines.training schedule --cron "0 0 3 * * *" --data-version main --set
    data.remote=s3://BUCKET/PREFIX --set data.repository=GIT-URL
    """
    client = connection.client()
    if list_:
        _show_schedules(client, last)
        return
    if delete:
        client.unschedule(name)
        print(f"schedule '{name}' deleted")
        return
    if len(cron.split()) != 6:
        raise StreetsegError(
            f"--cron '{cron}' has {len(cron.split())} fields: Kubeflow reads six, the first for "
            "the seconds, such as '0 0 3 * * *' for daily at 3:00"
        )
    due = next_time(cron, datetime.now(UTC))
    if due is None:
        raise StreetsegError(
            f"--cron '{cron}' is never due: its fields are second (0-59), minute, hour (0-23), day "
            "of the month, month (1-12) and day of the week (0-6, Sunday is 0)"
        )
    overrides, cluster = split_settings(inputs.settings)
    parameters = inputs.parameters(overrides)
    version = upload(client, context.obj.scheduled, cluster, package, defaults=parameters)
    replaced = client.schedule(version, experiment, name, cron, parameters)
    print(
        f"schedule '{name}' {'replaced' if replaced else 'created'}: {cron}, next "
        f"{due:%Y-%m-%d %H:%M:%S} on a server in UTC"
    )


def _show_schedules(client: KubeflowClient, last: int) -> None:
    """Print each schedule with its last runs and what they decided."""
    from rich.markup import escape

    schedules = client.schedules()
    if not schedules:
        print(f"no schedules at {client.url}")
    for each in schedules:
        print(f"{each.display_name}: {_describe_trigger(each)}")
        table = table_of("started (UTC)", "decided", "run")
        for run in client.scheduled_runs(each.recurring_run_id, last):
            started = f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "-"
            decided = decision(client.run(run.run_id))
            table.add_row(started, escape(decided), client.run_url(run.run_id))
        if table.row_count:
            print_table(table)
        else:
            print("no runs yet")


def _describe_trigger(schedule: V2beta1RecurringRun) -> str:
    """When a schedule is due."""
    trigger = schedule.trigger
    if trigger and trigger.periodic_schedule:
        when = f"every {trigger.periodic_schedule.interval_second} s"
    else:
        when = (trigger and trigger.cron_schedule and trigger.cron_schedule.cron) or "never"
    if schedule.status == "DISABLED":
        return f"{when}, switched off"
    due = next_time(when, datetime.now(UTC))
    return f"{when}, next {due:%Y-%m-%d %H:%M:%S} on a server in UTC" if due else when


def decision(run: Run) -> str:
    """What a run of the scheduled pipeline did: trained, data unchanged, failed at a step, ...

    The training pipeline begins with ``configure``: without it, the data was not new.
    """
    if run.state == "FAILED":
        names = ", ".join(step.name for step in run.failed)
        return f"failed at {names}" if names else "failed"
    if run.state != "SUCCEEDED":
        return run.state.lower()
    trained = any(step.name == "configure" for step in run.steps)
    return "trained" if trained else "data unchanged"
