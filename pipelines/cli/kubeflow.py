"""The commands that talk to a Kubeflow Pipelines endpoint."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components import IMAGE
from pipelines.cli.options import (
    EXPERIMENT,
    CommandWithNoCache,
    Connection,
    Experiment,
    NoCache,
    Package,
    RunId,
    TrainingInputs,
    Wait,
)
from pipelines.compile import compile_pipeline, read_cluster, read_package
from pipelines.kubeflow.follow import describe_step, follow
from pipelines.pods import PipelineFactory, no_pods
from streetseg.cli.option_groups import option_groups
from streetseg.config.cluster import is_cluster_setting
from streetseg.config.params import PARAMS
from streetseg.core.errors import StreetsegError
from streetseg.core.terminal import print_table, table_of

if TYPE_CHECKING:
    from kfp_server_api import V2beta1PipelineVersion

    from pipelines.kubeflow.client import KubeflowClient

app = typer.Typer()


@dataclass(frozen=True)
class Pipelines:
    """The pipelines of the commands: they come from ``pipelines.training`` as typer's context."""

    training: PipelineFactory
    scheduled: PipelineFactory


@app.command(cls=CommandWithNoCache)
@option_groups
def submit(
    context: typer.Context,
    *,
    inputs: TrainingInputs,
    experiment: Experiment = EXPERIMENT,
    package: Package = None,
    no_cache: NoCache = "",
    wait_: Wait = False,
    connection: Connection,
) -> None:
    """Start a run of the training pipeline on Kubeflow.

    The pipeline is uploaded if it has changed. Only what is given here is set in the run.
    """
    from streetseg.data.versions import locked_version

    data_version = inputs.data_version or locked_version(Path("dvc.lock"))
    overrides, cluster = split_settings(inputs.settings)
    parameters = replace(inputs, data_version=data_version).parameters(overrides)
    client = connection.client()
    name = f"{inputs.recipe or 'default'} on {data_version[:8]}"
    version = upload(client, context.obj.training, cluster, package, no_cache)
    start(client, version, experiment, name, parameters, wait_)


@app.command()
@option_groups
def wait(run: RunId, *, connection: Connection) -> None:
    """Follow a run to its end: status 0 if it succeeds, 1 if not. Ctrl-C leaves it going."""
    follow(connection.client(), _id(run))


@app.command("list")
@option_groups
def list_runs(
    experiment: Experiment = EXPERIMENT,
    last: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 10,
    *,
    connection: Connection,
) -> None:
    """The last runs on Kubeflow, the newest first."""
    from rich.markup import escape

    from pipelines.kubeflow.run_steps import duration_of

    client = connection.client()
    runs = client.runs(experiment, last)
    if not runs:
        print(f"the experiment '{experiment}' has no runs at {client.url}")
        return
    table = table_of("run", "state", "started", "duration", "data version", "url")
    for run in runs:
        parameters = (run.runtime_config and run.runtime_config.parameters) or {}
        table.add_row(
            escape(run.display_name),
            (run.state or "pending").lower(),
            f"{run.created_at.astimezone():%Y-%m-%d %H:%M}",
            str(duration_of(run.created_at, run.finished_at)),
            escape(str(parameters.get("data_version", "-"))),
            client.run_url(run.run_id),
        )
    print_table(table)


@app.command()
@option_groups
def logs(
    run: RunId,
    step: Annotated[str, typer.Option(help="This step alone.")] = "",
    *,
    connection: Connection,
) -> None:
    """State, error and log of each step of a run on Kubeflow."""
    from pipelines.kubeflow.run_steps import steps_of

    client = connection.client()
    details = client.run(_id(run))
    run_id = details.run_id
    steps = steps_of(details)
    chosen = [each for each in steps if step in ("", each.name)]
    if step and not chosen:
        names = ", ".join(each.name for each in steps) or "none so far"
        raise StreetsegError(f"run {run_id} has no step '{step}': it has {names}")
    print(f"run {run_id} {(details.state or 'pending').lower()}: {client.run_url(run_id)}")
    for each in chosen:
        print(f"\n{describe_step(each)}{f': {each.error}' if each.error else ''}")
        if each.pod:
            print(_log(client, run_id, each.pod))


def split_settings(texts: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The overrides in ``--set``: those of the run, and those of ``cluster``."""
    from streetseg.config.params import parse_overrides

    overrides = parse_overrides(texts or [])
    cluster = {key: value for key, value in overrides.items() if is_cluster_setting(key)}
    return {key: overrides[key] for key in overrides if key not in cluster}, cluster


def upload(
    client: KubeflowClient,
    pipeline: PipelineFactory,
    overrides: dict[str, Any],
    package: Path | None = None,
    no_cache: str = "",
) -> V2beta1PipelineVersion | dict[str, Any]:
    """Upload a pipeline unless its very content is there already, and return its version.

    With ``no_cache`` it is not uploaded, as the newest version is the one that the UI offers, but
    returned itself, for a run to take along.

    Args:
        client: where.
        pipeline: makes the pipeline.
        overrides: of ``cluster`` in ``params.yaml``.
        package: the YAML of the pipeline; None to compile it now.
        no_cache: see :func:`pipelines.compile.compile_pipeline`.

    Raises:
        StreetsegError: the endpoint refuses, or there are overrides for a compiled pipeline.
    """
    name = pipeline(no_pods).name
    if package and (overrides or no_cache):
        option = f"--set {next(iter(overrides))}" if overrides else f"--no-cache {no_cache}"
        raise StreetsegError(f"{option}: {package} is compiled already; give it to 'compile'")
    with tempfile.TemporaryDirectory() as scratch:
        if package is None:
            package = Path(scratch) / f"{name}.yaml"
            cluster = read_cluster(PARAMS, overrides)
            _warn_of_local_image(IMAGE)
            compile_pipeline(pipeline, cluster, package, no_cache)
        if no_cache:
            print(f"pipeline {name} goes with its run, without cache for {no_cache}")
            return read_package(package)
        version, is_new = client.upload(package, name)
    print(f"pipeline version {version.display_name} {'uploaded' if is_new else 'is there already'}")
    return version


def start(
    client: KubeflowClient,
    pipeline: V2beta1PipelineVersion | dict[str, Any],
    experiment: str,
    name: str,
    parameters: dict[str, Any],
    wait_for_end: bool,
) -> None:
    """Start a run of what :func:`upload` returned, and follow it to its end if ``wait_for_end``.

    Raises:
        StreetsegError: the endpoint refuses, or the run that is followed did not succeed.
    """
    run = client.start(pipeline, experiment, name, parameters)
    print(f"run {run.run_id}: {client.run_url(run.run_id)}", flush=True)
    if wait_for_end:
        follow(client, run.run_id)


def _warn_of_local_image(image: str) -> None:
    """Print a warning if the name of an image begins with no registry, as Docker reads it."""
    host, slash, _ = image.partition("/")
    if not slash or not ("." in host or ":" in host):
        print(
            f"warning: the image {image} names no registry that a cluster could pull it from: set "
            "STREETSEG_IMAGE to the one that was pushed",
            file=sys.stderr,
        )


def _log(client: KubeflowClient, run_id: str, pod: str) -> str:
    """What a pod printed, or how to ask Kubernetes for it."""
    from pipelines.kubeflow.connection import RefusedError

    try:
        return client.log(run_id, pod).rstrip()
    except RefusedError as error:
        namespace = client.namespace or "kubeflow"
        return (
            f"no log from the endpoint: {error}\n"
            f"as long as the pod is there: kubectl -n {namespace} logs {pod} -c main"
        )


def _id(run: str) -> str:
    """The id of a run, from its URL or itself."""
    return run.rstrip("/").rpartition("/")[2]
