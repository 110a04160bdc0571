"""MLflow runs of trainings and searches while they are in progress."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streetseg.config.params import Params
from streetseg.core.credentials import redact
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.provenance import git_revision, git_source
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.prepared_run import open_run
from streetseg.tracking.store import connect, reason, translate_errors
from streetseg.tracking.training_runs import flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS = (
    "By epoch: `held-out` (train frames that choose the best epoch) and `train`. At the end: "
    "`val`, the scores of the evaluation."
)
"""What a run's description says of its metrics."""


@dataclass(frozen=True)
class Run:
    """An MLflow run in progress."""

    id: str

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log one point of each metric; see :mod:`streetseg.tracking.metric_names`."""
        import mlflow

        with translate_errors(f"cannot log to run {self.id}"):
            mlflow.log_metrics(dict(values), step=step, run_id=self.id)

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

    Its name tells ``registry.run_name`` (else the network), data and date. Inside
    :func:`search_run` it is a child of that run, without data and date. ``run_id`` is a run to
    resume, if the store has it.

    Raises:
        StreetsegError: the store does not answer, or accepts no more.
    """
    with _ended(_training_run(params, dataset, run_id), "the training") as run:
        yield run


@contextmanager
def _training_run(params: Params, dataset: PreparedDataset, run_id: str | None) -> Iterator[Run]:
    import mlflow
    from mlflow.data.pandas_dataset import from_pandas

    client = connect(params.registry, create=True)
    if run_id and _is_active(client, run_id):
        with mlflow.start_run(run_id=run_id, nested=True, log_system_metrics=False):
            yield Run(run_id)
        return
    with open_run(client, params.registry, _run_name(params, dataset)) as active:
        settings = params.to_dict()
        mlflow.log_params(flatten({key: settings[key] for key in ("prepare", "model", "train")}))
        mlflow.set_tags(_tags(params, dataset))
        train_frames = dataset.index.iloc[dataset.rows("train")].drop(columns="label_ids")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # hints on schemas of served tables
            source = from_pandas(
                train_frames,
                source=_data_source(params, dataset),
                name=dataset.name or dataset.source,
                digest=dataset.version,
            )
            mlflow.log_input(source, context="training")
        yield Run(active.info.run_id)


def _run_name(params: Params, dataset: PreparedDataset) -> str:
    import mlflow

    from streetseg.models.build import network_name

    recipe = params.registry.run_name or network_name(params.model)
    if mlflow.active_run():  # of a search, whose trials share data and day
        return recipe
    now = datetime.now().astimezone()
    return f"{recipe}, {dataset.name or dataset.source} {dataset.version[:8]}, {now:%Y-%m-%d %H:%M}"


def _data_source(params: Params, dataset: PreparedDataset) -> str:
    """Where the listing of the data version is in the DVC remote; the folder if it is not there.

    A bucket is not asked: it may need other credentials than the training has.
    """
    remote, version = params.data.remote.rstrip("/"), dataset.version
    address = f"{remote}/files/md5/{version[:2]}/{version[2:]}"
    if remote.startswith("s3://"):
        return redact(address)
    return str(Path(address).resolve() if Path(address).is_file() else dataset.path.resolve())


def _tags(params: Params, dataset: PreparedDataset) -> dict[str, str]:
    frames = dataset.index["split"].value_counts()
    return {
        **git_source(),
        "mlflow.source.name": "streetseg train",
        "mlflow.note.content": _description(params, dataset),
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


def _description(params: Params, dataset: PreparedDataset) -> str:
    from streetseg.models.build import network_name

    splits = dataset.index["split"].value_counts()
    frames = ", ".join(f"{count} {split}" for split, count in splits.items())
    height, width = dataset.size
    return (
        f"{network_name(params.model)}, {params.train.epochs} epochs at {width}x{height} on "
        f"**{dataset.name or dataset.source}** ({frames} frames; data version "
        f"`{dataset.version}`).\n\n{METRICS}"
    )


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
