"""Runs in MLflow: what was trained, on what, and how it went."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streetseg.config.params import Params, Registry
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.provenance import git_revision
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.verdict import Verdict
from streetseg.tracking.store import (
    connect,
    name_and_version,
    reason,
    sqlite_path,
    translate_errors,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Run:
    """An MLflow run in progress."""

    id: str

    def log(self, step: int, **values: float) -> None:
        """Add a point to the curves of the run."""
        import mlflow

        with translate_errors(f"cannot log to run {self.id}"):
            mlflow.log_metrics(values, step=step, run_id=self.id)

    def picture(self, name: str, rgb: np.ndarray) -> None:
        """Keep uint8[H, W, 3] as ``predictions/<name>.png``."""
        import mlflow

        with translate_errors(f"cannot keep an image of run {self.id}"):
            mlflow.log_image(rgb, artifact_file=f"predictions/{name}.png")


@contextmanager
def training_run(
    params: Params, dataset: PreparedDataset, run_id: str | None = None
) -> Iterator[Run]:
    """Open a run described by params, tags and dataset; it is ended however the block ends.

    Its name is ``registry.run_name``, else that of the network. Inside :func:`search_run` it is a
    child of that run.

    Args:
        params: the recipe.
        dataset: what is trained on.
        run_id: a run to go on with, if the store knows it.

    Raises:
        StreetsegError: the store does not answer, or takes no more.
    """
    with _ended(_run(params, dataset, run_id), "the training") as run:
        yield run


@contextmanager
def _run(params: Params, dataset: PreparedDataset, run_id: str | None) -> Iterator[Run]:
    import mlflow
    from mlflow.data.pandas_dataset import from_pandas

    from streetseg.models.build import network_name

    client = connect(params.registry)
    inside = os.environ.get("MLFLOW_RUN_ID")
    experiment = None if inside else _experiment(client, params.registry)
    if run_id and _knows(client, run_id):
        with mlflow.start_run(run_id=run_id, nested=True, log_system_metrics=False):
            yield Run(run_id)
        return
    name = None if inside else params.registry.run_name or network_name(params.model)
    with mlflow.start_run(
        experiment_id=experiment, run_name=name, nested=True, log_system_metrics=False
    ) as active:
        mlflow.log_params(_flat({k: params.to_dict()[k] for k in ("prepare", "model", "train")}))
        mlflow.set_tags(_tags(params, dataset))
        train_frames = dataset.index.iloc[dataset.rows("train")].drop(columns="label_ids")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # hints on schemas of served tables
            source = from_pandas(
                train_frames,
                source=str(dataset.path),
                name=dataset.source,
                digest=dataset.version,
            )
            mlflow.log_input(source, context="training")
        yield Run(active.info.run_id)


def _tags(params: Params, dataset: PreparedDataset) -> dict[str, str]:
    """What runs are filtered by, and what leads from a run to its data."""
    frames = dataset.index["split"].value_counts()
    return {
        "data_version": dataset.version,
        "git_revision": git_revision(),
        "source": dataset.source,
        "recipe": params.registry.run_name or "default",
        "architecture": params.model.architecture,
        "encoder": params.model.encoder,
        **{f"frames_{split}": str(count) for split, count in frames.items()},
    }


@contextmanager
def search_run(params: Params, name: str, run_id: str | None = None) -> Iterator[Run]:
    """Open a run whose children are the trainings inside the block.

    Args:
        params: the recipe; ``params.tune.space`` is noted.
        name: what to call the run.
        run_id: a run to go on with, if the store knows it; its children that a killed process left
            open are closed.

    Raises:
        StreetsegError: the store does not answer, or takes no more.
    """
    with _ended(_search_run(params, name, run_id), "the search") as run:
        yield run


@contextmanager
def _search_run(params: Params, name: str, run_id: str | None) -> Iterator[Run]:
    import mlflow

    client = connect(params.registry)
    if run_id and _knows(client, run_id):
        experiment = client.get_run(run_id).info.experiment_id
        left_open = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
        for child in client.search_runs([experiment], left_open):
            client.set_terminated(child.info.run_id, "KILLED")
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            yield Run(run_id)
        return
    inside = os.environ.get("MLFLOW_RUN_ID")
    with mlflow.start_run(
        experiment_id=None if inside else _experiment(client, params.registry),
        run_name=None if inside else name,
        log_system_metrics=False,
    ) as active:
        mlflow.log_params(_flat({"space": params.to_dict()["tune"]["space"]}))
        yield Run(active.info.run_id)


def end_as_pruned() -> None:
    """Close the run that is open: cut short, which is no failure."""
    import mlflow

    mlflow.set_tag("tune.state", "pruned")
    _end("KILLED")


@contextmanager
def _ended(opened: AbstractContextManager[Run], what: str) -> Iterator[Run]:
    """End a run by how the block ends; what MLflow raises becomes one line about ``what``."""
    failure = None
    with translate_errors(f"cannot record {what}"), opened as run:
        try:
            yield run
        except StreetsegError as error:
            _end("KILLED" if isinstance(error, StoppedError) else "FAILED")
            raise
        except OSError as error:  # of the block, not of MLflow
            _end("FAILED")
            failure = error
        else:
            _end("FINISHED")
    if failure:
        raise failure


def _end(status: str) -> None:
    """Close the run that is open. A store that does not answer leaves it so: no work is lost."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.end_run(status)
    except MlflowException as error:
        print(f"the run is still open in MLflow, not {status}: {reason(error)}", file=sys.stderr)


def record_evaluation(
    params: Registry, run_id: str, scores: Mapping[str, float], folder: Path
) -> None:
    """Add the scores and the files of an evaluation to the run that trained the model.

    Raises:
        StreetsegError: the store does not answer or does not know the run.
    """
    client = connect(params)
    with translate_errors(f"cannot record the evaluation of run {run_id}"):
        for name, value in scores.items():
            client.log_metric(run_id, name, value)
        client.log_artifacts(run_id, str(folder), "evaluation")


def record_scoring(
    params: Registry,
    model: str,
    evaluation: Mapping[str, Any],
    scores: Mapping[str, float],
    folder: Path,
) -> str:
    """Keep the evaluation of a registered version in a run of its own.

    It is a run of the experiment ``<experiment>-evaluation``, apart from the trainings, so that
    neither the scores of the run that trained the model change nor what was trained on which data.
    Its tags are ``model_name``, ``model_version``, ``model_run``, ``scored_on`` (the data version)
    and ``split``.

    Args:
        params: where the store is.
        model: ``models:/<name>/<version>``.
        evaluation: the content of ``evaluation.json``.
        scores: its headline.
        folder: its files.

    Returns:
        The id of the run.

    Raises:
        StreetsegError: the store does not answer.
    """
    import mlflow

    client = connect(params)
    name, version = name_and_version(model)
    tags = {
        "model_name": name,
        "model_version": version,
        "model_run": evaluation["run_id"],
        "scored_on": evaluation["data_version"],
        "split": evaluation["split"],
    }
    own = params.model_copy(update={"experiment": f"{params.experiment}-evaluation"})
    title = f"{name} {version} on {evaluation['data_version'][:8]}"
    with translate_errors(f"cannot record the evaluation of {model}"):
        run = mlflow.start_run(
            experiment_id=_experiment(client, own),
            run_name=title,
            tags=tags,
            log_system_metrics=False,
        )
        with run:
            mlflow.log_metrics(dict(scores))
            mlflow.log_artifacts(str(folder), "evaluation")
    return run.info.run_id


def record_verdict(params: Registry, run_id: str, verdict: Verdict) -> None:
    """Add the gate's verdict to the run that trained the model, in place of an earlier one.

    Its tags become the run's, and ``gate/verdict.json`` and ``gate/verdict.md`` tell it whole. The
    tags come last: a run with the tag ``gate`` has been judged, and the files say why.

    Raises:
        StreetsegError: the store does not answer or does not know the run.
    """
    client, tags = connect(params), verdict.tags()
    with translate_errors(f"cannot record the verdict on run {run_id}"):
        told = json.dumps(verdict.to_dict(), indent=1) + "\n"
        client.log_text(run_id, told, "gate/verdict.json")
        client.log_text(run_id, verdict.to_markdown(), "gate/verdict.md")
        for earlier in client.get_run(run_id).data.tags:
            if (earlier == "gate" or earlier.startswith("gate_")) and earlier not in tags:
                client.delete_tag(run_id, earlier)
        for key, value in tags.items():
            client.set_tag(run_id, key, value)


def read_metric(params: Registry, run_id: str, name: str) -> float:
    """The last value of a metric of a run.

    Raises:
        StreetsegError: the store does not answer, or does not know the run or the metric.
    """
    from mlflow.exceptions import MlflowException

    client = connect(params)
    try:
        return client.get_run(run_id).data.metrics[name]
    except (MlflowException, KeyError) as error:
        told = f"cannot read {name} of run {run_id}: {reason(error)}"
        raise StreetsegError(told) from None


def _knows(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def _experiment(client: MlflowClient, params: Registry) -> str:
    """The id of the experiment, made if need be, with its files beside an SQLite store."""
    import mlflow

    known = client.get_experiment_by_name(params.experiment)
    if known:
        return known.experiment_id
    path = sqlite_path(mlflow.get_tracking_uri())
    files = (path.parent / "mlartifacts").resolve().as_uri() if path else None
    return client.create_experiment(params.experiment, artifact_location=files)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
