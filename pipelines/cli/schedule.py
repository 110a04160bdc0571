"""The command ``schedule``: training again and again on Kubeflow."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.kubeflow import split_settings, upload
from pipelines.cli.options import EXPERIMENT, Connection, Experiment, Package, ScheduledInputs
from streetseg.cli.option_groups import option_groups
from streetseg.core.errors import StreetsegError

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
    experiment: Experiment = EXPERIMENT,
    package: Package = None,
    connection: Connection,
) -> None:
    """Train again and again on Kubeflow, whenever the data has moved; else a run does nothing.

    A schedule of the same name is replaced.
    """
    client = connection.client()
    if delete:
        client.unschedule(name)
        print(f"schedule '{name}' deleted")
        return
    if len(cron.split()) != 6:
        raise StreetsegError(
            f"--cron '{cron}' has {len(cron.split())} fields: Kubeflow reads six, the first for "
            "the seconds, such as '0 0 3 * * *' for daily at 3:00"
        )
    overrides, cluster = split_settings(inputs.settings)
    parameters = inputs.parameters(overrides)
    version = upload(client, context.obj.scheduled, cluster, package)
    replaced = client.schedule(version, experiment, name, cron, parameters)
    print(f"schedule '{name}' {'replaced' if replaced else 'created'}: {cron}")
