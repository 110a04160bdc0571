"""Compiling a pipeline for Kubeflow, with the pods that the params describe."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp.compiler import Compiler

from pipelines.pods import ClusterPods, PipelineFactory
from streetseg.config.cluster import Cluster, is_cluster_setting
from streetseg.config.params import PARAMS, load_params_here
from streetseg.core.errors import StreetsegError, exit_on_error


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
    out.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(_with_pods(pipeline, cluster), str(out))


def offer(module: str, **pipelines: PipelineFactory) -> None:
    """Let a module have pipelines with the pods of ``./params.yaml``, built when asked for.

    ``kfp dsl compile --py FILE`` takes the first from there, with ``--function NAME`` any.

    Args:
        module: the ``__name__`` of the module.
        pipelines: what makes them, by the names of the attributes.
    """
    attributes = vars(sys.modules[module])

    def get(attribute: str) -> Any:
        if attribute not in pipelines:
            raise AttributeError(f"module {module!r} has no attribute {attribute!r}")
        with exit_on_error():
            return _with_pods(pipelines[attribute], read_cluster(PARAMS, {}))

    attributes["__getattr__"] = get
    attributes["__dir__"] = lambda: [*attributes, next(iter(pipelines))]


def _with_pods(pipeline: PipelineFactory, cluster: Cluster) -> Any:
    pods = ClusterPods(cluster)
    return pods.with_exit_report(pipeline(pods))
