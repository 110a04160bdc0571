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
    PARENT,
    find_run,
    search_everywhere,
)
from streetseg.tracking.store import experiment_id

if TYPE_CHECKING:
    from mlflow import ActiveRun, MlflowClient
    from mlflow.entities import Run

RUN_ID = "MLFLOW_RUN_ID"
KUBEFLOW_RUN, KUBEFLOW_URL = "kfp.pipeline_run_id", "kfp.pipeline_run_url"
"""Tags of the run of a pipeline run. The runs of its graphs, and of the steps, are below it."""


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
    run = _prepared_run(client)
    while run and KUBEFLOW_URL not in run.data.tags:
        run = find_run(client, run.data.tags.get(PARENT, ""))
    return run.data.tags[KUBEFLOW_URL] if run else ""


def runs_of_kubeflow_run(client: MlflowClient, kubeflow_run: str) -> list[Run]:
    """The trainings in the runs that the plugin prepared for the steps of a Kubeflow run.

    Raises:
        MlflowException: the store does not answer.
    """
    found, level = [], list(search_everywhere(client, f"tags.`{KUBEFLOW_RUN}` = '{kubeflow_run}'"))
    while level:
        run = level.pop()
        if "data_version" in run.data.tags:
            found.append(run)
        elif EXPERIMENT not in run.data.tags:  # of a graph or a step, not of a search
            level += search_everywhere(client, f"tags.`{PARENT}` = '{run.info.run_id}'")
    return found


def _prepared_run(client: MlflowClient) -> Run | None:
    run = find_run(client, os.environ.get(RUN_ID, ""))
    return run if run and run.info.lifecycle_stage == "active" else None
