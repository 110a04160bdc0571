"""The MLflow run that Kubeflow's MLflow plugin prepares for a step of a pipeline.

With the plugin on, ``MLFLOW_RUN_ID`` names a run in an experiment of the plugin's. The step records
in that run, not beside it, so that a training is one run. A tag names the experiment in which the
run would be without the plugin.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from streetseg.config.params import Registry
from streetseg.tracking.read import (
    EXPERIMENT,
    KUBEFLOW_RUN,
    PARENT,
    find_run,
    search_everywhere,
)
from streetseg.tracking.store import experiment_id

if TYPE_CHECKING:
    from mlflow import ActiveRun, MlflowClient
    from mlflow.entities import Run

RUN_ID = "MLFLOW_RUN_ID"
KUBEFLOW_URL = "kfp.pipeline_run_url"
"""Tag of the parent of the prepared runs, beside ``KUBEFLOW_RUN``."""


def open_run(
    client: MlflowClient, params: Registry, name: str, tags: Mapping[str, str] | None = None
) -> ActiveRun:
    """Open a run in ``params.experiment`` and make it MLflow's active one.

    The run that Kubeflow prepared is opened in its place, once, if the store has it; another
    store's is ignored. Inside an active run, it is a child of that run, in its experiment.

    Raises:
        MlflowException: the store does not answer.
        StreetsegError: the experiment is deleted.
    """
    import mlflow

    tags = dict(tags or {})
    prepared = _prepared_run(client)
    os.environ.pop(RUN_ID, None)  # else MLflow opens it for whatever run comes next
    parent = mlflow.active_run()
    if prepared:
        return mlflow.start_run(
            run_id=prepared.info.run_id,
            run_name=name,
            tags=tags | {EXPERIMENT: params.experiment},
            nested=True,
            log_system_metrics=False,
        )
    if parent and EXPERIMENT in parent.data.tags:
        tags[EXPERIMENT] = params.experiment
    return mlflow.start_run(
        experiment_id=parent.info.experiment_id if parent else experiment_id(client, params),
        run_name=name,
        tags=tags,
        nested=True,
        log_system_metrics=False,
    )


def kubeflow_run_url(client: MlflowClient) -> str:
    """Where Kubeflow's UI shows the run of this step, as its MLflow plugin says; else empty.

    Raises:
        MlflowException: the store does not answer.
    """
    prepared = _prepared_run(client)
    parent = find_run(client, prepared.data.tags.get(PARENT, "")) if prepared else None
    return parent.data.tags.get(KUBEFLOW_URL, "") if parent else ""


def runs_of_kubeflow_run(client: MlflowClient, kubeflow_run: str) -> list[Run]:
    """The trainings in the runs that the plugin prepared for the steps of a Kubeflow run.

    Raises:
        MlflowException: the store does not answer.
    """
    return [
        run
        for parent in search_everywhere(client, f"tags.`{KUBEFLOW_RUN}` = '{kubeflow_run}'")
        for run in search_everywhere(client, f"tags.`{PARENT}` = '{parent.info.run_id}'")
        if "data_version" in run.data.tags
    ]


def _prepared_run(client: MlflowClient) -> Run | None:
    run = find_run(client, os.environ.get(RUN_ID, ""))
    return run if run and run.info.lifecycle_stage == "active" else None
