"""MLflow runs of trainings and searches while they are in progress."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streetseg.config.params import Params
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.provenance import git_revision
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.prepared_run import open_run
from streetseg.tracking.store import connect, reason, translate_errors
from streetseg.tracking.training_runs import flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Run:
    """An MLflow run in progress."""

    id: str

    def log(self, step: int, **values: float) -> None:
        """Log one point of each metric."""
        import mlflow

        with translate_errors(f"cannot log to run {self.id}"):
            mlflow.log_metrics(values, step=step, run_id=self.id)

    def log_image(self, name: str, rgb: np.ndarray) -> None:
        """Log uint8[H, W, 3] as ``predictions/<name>.png``."""
        import mlflow

        with translate_errors(f"cannot log an image to run {self.id}"):
            mlflow.log_image(rgb, artifact_file=f"predictions/{name}.png")


@contextmanager
def training_run(
    params: Params, dataset: PreparedDataset, run_id: str | None = None
) -> Iterator[Run]:
    """Open a run with the settings, tags and dataset of a training; it ends with the block.

    Its name is ``registry.run_name``, else that of the network. Inside :func:`search_run` it is a
    child of that run. ``run_id`` is a run to resume, if the store has it.

    Raises:
        StreetsegError: the store does not answer, or accepts no more.
    """
    with _ended(_training_run(params, dataset, run_id), "the training") as run:
        yield run


@contextmanager
def _training_run(params: Params, dataset: PreparedDataset, run_id: str | None) -> Iterator[Run]:
    import mlflow
    from mlflow.data.pandas_dataset import from_pandas

    from streetseg.models.build import network_name

    client = connect(params.registry, create=True)
    if run_id and _is_active(client, run_id):
        with mlflow.start_run(run_id=run_id, nested=True, log_system_metrics=False):
            yield Run(run_id)
        return
    name = params.registry.run_name or network_name(params.model)
    with open_run(client, params.registry, name) as active:
        settings = params.to_dict()
        mlflow.log_params(flatten({key: settings[key] for key in ("prepare", "model", "train")}))
        mlflow.set_tags(_tags(params, dataset))
        train_frames = dataset.index.iloc[dataset.rows("train")].drop(columns="label_ids")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # hints on schemas of served tables
            source = from_pandas(
                train_frames,
                source=str(dataset.path),
                name=dataset.name or dataset.source,
                digest=dataset.version,
            )
            mlflow.log_input(source, context="training")
        yield Run(active.info.run_id)


def _tags(params: Params, dataset: PreparedDataset) -> dict[str, str]:
    frames = dataset.index["split"].value_counts()
    return {
        "data_version": dataset.version,
        "git_revision": git_revision(),
        "source": dataset.source,
        "source_name": dataset.name or dataset.source,
        "recipe": params.registry.run_name or "default",
        "architecture": params.model.architecture,
        "encoder": params.model.encoder,
        **{f"frames_{split}": str(count) for split, count in frames.items()},
        **({"max_frames": str(limit)} if (limit := params.train.max_frames) else {}),
    }


@contextmanager
def search_run(params: Params, name: str, run_id: str | None = None) -> Iterator[Run]:
    """Open a run whose children are the trainings inside the block.

    ``run_id`` is a run to resume, if the store has it; its children that a killed process left open
    are closed.

    Raises:
        StreetsegError: the store does not answer, or accepts no more.
    """
    with _ended(_search_run(params, name, run_id), "the search") as run:
        yield run


@contextmanager
def _search_run(params: Params, name: str, run_id: str | None) -> Iterator[Run]:
    import mlflow

    client = connect(params.registry, create=True)
    if run_id and _is_active(client, run_id):
        experiment = client.get_run(run_id).info.experiment_id
        open_children = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
        for child in client.search_runs([experiment], open_children):
            client.set_terminated(child.info.run_id, "KILLED")
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            yield Run(run_id)
        return
    with open_run(client, params.registry, name) as active:
        mlflow.log_params(flatten({"space": params.to_dict()["tune"]["space"]}))
        yield Run(active.info.run_id)


def end_as_pruned() -> None:
    """Close the open run as pruned, which is no failure."""
    import mlflow

    mlflow.set_tag("tune.state", "pruned")
    _end("KILLED")


@contextmanager
def _ended(opened: AbstractContextManager[Run], what: str) -> Iterator[Run]:
    """End a run with the status of the block; MLflow's errors become one line about ``what``."""
    block_error = None
    with translate_errors(f"cannot record {what}"), opened as run:
        try:
            yield run
        except StreetsegError as error:
            _end("KILLED" if isinstance(error, StoppedError) else "FAILED")
            raise
        except OSError as error:  # of the block, not of MLflow
            _end("FAILED")
            block_error = error
        else:
            _end("FINISHED")
    if block_error:
        raise block_error


def _end(status: str) -> None:
    """Close the open run. If the store does not answer, it stays open: the work is done."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.end_run(status)
    except MlflowException as error:
        print(f"the run is still open in MLflow, not {status}: {reason(error)}", file=sys.stderr)


def _is_active(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False
