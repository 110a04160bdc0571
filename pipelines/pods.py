"""What the pod of each step gets: the params of the section ``cluster``, put on kfp's tasks."""

import inspect
from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from components.report_outcome import report_outcome
from streetseg.config.cluster import Cluster, Secret

DATA_CACHE = "/mnt/data-cache"
"""Where the step that fetches has the volume of ``cluster.data_cache``."""
MLFLOW = {
    "moved",
    "configure",
    "fetch-model",
    "train",
    "train-job",
    "evaluate",
    "gate",
    "register",
}
"""Steps that ask MLflow."""
STORAGE = {
    "fetch",
    "fetch-model",
    "validate",
    "train",
    "train-job",
    "evaluate",
    "gate",
    "register",
    "segment",
}
"""Steps that read the DVC remote, or files of MLflow's that are in the same kind of store."""
GIT = {"moved", "configure"}
"""Steps that look up a git revision."""
RETRIES = {"fetch": 3, "fetch-model": 3, "register": 3, "train-job": 2, "segment": 2}
"""Steps that may do better the next time: others do the same again, or their work from the start.

A train job goes on from its checkpoint and a batch from its table, while the pod of ``train`` takes
its checkpoint with it.
"""

Place = Callable[[dsl.PipelineTask], dsl.PipelineTask]
"""Gives a task its pod."""


def no_pods(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Leave a task as it is: no pod, no cluster."""
    return task


class Placement:
    """Puts the steps of a pipeline into pods."""

    def __init__(self, cluster: Cluster) -> None:
        """Pods as the params say."""
        self.cluster = cluster

    def place(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give a task what the params say of the step of its name."""
        step, cluster = task.name, self.cluster
        resources = cluster.resources(step)
        task.set_cpu_request(resources.cpu[0]).set_cpu_limit(resources.cpu[1])
        task.set_memory_request(resources.memory[0]).set_memory_limit(resources.memory[1])
        if step in RETRIES:
            task.set_retry(RETRIES[step], "30s", 2, "600s")
        if step in MLFLOW:
            _use(task, cluster.secrets.mlflow)
        if step in STORAGE:
            _use(task, cluster.secrets.storage)
        if step in GIT:
            _use(task, cluster.secrets.git)
        if step == "train":
            self._place_training(task)
        if step == "fetch" and cluster.data_cache:
            task.set_env_variable("STREETSEG_DATA_CACHE", DATA_CACHE)
            kubernetes.mount_pvc(task, cluster.data_cache, DATA_CACHE)
        return task

    def with_exit_report(self, pipeline: Any) -> Any:
        """The same pipeline with a last step that tells ``cluster.webhook_secret`` how it ended.

        It takes the same parameters and has no outputs, because kfp lets none out of an exit
        handler. Without the setting it is the pipeline itself.
        """
        name = self.cluster.webhook_secret
        if name is None:
            return pipeline
        inner = pipeline.pipeline_func

        def whole(*values: Any) -> None:
            told = report_outcome(
                pipeline=pipeline.name,
                run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
                run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            ).set_caching_options(enable_caching=False)
            self.place(told)
            kubernetes.use_secret_as_env(
                told, name, {"url": "STREETSEG_WEBHOOK_URL"}, optional=True
            )
            with dsl.ExitHandler(told, name="reported"):
                pipeline(**dict(zip(signature.parameters, values, strict=True)))

        signature = inspect.signature(inner).replace(return_annotation=None)
        whole.__signature__, whole.__doc__ = signature, inner.__doc__  # type: ignore[attr-defined]
        return dsl.pipeline(whole, name=pipeline.name, description=pipeline.description)

    def _place_training(self, task: dsl.PipelineTask) -> None:
        cluster = self.cluster
        if cluster.gpu.count:
            task.set_accelerator_type(cluster.gpu.type).set_accelerator_limit(cluster.gpu.count)
        for key, value in cluster.node_selector.items():
            kubernetes.add_node_selector(task, key, value)
        for toleration in cluster.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
        kubernetes.empty_dir_mount(
            task, "shared-memory", "/dev/shm", medium="Memory", size_limit=cluster.shared_memory
        )


def _use(task: dsl.PipelineTask, secret: Secret) -> None:
    variables = {key: key for key in secret.keys}
    kubernetes.use_secret_as_env(task, secret.name, variables, optional=True)
