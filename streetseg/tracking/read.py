"""Reading training runs from MLflow: settings, curves and scores."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.config.params import Registry
from streetseg.config.renamed import RENAMED
from streetseg.core.credentials import redact
from streetseg.core.errors import NoRegistryError, StreetsegError, did_you_mean
from streetseg.tracking.metric_names import (
    FORMER,
    HELD_OUT_MIOU,
    TRAIN_LOSS,
    read_iou,
    read_scores,
)
from streetseg.tracking.store import (
    connect,
    find_experiment,
    restore_command,
    translate_errors,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "experiment"
"""Tag of a run in an experiment of Kubeflow's: the name of the one in which it would be else."""
PARENT = "mlflow.parentRunId"
MIN_PREFIX_LENGTH = 6
DATA_AND_DATE = re.compile(r", [^,]+ [0-9a-f]{8}, \d{4}-\d\d-\d\d \d\d:\d\d$")
GONE = "gone"
"""Status of a run that MLflow does not have (any more)."""
MAX_SUGGESTIONS = 5
"""Runs named in the error for an unknown one."""


@dataclass(frozen=True)
class RunRecord:
    """A training run; a field that it does not have yet is empty or None."""

    id: str
    name: str
    """Without data and date."""
    started: datetime
    """With a time zone."""
    status: str
    """running, finished, failed, killed, scheduled, or ``GONE``."""
    data_version: str | None
    settings: dict[str, str]
    """By key path under today's names, values as text."""
    loss: dict[int, float]
    """Mean over each epoch, counted from 1; finite."""
    selection_miou: dict[int, float]
    """mIoU of the held-out frames after each epoch, 0 to 1."""
    scores: dict[str, float]
    """``miou`` and ``miou_official`` on the evaluation split, 0 to 1."""
    iou: dict[str, float]
    """IoU of each category on the evaluation split, 0 to 1."""
    evaluation: dict[str, Any]
    """The rest of ``evaluation.json``."""

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return max(self.loss, default=0)

    @property
    def best_epoch(self) -> int | None:
        """The first with the highest mIoU of the held-out frames."""
        return max(self.selection_miou, key=self.selection_miou.__getitem__, default=None)


def read_runs(params: Registry, names: Sequence[str] = (), last: int = 5) -> list[RunRecord]:
    """Read runs of the experiment ``params.experiment``.

    Each of ``names`` is a run's id, the first six or more characters of it, or a run's name,
    with or without data and date. Without names, the ``last`` runs are read, the newest first.

    Raises:
        StreetsegError: the store does not answer or has no runs, or a name matches none or several.
    """
    client = connect(params)
    with translate_errors(f"cannot read the runs of the experiment '{params.experiment}'"):
        runs = runs_of(client, params)
        for name in names:
            refuse_deleted(client, params, name, runs)
        if not runs:
            deleted = len(runs_of(client, params, deleted=True))
            but = f" but {deleted} deleted ones ('mlflow runs restore')" if deleted else ""
            raise StreetsegError(
                f"the experiment '{params.experiment}' has no runs{but} in "
                f"{redact(client.tracking_uri)}: run 'streetseg train' first, or set "
                "MLFLOW_TRACKING_URI or registry.experiment"
            )
        chosen = [choose(name, runs) for name in names] or runs[:last]
        return [_read(client, run) for run in {run.info.run_id: run for run in chosen}.values()]


def read_run(client: MlflowClient, run_id: str) -> RunRecord | None:
    """Read one run by its id, whatever its experiment; None if it is gone.

    Raises:
        StreetsegError: the store does not answer.
    """
    with translate_errors(f"cannot read run {run_id}"):
        run = find_run(client, run_id)
        return _read(client, run) if run else None


def short_name(name: str) -> str:
    """A run's name without the data and date that a training adds to it."""
    return DATA_AND_DATE.sub("", name)


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """A run by its id, deleted or not; None if the store has none, or has purged it.

    Raises:
        MlflowException: the store does not answer.
    """
    from mlflow.exceptions import MlflowException

    if not run_id:  # of a version that was copied without its run
        return None
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def trained_on(params: Registry, data_version: str) -> str | None:
    """The latest run that completed with a data version, in any experiment; None if none has.

    A run is complete if the gate turned its model down, or passed it and the model is registered.
    Runs of another recipe and the trials of a search do not count.

    Raises:
        StreetsegError: the store does not answer, or ``params.experiment`` is deleted.
    """
    try:
        client = connect(params)
    except NoRegistryError:
        return None
    recipe = params.run_name or "default"
    with translate_errors(f"cannot read the runs on data version {data_version}"):
        find_experiment(client, params)
        for run in search_everywhere(client, f"tags.data_version = '{data_version}'"):
            if (
                run.info.status == "FINISHED"
                and run.data.tags.get("recipe", recipe) == recipe
                and not _is_trial(client, run)
                and _is_complete(client, run)
            ):
                return run.info.run_id
    return None


def _is_trial(client: MlflowClient, run: Run) -> bool:
    """Whether a run is one of a search; the runs of Kubeflow's plugin have a parent too."""
    parent_id = run.data.tags.get(PARENT)
    if parent_id is None:
        return False
    if EXPERIMENT not in run.data.tags:
        return True
    parent = find_run(client, parent_id)
    return parent is None or EXPERIMENT in parent.data.tags


def _is_complete(client: MlflowClient, run: Run) -> bool:
    gate = run.data.tags.get("gate")
    if gate != "passed":
        return gate is not None
    return bool(client.search_model_versions(f"run_id = '{run.info.run_id}'"))


def choose(text: str, runs: Sequence[Run]) -> Run:
    """The newest run with this id or name, or the run whose id begins with ``text``.

    ``runs`` are ordered from the newest to the oldest.

    Raises:
        StreetsegError: it matches no run, or several.
    """
    matching = _matching(text, runs)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise StreetsegError(
            f"{len(matching)} runs have an id that begins with '{text}': "
            + ", ".join(f"{run.info.run_id} of {_started(run):%Y-%m-%d %H:%M}" for run in matching)
        )
    latest = [
        f"{run.info.run_id[:8]} ({short_name(run.info.run_name)})" for run in runs[:MAX_SUGGESTIONS]
    ]
    names = [short_name(run.info.run_name) for run in runs]
    hint = did_you_mean(text, names, f"the latest are {', '.join(latest)}")
    raise StreetsegError(
        f"no run has the name '{text}' or an id that begins with it ({MIN_PREFIX_LENGTH} "
        f"characters or more): {hint}"
    )


def _matching(text: str, runs: Sequence[Run]) -> list[Run]:
    named = [
        run
        for run in runs
        if text in (run.info.run_id, run.info.run_name, short_name(run.info.run_name or ""))
    ][:1]
    with_prefix = [run for run in runs if run.info.run_id.startswith(text)]
    return named or (with_prefix if len(text) >= MIN_PREFIX_LENGTH else [])


def refuse_deleted(client: MlflowClient, params: Registry, text: str, runs: Sequence[Run]) -> None:
    """Raise a StreetsegError with the way back if ``text`` names a deleted run, none of ``runs``.

    It is an id, the beginning of one, or a name, as in :func:`choose`.
    """
    if _matching(text, runs):
        return
    for run in _matching(text, runs_of(client, params, deleted=True)):
        restore = restore_command(client, f"runs restore --run-id {run.info.run_id}")
        raise StreetsegError(f"run {run.info.run_id} is deleted: bring it back with {restore}")


def runs_of(client: MlflowClient, params: Registry, deleted: bool = False) -> list[Run]:
    """The runs of ``params.experiment``, the newest first, and those that name it by a tag.

    Raises:
        StreetsegError: the experiment is deleted.
    """
    experiment = find_experiment(client, params)
    runs = search_runs(client, [experiment.experiment_id], deleted=deleted) if experiment else ()
    quote = '"' if "'" in params.experiment else "'"
    named = f"tags.{EXPERIMENT} = {quote}{params.experiment}{quote}"
    by_id = {run.info.run_id: run for run in (*runs, *search_everywhere(client, named, deleted))}
    return sorted(by_id.values(), key=lambda run: run.info.start_time, reverse=True)


def search_everywhere(
    client: MlflowClient, filter_string: str, deleted: bool = False
) -> Iterator[Run]:
    """Runs of all experiments, as :func:`search_runs` gives them."""
    experiments, token = [], None
    while True:
        page = client.search_experiments(page_token=token)
        experiments += [each.experiment_id for each in page]
        token = page.token
        if not token:
            break
    if experiments:
        yield from search_runs(client, experiments, filter_string, deleted)


def search_runs(
    client: MlflowClient, experiments: list[str], filter_string: str = "", deleted: bool = False
) -> Iterator[Run]:
    """Runs of experiments, by id, that match a filter in MLflow's syntax, the newest first."""
    from mlflow.entities import ViewType

    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    order, token = ["attributes.start_time DESC"], None
    while True:
        page = client.search_runs(
            experiments, filter_string, view, order_by=order, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _read(client: MlflowClient, run: Run) -> RunRecord:
    run_id, metrics = run.info.run_id, run.data.metrics
    return RunRecord(
        id=run_id,
        name=short_name(run.info.run_name or ""),
        started=_started(run),
        status=run.info.status.lower(),
        data_version=run.data.tags.get("data_version"),
        settings={RENAMED.get(key, key): value for key, value in run.data.params.items()},
        loss=_curve(client, run_id, TRAIN_LOSS),
        selection_miou=_curve(client, run_id, HELD_OUT_MIOU),
        scores=read_scores(metrics),
        iou=read_iou(metrics),
        evaluation=_evaluation(client, run_id),
    )


def _curve(client: MlflowClient, run_id: str, name: str) -> dict[int, float]:
    """Finite values by epoch, the last of a repeated one; databases store infinity as maximum.

    Kubeflow's MLflow plugin adds the metrics of the step to its run, as step 0.
    """
    former = client.get_metric_history(run_id, FORMER[name])  # a resumed training has both
    points = sorted(
        [*former, *client.get_metric_history(run_id, name)], key=lambda p: (p.step, p.timestamp)
    )
    return {
        point.step: point.value
        for point in points
        if point.step > 0 and abs(point.value) < sys.float_info.max
    }


def _evaluation(client: MlflowClient, run_id: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = client.download_artifacts(run_id, "evaluation/evaluation.json", scratch)
            return json.loads(Path(path).read_text())
        except Exception:  # of MLflow or of the store behind it: a comparison does without
            return {}


def _started(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).astimezone()
