"""How the steps run: which are cached, and what ``cluster`` in the params gives their pods."""

import inspect
from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from components.report_outcome import report_outcome
from streetseg.config.cluster import Cluster, Secret

CACHED = {"fetch", "validate", "train", "train-job"}
"""Steps whose outputs depend on their inputs alone.

The others run each time: they ask for what may have changed (an alias or the champion in MLflow, a
git revision, the images of a folder), or record something in MLflow.
"""
DATA_CACHE = "/mnt/data-cache"
"""Where the step ``fetch`` mounts the volume of ``cluster.data_cache``."""
RETRIES = {"fetch": 3, "fetch-model": 3, "register": 3, "train-job": 2, "segment": 2}
"""Steps that may succeed when run again: others would fail again, or start their work afresh.

A train job resumes from its checkpoint and a batch from its table, while the checkpoint of
``train`` is lost with its pod.
"""

StepSetup = Callable[[dsl.PipelineTask], dsl.PipelineTask]
"""Sets up a task as the step of its name, and returns it."""
PipelineFactory = Callable[[StepSetup], Any]
"""Makes a pipeline whose tasks are set up by the argument."""


def no_pods(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Set up a task that runs on this machine, so only whether it is cached."""
    return task if task.name in CACHED else task.set_caching_options(enable_caching=False)


class ClusterPods:
    """The pods that ``cluster`` in the params describes."""

    def __init__(self, cluster: Cluster) -> None:
        """Pods of this cluster."""
        self.cluster = cluster

    def set_up(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give a task the caching, resources, retries, secrets and volumes of its step."""
        no_pods(task)
        step, cluster = task.name, self.cluster
        resources = cluster.resources(step)
        task.set_cpu_request(resources.cpu[0]).set_cpu_limit(resources.cpu[1])
        task.set_memory_request(resources.memory[0]).set_memory_limit(resources.memory[1])
        if step in RETRIES:
            task.set_retry(RETRIES[step], "30s", 2, "600s")
        for secret in cluster.secrets_of(step):
            _add_secret(task, secret)
        if step == "train":
            self._set_up_training(task)
        if step == "fetch" and cluster.data_cache:
            task.set_env_variable("STREETSEG_DATA_CACHE", DATA_CACHE)
            kubernetes.mount_pvc(task, cluster.data_cache, DATA_CACHE)
        return task

    def with_exit_report(self, pipeline: Any) -> Any:
        """The same pipeline with a last step that posts the outcome to ``cluster.webhook_secret``.

        It takes the same parameters and has no outputs, because kfp lets none out of an exit
        handler. Without the setting it is the pipeline itself.
        """
        secret = self.cluster.webhook_secret
        if secret is None:
            return pipeline
        function = pipeline.pipeline_func
        signature = inspect.signature(function).replace(return_annotation=None)

        def reported(*values: Any) -> None:
            report = report_outcome(
                pipeline=pipeline.name,
                run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
                run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            )
            self.set_up(report)
            kubernetes.use_secret_as_env(
                report, secret, {"url": "STREETSEG_WEBHOOK_URL"}, optional=True
            )
            with dsl.ExitHandler(report, name="reported"):
                pipeline(**dict(zip(signature.parameters, values, strict=True)))

        reported.__signature__, reported.__doc__ = signature, function.__doc__  # type: ignore[attr-defined]
        return dsl.pipeline(reported, name=pipeline.name, description=pipeline.description)

    def _set_up_training(self, task: dsl.PipelineTask) -> None:
        """Accelerators, nodes and shared memory."""
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


def _add_secret(task: dsl.PipelineTask, secret: Secret) -> None:
    variables = {key: key for key in secret.keys}
    kubernetes.use_secret_as_env(task, secret.name, variables, optional=True)
