"""The MLflow run that records a trained model, and another in its place once it is gone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.inference.artifact import read_config
from streetseg.tracking.read import find_run, search_runs
from streetseg.tracking.store import experiment_id, find_experiment, restore_command

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ORIGINAL_RUN = "original_run"
"""Tag of a run that takes the place of another: the id of that one, which trained the model."""


def active_run(client: MlflowClient, params: Registry, run_id: str) -> Run | None:
    """The run that records what run ``run_id`` trained; None if there is none (any more).

    Raises:
        MlflowException: the store does not answer.
        StreetsegError: the run and its experiment are deleted.
    """
    run = find_run(client, run_id)
    if run and run.info.lifecycle_stage == "active":
        return run
    experiment = find_experiment(client, params)
    if experiment is None:
        return None
    in_its_place = f"tags.{ORIGINAL_RUN} = '{run_id}'"
    return next(search_runs(client, [experiment.experiment_id], in_its_place), None)


def ensure_run(client: MlflowClient, params: Registry, run_id: str, artifact: Path) -> str:
    """The id of :func:`active_run` of a model, opened in ``params.experiment`` if need be.

    The new run has the settings of the model artifact; a message on standard error tells of it.

    Raises:
        MlflowException: the store does not answer.
        StreetsegError: the experiment is deleted.
    """
    if active := active_run(client, params, run_id):
        return active.info.run_id
    opened = _open_run(client, params, run_id, read_config(artifact))
    restore = ""
    if find_run(client, run_id):
        restore = f"; {restore_command(client, f'runs restore --run-id {run_id}')} brings it back"
    print(
        f"{redact(client.tracking_uri)} has no run {run_id}, which trained the model (any more): "
        f"run {opened} takes its place{restore}",
        file=sys.stderr,
    )
    return opened


def _open_run(
    client: MlflowClient, params: Registry, original: str, config: Mapping[str, Any]
) -> str:
    from mlflow.entities import Param

    settings = config["params"]
    name = settings.get("registry", {}).get("run_name")
    model = settings["model"]
    source = str(settings.get("data", {}).get("source", ""))
    tags = {
        ORIGINAL_RUN: original,
        "data_version": config["data_version"],
        "git_revision": config["git_revision"],
        "recipe": name or "default",
        "architecture": model["architecture"],
        "encoder": model["encoder"],
        **({"source": Path(source).name} if source else {}),
    }
    title = name or f"{model['architecture']} {model['encoder']}"
    run = client.create_run(experiment_id(client, params), tags=tags, run_name=title)
    groups = {key: settings[key] for key in ("prepare", "model", "train") if key in settings}
    client.log_batch(
        run.info.run_id,
        params=[Param(key, str(value)) for key, value in flatten(groups).items()],
    )
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by key path, such as ``train.loss.dice``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat
