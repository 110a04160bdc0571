"""Scores and verdicts, added to runs that have ended."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError
from streetseg.data.splits import EVALUATED
from streetseg.evaluation.result import Evaluation
from streetseg.evaluation.sources import source_metrics
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.artifact import read_config
from streetseg.tracking import metric_names
from streetseg.tracking.prepared_run import open_run
from streetseg.tracking.store import (
    connect,
    reason,
    split_uri,
    translate_errors,
)
from streetseg.tracking.training_runs import active_run, ensure_run

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

BY_NAME = re.compile(r"^((?:(?:class|category)_)?i?iou|(?:champion_)?miou_on)_(?=.)", re.DOTALL)


def evaluation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The scores of an evaluation by metric, such as ``val/miou`` and ``val/class_iou/road``."""
    scores = evaluation.headline() | source_metrics(evaluation)
    sections = {name: BY_NAME.sub(r"\1/", name) for name in scores}
    return {f"{evaluation.split}/{sections[name]}": value for name, value in scores.items()}


def record_evaluation(
    params: Registry, evaluation: Evaluation, folder: Path, artifact: Path
) -> None:
    """Add the scores and the files of an evaluation to the run that trained the model.

    If the store does not have that run (any more), one is opened in its place.

    Raises:
        StreetsegError: the store does not answer, or the experiment is deleted.
    """
    client = connect(params, create=True)
    with translate_errors(f"cannot record the evaluation of run {evaluation.run_id}"):
        run_id = ensure_run(client, params, evaluation.run_id, artifact)
        for name, value in evaluation_metrics(evaluation).items():
            client.log_metric(run_id, name, value)
        client.log_inputs(run_id, [_evaluated_data(evaluation)])
        client.log_artifacts(run_id, str(folder), "evaluation")


def _evaluated_data(evaluation: Evaluation) -> DatasetInput:
    """The frames of an evaluation as MLflow's dataset, with the role ``evaluation``."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    version, split = evaluation.data_version, evaluation.split
    source = {"data_version": version, "split": split}
    profile = {"num_rows": len(evaluation.frames)}
    dataset = Dataset(
        f"{evaluation.label_space} {split}",
        version,
        "dvc",
        json.dumps(source),
        None,
        json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])


def record_scores(
    params: Registry, evaluation: Evaluation, folder: Path, artifact: Path
) -> str | None:
    """Record an evaluation where it replaces no other scores; returns the id of a run of its own.

    The scores of a model on the data version that it was trained with join the run that trained
    it; None is returned. Scores on other data or on test, and those of an int8 graph, get a run of
    their own.

    Raises:
        StreetsegError: the artifact is missing, or the store does not answer.
    """
    same_data = evaluation.data_version == read_config(artifact)["data_version"]
    if same_data and evaluation.split == EVALUATED and evaluation.graph_precision != "int8":
        record_evaluation(params, evaluation, folder, artifact)
        return None
    return record_scoring(params, None, evaluation, folder)


def record_scoring(
    params: Registry, model: str | None, evaluation: Evaluation, folder: Path
) -> str:
    """Record the evaluation of ``models:/<name>/<version>`` in a run of its own; returns its id.

    The run is in the experiment ``<experiment>-evaluation``, so that the experiment of trainings
    holds trainings alone; in a step of Kubeflow it may be the one that Kubeflow prepared. Its tags
    are ``model_name``, ``model_version``, ``model_run``, ``scored_on`` (the data version) and
    ``split``; without the first two if ``model`` is None.

    Raises:
        StreetsegError: the store does not answer.
    """
    import mlflow

    client = connect(params, create=True)
    tags = {
        "model_run": evaluation.run_id,
        "scored_on": evaluation.data_version,
        "split": evaluation.split,
    }
    scorings = params.model_copy(update={"experiment": f"{params.experiment}-evaluation"})
    subject = f"run {evaluation.run_id[:8]}"
    if model:
        name, _, version = split_uri(model)
        tags |= {"model_name": name, "model_version": version}
        subject = f"{name} {version}"
    title = f"{subject} on {evaluation.data_version[:8]}"
    with (
        translate_errors(f"cannot record the evaluation of {model or subject}"),
        open_run(client, scorings, title, tags) as run,
    ):
        mlflow.log_metrics(evaluation_metrics(evaluation))
        client.log_inputs(run.info.run_id, [_evaluated_data(evaluation)])
        mlflow.log_artifacts(str(folder), "evaluation")
    return run.info.run_id


def record_verdict(params: Registry, evaluation: Evaluation, verdict: Verdict) -> None:
    """Record a verdict in the run that trained the model, in place of an earlier one.

    The files ``gate/verdict.json`` and ``gate/verdict.md`` come before the tags: a run with the tag
    ``gate`` has the files too. Without that run, or one in its place, a warning on standard error
    says that the verdict is not recorded.

    Raises:
        StreetsegError: the store does not answer, or the evaluation is on another data version than
            the run, or of the int8 graph; nothing is recorded then.
    """
    client, tags = connect(params), verdict.tags()
    run_id, data_version = evaluation.run_id, evaluation.data_version
    if evaluation.graph_precision == "int8":
        raise StreetsegError(
            f"the verdict is not recorded on run {run_id}: it is on the int8 graph, and the run "
            "keeps the scores of the float32 graph"
        )
    with translate_errors(f"cannot record the verdict on run {run_id}"):
        run = active_run(client, params, run_id)
        if run is None:
            print(
                f"warning: the verdict is not recorded: {redact(client.tracking_uri)} has no run "
                f"{run_id} (any more); 'streetseg evaluate' opens one in its place",
                file=sys.stderr,
            )
            return
        run_id, recorded = run.info.run_id, run.data.tags
        trained_on = recorded.get("data_version")
        if trained_on and data_version != trained_on:
            raise StreetsegError(
                f"the verdict is not recorded on run {run_id}: it is on data version "
                f"{data_version}, the model was trained on {trained_on}"
            )
        content = json.dumps(verdict.to_dict(), indent=1) + "\n"
        client.log_text(run_id, content, "gate/verdict.json")
        client.log_text(run_id, verdict.to_markdown(), "gate/verdict.md")
        for key in recorded:
            if (key == "gate" or key.startswith("gate_")) and key not in tags:
                client.delete_tag(run_id, key)
        for key, value in tags.items():
            client.set_tag(run_id, key, value)


def read_metric(params: Registry, run_id: str, name: str) -> float:
    """The last value of a metric of a run, under its name or its former one.

    Raises:
        StreetsegError: the store does not answer, or has no such run or metric.
    """
    from mlflow.exceptions import MlflowException

    client = connect(params)
    try:
        value = metric_names.read_metric(client.get_run(run_id).data.metrics, name)
    except MlflowException as error:
        raise StreetsegError(f"cannot read {name} of run {run_id}: {reason(error)}") from None
    if value is None:
        raise StreetsegError(f"cannot read {name} of run {run_id}: it has no such metric")
    return value
