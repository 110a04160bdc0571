"""Compiling a pipeline for Kubeflow, with the pods that the params describe."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp.compiler import Compiler
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from pipelines.pods import ClusterPods, PipelineFactory
from streetseg.config.cluster import Cluster, is_cluster_setting
from streetseg.config.params import PARAMS, load_params_here
from streetseg.core.errors import StreetsegError, did_you_mean, exit_on_error

ALL_STEPS = "all"


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


def read_package(path: Path) -> dict[str, Any]:
    """A compiled pipeline, as a run takes it."""
    pipeline, *platform = yaml.safe_load_all(path.read_text())
    return {"pipeline_spec": pipeline, "platform_spec": platform[0]} if platform else pipeline


def set_defaults(package: Path, parameters: Mapping[str, Any], out: Path) -> None:
    """Write a compiled pipeline again, with other defaults of its parameters.

    Runs that a schedule starts then have them even if the backend drops the schedule's parameters.

    Raises:
        StreetsegError: the pipeline has no such parameter.
    """
    documents = list(yaml.safe_load_all(package.read_text()))
    inputs = documents[0]["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in parameters.items():
        if name not in inputs:
            hint = did_you_mean(name, inputs, f"it has {', '.join(inputs) or 'none'}")
            raise StreetsegError(f"the pipeline in {package} has no parameter '{name}': {hint}")
        inputs[name] |= {"defaultValue": value, "isOptional": True}
    out.write_text(yaml.safe_dump_all(documents))


def compile_pipeline(
    pipeline: PipelineFactory, cluster: Cluster, out: Path, no_cache: str = ""
) -> None:
    """Write the YAML of a pipeline.

    Args:
        pipeline: makes it, such as :func:`pipelines.training.training_pipeline`.
        cluster: what its pods get.
        out: the file.
        no_cache: the steps whose outputs Kubeflow must not take from earlier runs, separated by
            commas; ``all``, or empty for none.

    Raises:
        StreetsegError: the pipeline has no such step.
    """
    compiled = _with_pods(pipeline, cluster)
    if no_cache:
        _turn_off_cache(compiled.pipeline_spec, no_cache)
    out.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(compiled, str(out))


def _turn_off_cache(spec: PipelineSpec, no_cache: str) -> None:
    dags = [spec.root.dag, *(component.dag for component in spec.components.values())]
    tasks = [
        (name, task)
        for dag in dags
        for name, task in dag.tasks.items()
        if spec.components[task.component_ref.name].executor_label
    ]
    steps = {name for name, _ in tasks}
    chosen = steps if no_cache == ALL_STEPS else {name.strip() for name in no_cache.split(",")}
    for name in sorted(chosen - steps):
        hint = did_you_mean(name, steps, f"choose of {', '.join(sorted(steps))}")
        raise StreetsegError(f"--no-cache {no_cache}: the pipeline has no step '{name}': {hint}")
    for name, task in tasks:
        if name in chosen:
            task.caching_options.enable_cache = False


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
