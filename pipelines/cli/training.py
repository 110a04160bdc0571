"""``python -m pipelines.training``: compile the pipeline, run it here, or on Kubeflow."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from components import IMAGE
from components.trainjob.manifest import TrainJobSpec
from pipelines.cli import check, kubeflow, runs, schedule
from pipelines.cli.options import (
    ClusterParams,
    ClusterSettings,
    CommandWithNoCache,
    DataVersion,
    NoCache,
)
from pipelines.compile import compile_pipeline, read_cluster
from pipelines.pods import PipelineFactory, no_pods
from streetseg.config.overrides import format_overrides, parse_overrides
from streetseg.config.params import PARAMS
from streetseg.core.errors import StreetsegError, exit_on_error
from streetseg.core.program import set_up_environment


class Runner(StrEnum):
    """What the steps of a pipeline run in."""

    LOCAL = "local"
    DOCKER = "docker"


app = typer.Typer(
    help="The training pipeline: compile it, run it here, or on Kubeflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("compile", cls=CommandWithNoCache)
def compile_training(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The YAML to write.")] = Path(
        "outputs/street-segmentation-training.yaml"
    ),
    volume: Annotated[
        str | None,
        typer.Option(
            metavar="CLAIM",
            help="Train in the pods of a Kubeflow TrainJob, which share this persistent volume "
            "claim (ReadWriteMany).",
        ),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Pods of the TrainJob.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each pod; 0 to train on CPUs.")] = 1,
    runtime: Annotated[
        str, typer.Option(help="ClusterTrainingRuntime that the TrainJob starts from.")
    ] = "torch-distributed",
    params: ClusterParams = PARAMS,
    set_: ClusterSettings = None,
    no_cache: NoCache = "",
) -> None:
    """Write the YAML that a Kubeflow user uploads. STREETSEG_IMAGE names the image.

    Training is one step on one machine, or with --volume a TrainJob on many.

    Example: python -m pipelines.training compile --set cluster.gpu.count=1
    """
    if volume is None and (nodes, gpus) != (1, 1):
        raise typer.BadParameter("--nodes and --gpus are of a TrainJob: name its --volume too")
    cluster = read_cluster(params, parse_overrides(set_ or []))
    job = TrainJobSpec(volume, nodes, gpus, runtime) if volume else None
    compile_pipeline(partial(context.obj.training, job=job), cluster, out, no_cache)
    print(f"{out}: components run on the image {IMAGE}")


@app.command()
def run(
    context: typer.Context,
    data_version: DataVersion = "",
    recipe: Annotated[str, typer.Option(help="A file in recipes/, or 'default'.")] = "default",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one setting of the recipe."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Artifacts, cache and log go here.")] = Path(
        "outputs/pipeline"
    ),
    runner: Annotated[
        Runner, typer.Option(help="Each step in a process, or in a container of the image.")
    ] = Runner.LOCAL,
    network: Annotated[
        str, typer.Option(help="Docker's network for containers, if they need one.")
    ] = "bridge",
    gpus: Annotated[
        bool, typer.Option("--gpus", help="Give containers the GPUs of this machine.")
    ] = False,
) -> None:
    """Run the whole pipeline here, without a cluster; what has not changed is not run again.

    Containers have no network unless the remote or MLflow is reached through one.

    Example: python -m pipelines.training run --recipe demo --set data.remote=data/remote
    """
    from pipelines.local.run import run_locally
    from streetseg.config.params import load_recipe
    from streetseg.data.versions import locked_version, resolve

    if runner is Runner.LOCAL and (gpus or network != "bridge"):
        raise typer.BadParameter("--gpus and --network are of containers: name --runner docker too")
    pipeline = context.obj.training(no_pods)
    overrides = parse_overrides(set_ or [])
    data_version = data_version or locked_version(Path("dvc.lock"))
    arguments = {"data_version": data_version, "recipe": recipe}
    arguments["overrides"] = format_overrides(overrides)
    if runner is Runner.LOCAL:
        outcome = run_locally(pipeline, arguments, folder)
    else:
        from pipelines.local.docker import docker_errors, docker_runner, image_id, local_paths

        image = image_id()
        params = load_recipe(recipe, overrides)
        paths = local_paths(params)
        arguments["data_version"] = resolve(data_version, params.data.repository)
        arguments["overrides"] = format_overrides(overrides | paths)
        containers = docker_runner(params.override(paths), folder, network, gpus)
        with docker_errors():
            outcome = run_locally(pipeline, arguments, folder, runner=containers, version=image)
    if not outcome.succeeded:
        raise StreetsegError(outcome.error)
    for reason in outcome.outputs["reasons"]:
        print(f"gate {'open' if outcome.outputs['passed'] else 'closed'}: {reason}")


app.add_typer(kubeflow.app)
app.add_typer(runs.app)
app.add_typer(schedule.app)
app.add_typer(check.app)


def main(training: PipelineFactory, scheduled: PipelineFactory) -> None:
    """Run the command line: status 0 done, 1 failed with one clear line, 2 wrong usage.

    Args:
        training: makes the training pipeline; takes a ``job`` too, a :class:`TrainJobSpec`.
        scheduled: makes the pipeline of ``schedule``.
    """
    set_up_environment()
    with exit_on_error():
        app(obj=kubeflow.Pipelines(training, scheduled))
