"""From a model to its data and back: which model was trained on which data, by which code."""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from streetseg.config.params import Data, Params
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import DESCRIPTION, PreparedDataset
from streetseg.data.versions import (
    DATA_VERSION,
    DataCommit,
    branches_and_tags_of,
    commits_of,
    fetch_index,
)
from streetseg.inference.artifact import read_config
from streetseg.registry.versions import (
    PIPELINE_RUN_ID,
    ModelVersion,
    download_version,
    find,
    find_uri,
    search,
)
from streetseg.tracking.prepared_run import runs_of_kubeflow_run
from streetseg.tracking.read import (
    MIN_PREFIX_LENGTH,
    choose,
    find_run,
    refuse_deleted,
    runs_of,
    search_everywhere,
)
from streetseg.tracking.store import connect, translate_errors
from streetseg.tracking.training_runs import ORIGINAL_RUN

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN_ID = re.compile(r"[0-9a-f]{32}")
KUBEFLOW_RUN = re.compile(r"(?:https?://.*/)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/?")
"""The id of a Kubeflow run, or its URL."""


@dataclass(frozen=True)
class TracedRun:
    """A training run and its tags; a tag that an old run does not have is None."""

    id: str
    name: str
    started: datetime
    """In UTC."""
    data_version: str | None
    git_revision: str | None
    source: str | None
    source_name: str | None
    recipe: str | None
    frames: dict[str, int]
    """Number of frames in each split."""


@dataclass(frozen=True)
class Trace:
    """Versions, the runs that trained them, and the data they were trained on."""

    versions: list[ModelVersion]
    runs: list[TracedRun]
    """Without those that are gone from MLflow."""
    data_version: str | None
    commits: list[DataCommit]
    """The commits that wrote the data version to ``dvc.lock``; none without the repository."""
    names: list[str]
    """Branches and tags with the data version."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        runs = [{**asdict(run), "started": run.started.isoformat()} for run in self.runs]
        versions = [version.to_dict() for version in self.versions]
        return {**asdict(self), "runs": runs, "versions": versions}


def trace(params: Params, subject: str) -> Trace:
    """Follow a model to its data, or data to its models.

    ``subject`` is a number (as ``X-Model-Version`` names it) or alias of ``registry.model_name``,
    ``models:/...``, the id or name of a run, a data version, or the id or URL of a Kubeflow run.

    Raises:
        StreetsegError: it is none of these, or the registry does not answer.
    """
    client, model = connect(params.registry), params.registry.model_name
    with translate_errors(f"cannot trace {subject}"):
        if DATA_VERSION.fullmatch(subject):
            return _trace_data(client, subject, params.data.repository)
        if kubeflow_run := KUBEFLOW_RUN.fullmatch(subject):
            return _trace_kubeflow_run(client, kubeflow_run[1], params.data.repository)
        if subject.startswith("runs:/"):
            subject = subject.removeprefix("runs:/").partition("/")[0]
        if subject.startswith("models:/"):
            return _trace_version(find_uri(client, subject), client, params)
        # A version has fewer digits than the shortest prefix of a run's id.
        is_number = subject.isdecimal() and len(subject) < MIN_PREFIX_LENGTH
        if is_number or subject in _aliases(client, model):
            return _trace_version(find(client, model, subject), client, params)
        if RUN_ID.fullmatch(subject):
            run_id, run = subject, find_run(client, subject)
        else:
            runs = runs_of(client, params.registry)
            refuse_deleted(client, params.registry, subject, runs)
            if not runs:
                raise StreetsegError(f"'{subject}' is no version, alias, run or data version here")
            run = choose(subject, runs)
            run_id = run.info.run_id
        versions = [
            version
            for origin in ("run_id", f"tags.{ORIGINAL_RUN}")
            for version in search(client, f"{origin} = '{run_id}'")
        ]
        if run is None and versions:  # another may have taken its place
            run = find_run(client, versions[0].run_id)
        if run is None and not versions:
            raise StreetsegError(
                f"{redact(client.tracking_uri)} knows run {run_id} neither as a run nor as that of "
                "a version: set MLFLOW_TRACKING_URI to the store that has it"
            )
        return _with_data(versions, [_traced(run)] if run else [], params.data.repository)


def list_files(data: Data, version: str) -> pd.DataFrame:
    """The frames of a data version: split, city, frame, image and label (paths below the root).

    Unless ``data.prepared`` holds that version, the index is fetched from ``data.remote``.

    Raises:
        StreetsegError: the index is not on this machine and cannot be fetched.
    """
    columns = ["split", "city", "frame", "image", "label"]
    if (data.prepared / DESCRIPTION).is_file():
        dataset = PreparedDataset(data.prepared)
        if dataset.version == version:
            return dataset.index[columns]
    with tempfile.TemporaryDirectory() as scratch:
        return fetch_index(version, data, Path(scratch) / "index").index[columns]


def _trace_version(version: ModelVersion, client: MlflowClient, params: Params) -> Trace:
    run = find_run(client, version.run_id)
    data_version = None
    if run is None and "data_version" not in version.tags:  # a copy: the artifact knows
        data_version = read_config(download_version(client, version))["data_version"]
    runs = [_traced(run)] if run else []
    return _with_data([version], runs, params.data.repository, data_version)


def _trace_data(client: MlflowClient, version: str, repository: str) -> Trace:
    tagged = f"tags.data_version = '{version}'"
    runs = [_traced(run) for run in search_everywhere(client, tagged)]
    result = _with_data(search(client, tagged), runs, repository, version)
    if not (result.versions or result.runs or result.commits):
        raise StreetsegError(
            f"nothing is known of data version {version}: neither a run in "
            f"{redact(client.tracking_uri)} nor a commit of {redact(repository)} names it"
        )
    return result


def _trace_kubeflow_run(client: MlflowClient, run_id: str, repository: str) -> Trace:
    versions = search(client, f"tags.{PIPELINE_RUN_ID} = '{run_id}'")
    trained = [find_run(client, version.run_id) for version in versions]
    trained += runs_of_kubeflow_run(client, run_id)
    runs = {run.info.run_id: _traced(run) for run in trained if run}
    if not (versions or runs):
        raise StreetsegError(
            f"Kubeflow run {run_id} has registered no version in {redact(client.tracking_uri)}: "
            "its gate is closed, it has not ended, or MLFLOW_TRACKING_URI names another store"
        )
    return _with_data(versions, list(runs.values()), repository)


def _with_data(
    versions: list[ModelVersion],
    runs: list[TracedRun],
    repository: str,
    data_version: str | None = None,
) -> Trace:
    recorded = [run.data_version for run in runs] + [v.tags.get("data_version") for v in versions]
    data_version = data_version or next(filter(None, recorded), None)
    if data_version is None:
        return Trace(versions, runs, None, [], [])
    commits = commits_of(data_version, repository)
    names = branches_and_tags_of(data_version, repository)
    return Trace(versions, runs, data_version, commits, names)


def _traced(run: Run) -> TracedRun:
    tags = run.data.tags
    return TracedRun(
        id=run.info.run_id,
        name=run.info.run_name or "",
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        data_version=tags.get("data_version"),
        git_revision=tags.get("git_revision"),
        source=tags.get("source"),
        source_name=tags.get("source_name"),
        recipe=tags.get("recipe"),
        frames={
            key.removeprefix("frames_"): int(value)
            for key, value in sorted(tags.items())
            if key.startswith("frames_")
        },
    )


def _aliases(client: MlflowClient, name: str) -> set[str]:
    from mlflow.exceptions import MlflowException

    try:
        return set(client.get_registered_model(name).aliases)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return set()
