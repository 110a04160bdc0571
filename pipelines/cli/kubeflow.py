"""The commands that talk to a Kubeflow Pipelines endpoint."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from components import IMAGE
from pipelines.cli.options import (
    EXPERIMENT,
    CommandWithNoCache,
    Connection,
    Experiment,
    NoCache,
    Package,
    Timeout,
    TrainingInputs,
    Wait,
)
from pipelines.compile import compile_pipeline, read_cluster, read_package, set_defaults
from pipelines.kubeflow.follow import follow
from pipelines.pods import PipelineFactory, no_pods
from streetseg.cli.option_groups import option_groups
from streetseg.config.cluster import is_cluster_setting
from streetseg.config.params import PARAMS
from streetseg.core.errors import StreetsegError

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
    timeout: Timeout = None,
    connection: Connection,
) -> None:
    """Start a run of the training pipeline on Kubeflow.

    The pipeline is uploaded if it has changed. Only what is given here is set in the run.

    Example: python -m pipelines.training submit --wait --set data.remote=s3://BUCKET/PREFIX
    """
    from streetseg.data.versions import locked_version

    data_version = inputs.data_version or locked_version(Path("dvc.lock"))
    overrides, cluster = split_settings(inputs.settings)
    parameters = replace(inputs, data_version=data_version).parameters(overrides)
    client = connection.client()
    name = f"{inputs.recipe or 'default'} on {data_version[:8]}"
    version = upload(client, context.obj.training, cluster, package, no_cache)
    run_id = start(client, version, experiment, name, parameters)
    if wait_ or timeout:
        follow(client, run_id, timeout)


def split_settings(texts: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The overrides in ``--set``: those of the run, and those of ``cluster``."""
    from streetseg.config.overrides import parse_overrides

    overrides = parse_overrides(texts or [])
    cluster = {key: value for key, value in overrides.items() if is_cluster_setting(key)}
    return {key: overrides[key] for key in overrides if key not in cluster}, cluster


def upload(
    client: KubeflowClient,
    pipeline: PipelineFactory,
    overrides: dict[str, Any],
    package: Path | None = None,
    no_cache: str = "",
    defaults: Mapping[str, Any] | None = None,
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
        defaults: of its parameters, instead of those that it has.

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
        if defaults:
            compiled, package = package, Path(scratch) / "with-defaults.yaml"
            set_defaults(compiled, defaults, package)
        version, is_new = client.upload(package, name)
    print(f"pipeline version {version.display_name} {'uploaded' if is_new else 'is there already'}")
    return version


def start(
    client: KubeflowClient,
    pipeline: V2beta1PipelineVersion | dict[str, Any],
    experiment: str,
    name: str,
    parameters: dict[str, Any],
) -> str:
    """Start a run of what :func:`upload` returned, print where it is, and return its id.

    Raises:
        StreetsegError: the endpoint refuses.
    """
    run = client.start(pipeline, experiment, name, parameters)
    print(f"run {run.run_id}: {client.run_url(run.run_id)}", flush=True)
    return run.run_id


def _warn_of_local_image(image: str) -> None:
    """Print a warning if the name of an image begins with no registry, as Docker reads it."""
    host, slash, _ = image.partition("/")
    if not slash or not ("." in host or ":" in host):
        print(
            f"warning: the image {image} names no registry that a cluster could pull it from: set "
            "STREETSEG_IMAGE to the one that was pushed",
            file=sys.stderr,
        )
