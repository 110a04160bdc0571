"""Compiling a pipeline for Kubeflow, with the pods that the params describe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp.compiler import Compiler

from pipelines.pods import ClusterPods, PipelineFactory
from streetseg.config.cluster import Cluster, is_cluster_setting
from streetseg.config.params import load_params_here
from streetseg.core.errors import StreetsegError


def read_cluster(params: Path, overrides: Mapping[str, Any]) -> Cluster:
    """The section ``cluster`` of a params file; without ``params.yaml`` here, the defaults.

    Raises:
        StreetsegError: a mistake in the file or the overrides, or an override of something else.
    """
    for key in overrides:
        if not is_cluster_setting(key):
            raise StreetsegError(
                f"--set {key}: only cluster.* is settled when the pipeline is compiled; the rest "
                "are parameters of its runs"
            )
    return load_params_here(params, overrides).cluster


def compile_pipeline(pipeline: PipelineFactory, cluster: Cluster, out: Path) -> None:
    """Write the YAML of a pipeline.

    Args:
        pipeline: makes it, such as :func:`pipelines.training.training_pipeline`.
        cluster: what its pods get.
        out: the file.
    """
    pods = ClusterPods(cluster)
    out.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(pods.with_exit_report(pipeline(pods.set_up)), str(out))
