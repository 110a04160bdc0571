"""The command ``check``: what a training needs, looked at from inside a pod or from here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.check import check_pipeline
from pipelines.cli.kubeflow import split_settings, start, upload
from pipelines.cli.options import (
    EXPERIMENT,
    Connection,
    DataVersion,
    Experiment,
    Settings,
    Timeout,
)
from pipelines.kubeflow.follow import follow
from streetseg.cli.option_groups import option_groups
from streetseg.core.errors import StreetsegError

app = typer.Typer()


@app.command()
@option_groups
def check(
    data_version: DataVersion = "",
    recipe: Annotated[str, typer.Option(help="A file in recipes/, or 'default'.")] = "default",
    set_: Settings = None,
    local: Annotated[
        bool, typer.Option("--local", help="Look from this machine instead, without Kubeflow.")
    ] = False,
    experiment: Experiment = EXPERIMENT,
    timeout: Timeout = None,
    *,
    connection: Connection,
) -> None:
    """Look at what a training needs: MLflow, the data, git, GPUs, memory, the clock.

    It is a run of one step, in a pod like that of the training; its table says how to get what is
    missing. Status 1 if something is.

    Example: python -m pipelines.training check --set data.remote=s3://BUCKET/PREFIX
    """
    from pipelines.kubeflow.show_logs import print_logs
    from streetseg.config.overrides import format_overrides
    from streetseg.config.params import load_recipe
    from streetseg.data.versions import locked_version

    data_version = data_version or locked_version(Path("dvc.lock"))
    overrides, cluster = split_settings(set_)
    params = load_recipe(recipe, overrides)
    if local:
        from components.environment.finding import require, to_text
        from components.environment.probes import run_probes

        findings = run_probes(data_version, params, gpus=0)
        print(to_text(findings))
        require(findings)
        return
    client = connection.client()
    version = upload(client, check_pipeline, cluster)
    parameters = {"data_version": data_version, "recipe": recipe}
    parameters["overrides"] = format_overrides(overrides)
    run_id = start(client, version, experiment, f"check of {data_version[:8]}", parameters)
    try:
        follow(client, run_id, timeout)
    except StreetsegError:
        print_logs(client, run_id, "", None, False)
        raise
    print_logs(client, run_id, "check", None, False)
