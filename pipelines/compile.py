"""Compiling the pipelines for Kubeflow, with the pods that the params say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.config.cluster import of_cluster
from streetseg.core.errors import StreetsegError

if TYPE_CHECKING:
    from pipelines.pods import Place
    from pipelines.training import Step
    from streetseg.config.cluster import Cluster

TRAINING, SCHEDULED = "street-segmentation-training", "street-segmentation-scheduled"
BATCH, EVALUATION = "street-segmentation-batch", "street-segmentation-evaluation"


def read_cluster(params: Path, overrides: Mapping[str, Any]) -> Cluster:
    """The section ``cluster`` of a params file; without ``params.yaml`` here, the defaults.

    Raises:
        StreetsegError: a mistake in the file or the overrides, or an override of something else.
    """
    from streetseg.config.params import load_params_here

    for key in overrides:
        if not of_cluster(key):
            raise StreetsegError(
                f"--set {key}: only cluster.* is settled when the pipeline is compiled; the rest "
                "are parameters of its runs"
            )
    return load_params_here(params, overrides).cluster


def compile_pipeline(
    name: str, cluster: Cluster, out: Path, train_step: Step | None = None
) -> None:
    """Write the YAML of a pipeline.

    Args:
        name: of the pipeline.
        cluster: what the pods get.
        out: the file.
        train_step: what trains, if it is not one step on one machine.
    """
    from kfp import compiler

    from pipelines.pods import Placement

    placement = Placement(cluster)
    pipeline = _pipeline(name, placement.place, train_step)
    out.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(placement.with_exit_report(pipeline), str(out))


def _pipeline(name: str, place: Place, train_step: Step | None) -> Any:
    if name == BATCH:
        from pipelines.batch import batch_pipeline

        return batch_pipeline(place)
    if name == EVALUATION:
        from pipelines.evaluation import evaluation_pipeline

        return evaluation_pipeline(place)
    from components.train import train
    from pipelines.scheduled import scheduled_pipeline
    from pipelines.training import training_pipeline

    training = training_pipeline(train_step or train, place)
    return scheduled_pipeline(training, place) if name == SCHEDULED else training
