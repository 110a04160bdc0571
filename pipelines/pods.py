"""How the steps run: which are cached, and what ``cluster`` in the params gives their pods."""

import inspect
from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from components import attempts
from components.report_outcome import report_outcome
from streetseg.config.cluster import Cluster, Secret, Toleration

CACHED = {"fetch", "validate", "train", "train-job", "score-set"}
"""Steps whose outputs depend on their inputs alone.

The others run each time: they ask for what may have changed (an alias or the champion in MLflow, a
git revision, the images of a folder), or record something in MLflow.
"""
LINKING = ("register", "report-outcome")
"""Steps that write the run's URL in the UI: a tag of the version, a message of the webhook."""
DATA_CACHE = "/mnt/data-cache"
"""Where steps mount the volume of ``cluster.data_cache``."""
FETCHING = {"fetch", "score-set"}
"""Steps that use ``cluster.data_cache``."""
RAW_DATA = "/mnt/raw-data"
"""Where steps mount the claim of ``cluster.raw_data``."""
READING = {"plan-parts", "prepare-part", "segment", "segment-part"}
"""Steps that use ``cluster.raw_data``."""
CHECKPOINTS = "/mnt/checkpoints"
"""Where steps mount the claim of ``cluster.checkpoints``."""
RESUMABLE = {"train", "segment"}
"""Steps that use ``cluster.checkpoints``."""
WORKFLOW_LABEL = "metadata.labels['workflows.argoproj.io/workflow']"
FIRST_PAUSE, PAUSE_FACTOR = "30s", 2
LAST_RETRY = "604800s"
"""A week, from the start of the first attempt: what still runs by then is killed."""


Range = tuple[Any, Any]


class StepSetup:
    """Sets up each task as the step of its name; this one for steps that run on this machine."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        """Steps of this cluster."""
        self.cluster = cluster or Cluster()

    @property
    def workspace(self) -> str:
        """What a step receives as the path of the run's workspace; empty if it uses none."""
        return ""

    @property
    def config(self) -> dsl.PipelineConfig | None:
        """What a pipeline asks of Kubeflow beside its steps."""
        return None

    def __call__(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Say whether a task is cached, and return it."""
        return task if task.name in CACHED else task.set_caching_options(enable_caching=False)

    def size(self, task: dsl.PipelineTask, cpu: Range, memory: Range, gpus: Any) -> None:
        """Give a task what a run asks for: CPUs and memory as request and limit, and GPUs."""

    def give_gpus(self, task: dsl.PipelineTask, gpus: Any) -> None:
        """Give a task the GPUs that a run asks for."""


no_pods = StepSetup()
PipelineFactory = Callable[[StepSetup], Any]
"""Makes a pipeline whose tasks are set up by the argument."""


class ClusterPods(StepSetup):
    """The pods that ``cluster`` in the params describes."""

    @property
    def workspace(self) -> str:
        """The placeholder for which Kubeflow mounts the workspace in the pod of a step."""
        return dsl.WORKSPACE_PATH_PLACEHOLDER if self.cluster.checkpoints == "workspace" else ""

    @property
    def config(self) -> dsl.PipelineConfig | None:
        """The workspace of a run, if attempts share one."""
        if not self.workspace:
            return None
        claim: dict[str, Any] = {"accessModes": ["ReadWriteOnce"]}
        if storage_class := self.cluster.workspace.storage_class:
            claim["storageClassName"] = storage_class
        kubernetes_config = dsl.KubernetesWorkspaceConfig(pvcSpecPatch=claim)
        size = self.cluster.workspace.size
        return dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size, kubernetes_config))

    def __call__(self, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Give a task the caching, resources, retries, secrets and volumes of its step."""
        super().__call__(task)
        step, cluster = task.name, self.cluster
        pod = cluster.pod(step)
        task.set_cpu_request(pod.cpu[0]).set_cpu_limit(pod.cpu[1])
        task.set_memory_request(pod.memory[0]).set_memory_limit(pod.memory[1])
        kubernetes.set_timeout(task, 60 * pod.timeout_minutes)
        if pod.retries:
            task.set_retry(pod.retries, FIRST_PAUSE, PAUSE_FACTOR, LAST_RETRY)
        self._set_up_pod(task)
        for secret in cluster.secrets_of(step):
            _add_secret(task, secret)
        if step in ("train", "check", "search"):
            self._set_up_training(task)
        if step in RESUMABLE and cluster.checkpoints != "pod":
            self._share_place(task)
        if step in LINKING and cluster.ui_url:
            task.set_env_variable("STREETSEG_KFP_UI", cluster.ui_url)
        if step in FETCHING and cluster.data_cache:
            task.set_env_variable("STREETSEG_DATA_CACHE", DATA_CACHE)
            kubernetes.mount_pvc(task, cluster.data_cache, DATA_CACHE)
        if step in READING and cluster.raw_data:
            kubernetes.mount_pvc(task, cluster.raw_data, RAW_DATA)
        return task

    def size(self, task: dsl.PipelineTask, cpu: Range, memory: Range, gpus: Any) -> None:
        """Set what a run asks for."""
        task.set_cpu_request(cpu[0]).set_cpu_limit(cpu[1])
        task.set_memory_request(memory[0]).set_memory_limit(memory[1])
        self.give_gpus(task, gpus)

    def give_gpus(self, task: dsl.PipelineTask, gpus: Any) -> None:
        """Set the GPUs; Kubernetes runs a pod with 0 of them on any node."""
        task.set_accelerator_type(self.cluster.gpu.type).set_accelerator_limit(gpus)

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
            self(report)
            kubernetes.use_secret_as_env(
                report, secret, {"url": "STREETSEG_WEBHOOK_URL"}, optional=True
            )
            with dsl.ExitHandler(report, name="reported"):
                pipeline(**dict(zip(signature.parameters, values, strict=True)))

        reported.__signature__, reported.__doc__ = signature, function.__doc__  # type: ignore[attr-defined]
        about = {"name": pipeline.name, "description": pipeline.description}
        return dsl.pipeline(reported, **about, pipeline_config=self.config)

    def _set_up_pod(self, task: dsl.PipelineTask) -> None:
        """What the pods of all steps get: user, image, nodes, labels."""
        pods = self.cluster.pods
        kubernetes.set_security_context(
            task, run_as_user=pods.run_as_user or None, run_as_non_root=True
        )
        if pods.image_pull_policy != "auto":
            kubernetes.set_image_pull_policy(task, pods.image_pull_policy)
        if pods.image_pull_secrets:
            kubernetes.set_image_pull_secrets(task, pods.image_pull_secrets)
        for key, value in pods.labels.items():
            kubernetes.add_pod_label(task, key, value)
        for key, value in pods.annotations.items():
            kubernetes.add_pod_annotation(task, key, value)
        _choose_nodes(task, pods.node_selector, pods.tolerations)

    def _share_place(self, task: dsl.PipelineTask) -> None:
        """Give all attempts of a step one place, and the name under which they share it.

        Both are variables, because Kubeflow's cache compares inputs.
        """
        kubernetes.use_field_path_as_env(task, attempts.WORKFLOW, WORKFLOW_LABEL)
        place = self.cluster.checkpoints
        if place == "workspace":
            return
        if place != attempts.REMOTE and "://" not in place:
            kubernetes.mount_pvc(task, place, CHECKPOINTS)
            place = CHECKPOINTS
        task.set_env_variable(attempts.CHECKPOINTS, place)

    def _set_up_training(self, task: dsl.PipelineTask) -> None:
        """Nodes and shared memory."""
        cluster = self.cluster
        _choose_nodes(task, cluster.node_selector, cluster.tolerations)
        kubernetes.empty_dir_mount(
            task, "shared-memory", "/dev/shm", medium="Memory", size_limit=cluster.shared_memory
        )


def _choose_nodes(
    task: dsl.PipelineTask, labels: dict[str, str], tolerations: list[Toleration]
) -> None:
    for key, value in labels.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))


def _add_secret(task: dsl.PipelineTask, secret: Secret) -> None:
    variables = {key: key for key in secret.keys}
    kubernetes.use_secret_as_env(task, secret.name, variables, optional=True)
