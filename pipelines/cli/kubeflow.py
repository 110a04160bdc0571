"""The commands that talk to a Kubeflow Pipelines endpoint."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components import IMAGE
from pipelines.compile import (
    SCHEDULED,
    TRAINING,
    compile_pipeline,
    read_cluster,
)
from pipelines.kubeflow.follow import follow, line
from streetseg.config.cluster import of_cluster
from streetseg.config.params import PARAMS
from streetseg.core.errors import StreetsegError
from streetseg.core.terminal import print_table, table_of

if TYPE_CHECKING:
    from kfp_server_api import V2beta1PipelineVersion

    from pipelines.kubeflow.client import Endpoint

Url = Annotated[
    str,
    typer.Option(
        "--endpoint",
        envvar="KFP_ENDPOINT",
        help="URL of Kubeflow Pipelines; inside a cluster it is found without.",
    ),
]
Namespace = Annotated[
    str, typer.Option(envvar="KFP_NAMESPACE", help="Your profile in a multi-user Kubeflow.")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="A file with the token, if it is not in KFP_TOKEN.")
]
Experiment = Annotated[str, typer.Option(help="Experiment of the runs; created if need be.")]
Package = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="A YAML that was compiled before; the pipeline of this project if not given.",
    ),
]
DataVersion = Annotated[
    str, typer.Option(help="<md5>.dir, or a git revision; the one in ./dvc.lock if not given.")
]
Recipe = Annotated[str | None, typer.Option(help="A file in recipes/, or 'default'.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training frames.")]
MiouFloor = Annotated[
    float | None, typer.Option(min=0, max=1, help="Lowest mean IoU that is registered.")
]
ModelName = Annotated[str | None, typer.Option(help="Registered model to add a version to.")]
AutoPromote = Annotated[
    bool, typer.Option("--auto-promote", help="Make the new version champion at once.")
]
FailOnGate = Annotated[
    bool, typer.Option("--fail-on-gate", help="Mark the run as failed if the gate is closed.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one setting of the recipe, or of cluster in params.yaml.",
    ),
]
ClusterParams = Annotated[
    Path, typer.Option("--params", metavar="FILE", help="Its section cluster says what pods get.")
]
ClusterSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one setting, such as cluster.gpu.count=1."
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run, and exit by its outcome.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or its URL.")]

app = typer.Typer()


@app.command()
def submit(
    data_version: DataVersion = "",
    recipe: Recipe = None,
    epochs: Epochs = None,
    miou_floor: MiouFloor = None,
    model_name: ModelName = None,
    auto_promote: AutoPromote = False,
    fail_on_gate: FailOnGate = False,
    set_: Settings = None,
    experiment: Experiment = "street-segmentation",
    package: Package = None,
    wait_: Wait = False,
    endpoint: Url = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
) -> None:
    """Start a run of the training pipeline on Kubeflow.

    The pipeline is uploaded if it has changed. Only what is given here is set in the run.
    """
    from streetseg.data.versions import locked_version

    data_version = data_version or locked_version(Path("dvc.lock"))
    overrides, pods = split_settings(set_)
    parameters = _parameters(
        overrides,
        data_version=data_version,
        recipe=recipe,
        epochs=epochs,
        miou_floor=miou_floor,
        model_name=model_name,
        auto_promote=auto_promote,
        fail_on_gate=fail_on_gate,
    )
    there = _endpoint(endpoint, namespace, token_file)
    name = f"{recipe or 'default'} on {data_version[:8]}"
    with _package(package, TRAINING, pods) as yaml:
        start(there, yaml, TRAINING, experiment, name, parameters, wait_)


@app.command()
def wait(
    run: RunId, endpoint: Url = "", namespace: Namespace = "", token_file: TokenFile = None
) -> None:
    """Follow a run to its end: status 0 if it succeeds, 1 if not. Ctrl-C leaves it going."""
    follow(_endpoint(endpoint, namespace, token_file), _id(run))


@app.command()
def schedule(
    cron: Annotated[
        str,
        typer.Option(
            metavar="FIELDS",
            help="When, as six fields with the SECONDS first: '0 0 3 * * *' is daily at 3:00 in "
            "the time zone of the server, most often UTC.",
        ),
    ] = "",
    data_version: Annotated[
        str, typer.Option(help="Git revision whose dvc.lock names the data each time.")
    ] = "main",
    recipe: Recipe = None,
    epochs: Epochs = None,
    miou_floor: MiouFloor = None,
    model_name: ModelName = None,
    auto_promote: AutoPromote = False,
    fail_on_gate: FailOnGate = False,
    set_: Settings = None,
    name: Annotated[str, typer.Option(help="Name of the schedule.")] = "street-segmentation",
    delete: Annotated[bool, typer.Option("--delete", help="Delete the schedule instead.")] = False,
    experiment: Experiment = "street-segmentation",
    package: Package = None,
    endpoint: Url = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
) -> None:
    """Train again and again on Kubeflow, whenever the data has moved; else a run does nothing.

    A schedule of the same name is replaced.
    """
    there = _endpoint(endpoint, namespace, token_file)
    if delete:
        there.unschedule(name)
        print(f"schedule '{name}' deleted")
        return
    if len(cron.split()) != 6:
        raise StreetsegError(
            f"--cron '{cron}' has {len(cron.split())} fields: Kubeflow reads six, the first for "
            "the seconds, such as '0 0 3 * * *' for daily at 3:00"
        )
    overrides, pods = split_settings(set_)
    parameters = _parameters(
        overrides,
        data_version=data_version,
        recipe=recipe,
        epochs=epochs,
        miou_floor=miou_floor,
        model_name=model_name,
        auto_promote=auto_promote,
        fail_on_gate=fail_on_gate,
    )
    with _package(package, SCHEDULED, pods) as yaml:
        version = _upload(there, yaml, SCHEDULED)
    replaced = there.schedule(version, experiment, name, cron, parameters)
    print(f"schedule '{name}' {'replaced' if replaced else 'created'}: {cron}")


@app.command("list")
def list_runs(
    experiment: Experiment = "street-segmentation",
    last: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 10,
    endpoint: Url = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
) -> None:
    """The last runs on Kubeflow, the newest first."""
    from rich.markup import escape

    from pipelines.kubeflow.run_steps import duration_of

    there = _endpoint(endpoint, namespace, token_file)
    runs = there.runs(experiment, last)
    if not runs:
        print(f"the experiment '{experiment}' has no runs at {there.url}")
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
            there.run_url(run.run_id),
        )
    print_table(table)


@app.command()
def logs(
    run: RunId,
    step: Annotated[str, typer.Option(help="This step alone.")] = "",
    endpoint: Url = "",
    namespace: Namespace = "",
    token_file: TokenFile = None,
) -> None:
    """State, error and log of each step of a run on Kubeflow."""
    from pipelines.kubeflow.run_steps import steps_of

    there = _endpoint(endpoint, namespace, token_file)
    found = there.run(_id(run))
    steps = steps_of(found)
    chosen = [each for each in steps if step in ("", each.name)]
    if step and not chosen:
        names = ", ".join(each.name for each in steps) or "none so far"
        raise StreetsegError(f"run {found.run_id} has no step '{step}': it has {names}")
    print(f"run {found.run_id} {(found.state or 'pending').lower()}: {there.run_url(found.run_id)}")
    for each in chosen:
        print(f"\n{line(each)}{f': {each.error}' if each.error else ''}")
        if each.pod:
            print(_log(there, found.run_id, each.pod))


def start(
    endpoint: Endpoint,
    package: Path,
    pipeline: str,
    experiment: str,
    name: str,
    parameters: dict[str, Any],
    followed: bool,
) -> None:
    """Upload a pipeline if it has changed, start a run of it, and follow that if asked to.

    Args:
        endpoint: where.
        package: the YAML.
        pipeline: its name.
        experiment: that of the run.
        name: what to call the run.
        parameters: inputs of the pipeline.
        followed: whether to wait for the end.

    Raises:
        StreetsegError: the endpoint refuses, or the run that is followed did not succeed.
    """
    version = _upload(endpoint, package, pipeline)
    run = endpoint.start(version, experiment, name, parameters)
    print(f"run {run.run_id}: {endpoint.run_url(run.run_id)}", flush=True)
    if followed:
        follow(endpoint, run.run_id)


@contextmanager
def compiled(pipeline: str, overrides: dict[str, Any]) -> Iterator[Path]:
    """The YAML of a pipeline as it is now, with the pods of ``params.yaml`` and ``overrides``."""
    cluster = read_cluster(PARAMS, overrides)
    if not _names_registry(IMAGE):
        print(
            f"warning: the image {IMAGE} names no registry that a cluster could pull it from: set "
            "STREETSEG_IMAGE to the one that was pushed",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{pipeline}.yaml"
        compile_pipeline(pipeline, cluster, path)
        yield path


def _names_registry(image: str) -> bool:
    """Whether the name of an image begins with that of a registry, as Docker reads it."""
    host, slash, _ = image.partition("/")
    return bool(slash) and ("." in host or ":" in host)


def _log(endpoint: Endpoint, run_id: str, pod: str) -> str:
    """What a pod printed, or how to ask Kubernetes for it."""
    from pipelines.kubeflow.connection import RefusedError

    try:
        return endpoint.log(run_id, pod).rstrip()
    except RefusedError as error:
        where = endpoint.namespace or "kubeflow"
        return (
            f"no log from the endpoint: {error}\n"
            f"as long as the pod is there: kubectl -n {where} logs {pod} -c main"
        )


def _endpoint(url: str, namespace: str, token_file: Path | None) -> Endpoint:
    from pipelines.kubeflow.client import Endpoint

    return Endpoint(url, namespace, token_file)


def split_settings(texts: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``--set`` says to the run, and to the compiler."""
    from streetseg.config.params import parse_overrides

    overrides = parse_overrides(texts or [])
    late = {key: value for key, value in overrides.items() if not of_cluster(key)}
    return late, {key: value for key, value in overrides.items() if of_cluster(key)}


def _parameters(overrides: dict[str, Any], **named: Any) -> dict[str, Any]:
    """What is given, as parameters of the pipeline; a mistake in it is found here and now."""
    from streetseg.config.params import load_recipe

    load_recipe(named["recipe"] or "default", overrides)
    given = {key: value for key, value in named.items() if value is not None and value is not False}
    return {**given, "overrides": overrides} if overrides else given


@contextmanager
def _package(given: Path | None, pipeline: str, overrides: dict[str, Any]) -> Iterator[Path]:
    """The YAML to upload: the one that is given, or of the pipeline as it is now."""
    if given and overrides:
        raise StreetsegError(
            f"--set {next(iter(overrides))}: {given} is compiled already; give it to 'compile'"
        )
    if given:
        yield given
        return
    with compiled(pipeline, overrides) as path:
        yield path


def _upload(endpoint: Endpoint, package: Path, pipeline: str) -> V2beta1PipelineVersion:
    version, new = endpoint.upload(package, pipeline)
    print(f"pipeline version {version.display_name} {'uploaded' if new else 'is there already'}")
    return version


def _id(run: str) -> str:
    """The id that ends a run's URL, or is all there is."""
    return run.rstrip("/").rpartition("/")[2]
