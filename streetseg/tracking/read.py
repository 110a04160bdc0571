"""Reading the training runs that MLflow keeps: settings, curves, scores and images."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError
from streetseg.tracking.store import connect, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SHORTEST_PREFIX = 6
LISTED = 5
"""Runs that are named to choose from."""


@dataclass(frozen=True)
class RunRecord:
    """What is known of a training run; what it has not, or not yet, is empty or None."""

    id: str
    name: str
    started: datetime
    """With a time zone."""
    status: str
    """running, finished, failed, killed or scheduled."""
    data_version: str | None
    settings: dict[str, str]
    """What it was trained with, by key path, as text."""
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
    picture: bytes | None
    """Predictions after the best epoch: a PNG of frame, truth and prediction side by side."""

    @property
    def epochs(self) -> int:
        """How many are done."""
        return max(self.loss, default=0)

    @property
    def best_epoch(self) -> int | None:
        """The first with the highest mIoU of the held-out frames."""
        return _best(self.selection_miou)


def read_runs(params: Registry, names: Sequence[str] = (), last: int = 5) -> list[RunRecord]:
    """Read runs of the experiment ``params.experiment``.

    Args:
        params: where the store is, and which experiment.
        names: an id, the beginning of one (six characters or more) or a name for each run.
        last: how many of the latest to read if no names are given, the newest first.

    Raises:
        StreetsegError: the store does not answer, there are no runs, or a name stands for none or
            for several.
    """
    client = connect(params)
    with translate_errors(f"cannot read the runs of the experiment '{params.experiment}'"):
        known = runs_of(client, params.experiment)
        if not known:
            raise StreetsegError(
                f"the experiment '{params.experiment}' has no runs in "
                f"{redact(client.tracking_uri)}: run 'streetseg train' first, or set "
                "MLFLOW_TRACKING_URI or registry.experiment"
            )
        chosen = [choose(name, known) for name in names] or known[:last]
        return [_read(client, run) for run in {run.info.run_id: run for run in chosen}.values()]


def read_run(client: MlflowClient, run_id: str) -> RunRecord:
    """Read one run by its id, whatever its experiment."""
    with translate_errors(f"cannot read run {run_id}"):
        return _read(client, client.get_run(run_id))


def trained_on(params: Registry, data_version: str) -> str | None:
    """The latest run of the experiment that trained on a data version to its end; None if none has.

    That is a run whose model the gate has turned down, or has passed and the registry has: what
    failed before is to be tried again. The trials of a search are no trainings in this sense.

    Raises:
        StreetsegError: the store does not answer.
    """
    client = connect(params)
    with translate_errors(f"cannot read the runs of the experiment '{params.experiment}'"):
        return next(
            (
                run.info.run_id
                for run in runs_of(client, params.experiment)
                if run.data.tags.get("data_version") == data_version
                and run.info.status == "FINISHED"
                and "mlflow.parentRunId" not in run.data.tags
                and _settled(client, run)
            ),
            None,
        )


def _settled(client: MlflowClient, run: Run) -> bool:
    """Whether the gate has judged a run, and its model is registered if that is open."""
    gate = run.data.tags.get("gate")
    if gate != "passed":
        return gate is not None
    return bool(client.search_model_versions(f"run_id = '{run.info.run_id}'"))


def choose(text: str, known: Sequence[Run]) -> Run:
    """The run that ``text`` stands for: an id, a name (the newest of it), or how an id begins.

    Args:
        text: what the user wrote.
        known: the runs of an experiment, the newest first.

    Raises:
        StreetsegError: it stands for no run, or for several.
    """
    named = [run for run in known if text in (run.info.run_id, run.info.run_name)][:1]
    begun = [run for run in known if run.info.run_id.startswith(text)]
    found = named or (begun if len(text) >= SHORTEST_PREFIX else [])
    if len(found) == 1:
        return found[0]
    if found:
        raise StreetsegError(
            f"{len(found)} runs have an id that begins with '{text}': "
            + ", ".join(f"{run.info.run_id} of {_started(run):%Y-%m-%d %H:%M}" for run in found)
        )
    latest = [f"{run.info.run_id[:8]} ({run.info.run_name})" for run in known[:LISTED]]
    raise StreetsegError(
        f"no run has the name '{text}' or an id that begins with it ({SHORTEST_PREFIX} characters "
        f"or more): the latest are {', '.join(latest)}"
    )


def runs_of(client: MlflowClient, experiment: str) -> list[Run]:
    """The runs of an experiment, the newest first; none if there is no such experiment."""
    known = client.get_experiment_by_name(experiment)
    return list(search_runs(client, [known.experiment_id])) if known else []


def search_runs(
    client: MlflowClient, experiments: list[str], filter_string: str = ""
) -> Iterator[Run]:
    """Runs of some experiments, by id, that a filter of MLflow's finds, the newest first."""
    order, token = ["attributes.start_time DESC"], None
    while True:
        page = client.search_runs(experiments, filter_string, order_by=order, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _read(client: MlflowClient, run: Run) -> RunRecord:
    run_id, metrics = run.info.run_id, run.data.metrics
    selection_miou = _curve(client, run_id, "selection_miou")
    best = _best(selection_miou)
    picture = _artifact(client, run_id, f"predictions/epoch_{best:03d}.png") if best else None
    evaluation = _artifact(client, run_id, "evaluation/evaluation.json")
    return RunRecord(
        id=run_id,
        name=run.info.run_name or "",
        started=_started(run),
        status=run.info.status.lower(),
        data_version=run.data.tags.get("data_version"),
        settings=run.data.params,
        loss=_curve(client, run_id, "loss"),
        selection_miou=selection_miou,
        scores={name: metrics[name] for name in ("miou", "miou_official") if name in metrics},
        iou={
            name.removeprefix("iou_"): value
            for name, value in metrics.items()
            if name.startswith("iou_")
        },
        evaluation=_json(evaluation),
        picture=picture,
    )


def _curve(client: MlflowClient, run_id: str, name: str) -> dict[int, float]:
    """Finite values by epoch; of one that was trained again after a stop, the last.

    A database keeps an infinite value as the largest number there is.
    """
    points = sorted(client.get_metric_history(run_id, name), key=lambda p: (p.step, p.timestamp))
    return {point.step: point.value for point in points if abs(point.value) < sys.float_info.max}


def _best(curve: dict[int, float]) -> int | None:
    return max(curve, key=curve.__getitem__) if curve else None


def _artifact(client: MlflowClient, run_id: str, path: str) -> bytes | None:
    """The content of a file of the run; None if it is not there or cannot be had."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return Path(client.download_artifacts(run_id, path, scratch)).read_bytes()
        except Exception:  # of MLflow or of the store behind it: a comparison does without
            return None


def _json(content: bytes | None) -> dict[str, Any]:
    """The mapping in a JSON file; an empty one if there is none."""
    try:
        return json.loads(content or b"{}")
    except ValueError:
        return {}


def _started(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.start_time / 1000, UTC).astimezone()
