"""TrainJobs of Kubeflow Trainer: described, made, watched and deleted through the Kubernetes API.

The API is ``trainer.kubeflow.org/v1alpha1`` with ``runtimePatches``, as Kubeflow Trainer has it
since version 2.2 (older ones refuse the job).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from streetseg.core.errors import StreetsegError, one_line

GROUP, VERSION, TRAINJOBS = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
ENVIRONMENT = ("MLFLOW_", "AWS_")
"""How the variables begin that the pods need to reach MLflow and its store."""
TIMEOUT = (10, 30)
"""Seconds that the API may take to accept a connection, and to answer."""
SILENCE = 600
"""Seconds without an answer after which a job is no longer waited for."""
MAX_PAUSE_S = 10.0
"""Seconds between two looks at a job that has been running for a while."""

Json = dict[str, Any]


class NoAnswerError(StreetsegError):
    """The Kubernetes API cannot answer now, and may later."""


def owner_of(pod: Json) -> Json:
    """What started a pod, as an owner reference: the run's workflow, else the pod itself."""
    metadata = pod["metadata"]
    itself = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    owner = next(iter(metadata.get("ownerReferences", [])), itself)
    return {key: owner[key] for key in itself}


def describe_job(
    name: str,
    pod: Json,
    command: Sequence[str],
    *,
    nodes: int,
    gpus: int,
    runtime: str,
    claim: str,
    mount: Path,
) -> Json:
    """The manifest of a TrainJob whose pods are like the pod of this step.

    They have its image, user, service account, pull secrets and MLflow settings, so that what this
    step may read and write they may too. The job goes when the run's workflow is removed.

    Args:
        name: of the job, at most 50 characters, for the names of its pods are longer.
        pod: the pod of this step.
        command: what each pod runs; the runtime tells ``torchrun`` the rest by variables PET_*.
        nodes: pods.
        gpus: of each pod, with one process for each; 0 for one process on CPUs.
        runtime: the ClusterTrainingRuntime to start from.
        claim: the persistent volume claim that the pods share.
        mount: where they find it.
    """
    step = next(entry for entry in pod["spec"]["containers"] if entry["name"] == "main")
    labels = {"app.kubernetes.io/name": "streetseg", "app.kubernetes.io/component": "training"}
    if run := pod["metadata"].get("labels", {}).get("pipeline/runid"):
        labels["pipeline/runid"] = run
    user = os.getuid()
    trainer: Json = {
        "image": step["image"],
        "command": [command[0]],
        "args": list(command[1:]),
        "numNodes": nodes,
        "numProcPerNode": max(gpus, 1),
        "env": [e for e in step.get("env", []) if e["name"].startswith(ENVIRONMENT)],
    }
    if gpus:
        trainer["resourcesPerNode"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    pods = {
        "serviceAccountName": pod["spec"]["serviceAccountName"],
        "imagePullSecrets": pod["spec"].get("imagePullSecrets", []),
        "securityContext": pod["spec"].get("securityContext", {})
        | {
            "runAsUser": user,
            "runAsGroup": os.getgid(),
            "runAsNonRoot": user != 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "node",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "training", "mountPath": str(mount)},
                    {"name": "shared-memory", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [
            {"name": "training", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    }
    # Istio's proxy would stand between the processes, and outlive them.
    template = {
        "metadata": {"labels": {**labels, "sidecar.istio.io/inject": "false"}},
        "spec": pods,
    }
    replicated = {"name": "node", "template": {"spec": {"template": template}}}
    patch = {"template": {"spec": {"replicatedJobs": [replicated]}}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner_of(pod)]},
        "spec": {
            "runtimeRef": {"name": runtime},
            "trainer": trainer,
            "runtimePatches": [{"manager": "streetseg/pipeline", "trainingRuntimeSpec": patch}],
        },
    }


class TrainJobs:
    """The TrainJobs of the namespace that this step runs in."""

    def __init__(self) -> None:
        """Connect as the service account of the pod; outside of a cluster, by the kubeconfig.

        Raises:
            StreetsegError: there is neither.
        """
        try:
            config.load_incluster_config()
            self.namespace = NAMESPACE.read_text().strip()
        except config.ConfigException:
            try:
                config.load_kube_config()
                context = config.list_kube_config_contexts()[1]["context"]
            except config.ConfigException as error:
                raise StreetsegError(f"no Kubernetes cluster to train on: {error}") from None
            self.namespace = context.get("namespace", "default")
        self.pods, self.objects = client.CoreV1Api(), client.CustomObjectsApi()

    def own_pod(self) -> Json:
        """The pod of this step.

        Raises:
            StreetsegError: not a step of a pipeline, or not allowed to look.
        """
        name = os.environ.get("KFP_POD_NAME")
        if not name:
            raise StreetsegError(
                "KFP_POD_NAME is not set: a train job is started by a step of a Kubeflow pipeline; "
                "to train here, use 'streetseg train' or torchrun"
            )
        found = self._ask(self.pods.read_namespaced_pod, name, self.namespace)
        return client.ApiClient().sanitize_for_serialization(found)

    def find(self, name: str) -> Json | None:
        """The job of this name, if there is one."""
        try:
            return self._ask(self.objects.get_namespaced_custom_object, *self._place, name)
        except _NotFoundError:
            return None

    def check(self, job: Json) -> None:
        """Ask whether the cluster would take a job.

        Raises:
            StreetsegError: it would not: no rights, no such runtime, an old API or none.
        """
        try:
            self._create(job, dry_run="All")
        except _NotFoundError:
            raise StreetsegError(
                f"the cluster knows no TrainJobs in the namespace {self.namespace}: install "
                "Kubeflow Trainer 2.2 or newer"
            ) from None

    def create(self, job: Json) -> None:
        """Start a job, unless one of this name is there."""
        with suppress(_ConflictError):
            self._create(job)

    def delete(self, name: str) -> None:
        """Ask for a job and its pods to be ended; the pods are told by SIGTERM."""
        delete = self.objects.delete_namespaced_custom_object
        with suppress(_NotFoundError):
            self._ask(delete, *self._place, name, propagation_policy="Foreground")

    def remove(self, name: str) -> None:
        """Delete a job, and return when its pods are gone too."""
        self.delete(name)
        self._watch(lambda: self.find(name) is None)

    def wait(self, name: str) -> None:
        """Wait for a job to be complete, with a line for each change of its state.

        Raises:
            StreetsegError: it failed, was deleted, or the API has not answered for ten minutes.
        """
        shown = ""

        def complete() -> bool:
            nonlocal shown
            job = self.find(name)
            if job is None:
                raise StreetsegError(
                    f"train job {name} was deleted while it ran: a retried run goes on from its "
                    "checkpoint"
                )
            state, why = state_of(job)
            if state == "failed":
                raise StreetsegError(
                    f"train job {name} failed: {why}; its logs: {self.kubectl('logs', name)} "
                    "--prefix --tail=-1"
                )
            if state == "waiting for its pods":
                why = f"if it takes long: {self.kubectl('describe pods', name)}"
            line = f"train job {name}: {state}" + (f" ({why})" if why else "")
            if line != shown:
                print(line, flush=True)
                shown = line
            return state == "complete"

        self._watch(complete)

    def kubectl(self, verb: str, name: str) -> str:
        """A command that shows the pods of a job."""
        return f"kubectl -n {self.namespace} {verb} -l jobset.sigs.k8s.io/jobset-name={name}"

    @property
    def _place(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, TRAINJOBS

    def _create(self, job: Json, **options: str) -> None:
        """What an API does not know it would drop in silence if it were not asked to be strict."""
        create = self.objects.create_namespaced_custom_object
        self._ask(create, *self._place, job, field_validation="Strict", **options)

    def _watch(self, done: Callable[[], bool]) -> None:
        """Look again and again until it is done; the API may be silent for a while."""
        heard, pause = time.monotonic(), 0.2
        while True:
            try:
                if done():
                    return
                heard = time.monotonic()
            except NoAnswerError:
                if time.monotonic() - heard > SILENCE:
                    raise
            time.sleep(pause)
            pause = min(1.5 * pause, MAX_PAUSE_S)

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, _request_timeout=TIMEOUT, **options)
        except client.ApiException as error:
            raise _refusal(error) from None
        except HTTPError as error:
            host = client.Configuration.get_default_copy().host
            reason = one_line(error)
            raise NoAnswerError(f"the Kubernetes API at {host} does not answer: {reason}") from None


def state_of(job: Json) -> tuple[str, str]:
    """The state of a job, and why it is so if the cluster says."""
    status = job.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
    for kind in ("Failed", "Complete", "Suspended"):
        if found := conditions.get(kind):
            why = f"{found['reason']}: {found['message']}" if kind != "Complete" else ""
            return kind.lower(), why
    running = any(entry["ready"] for entry in status.get("jobsStatus", []))
    return ("running" if running else "waiting for its pods"), ""


class _NotFoundError(StreetsegError):
    """404."""


class _ConflictError(StreetsegError):
    """409."""


def _refusal(error: client.ApiException) -> StreetsegError:
    """What the API said, and what to do about it."""
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.reason
    said = f"the Kubernetes API refuses ({error.status}): {' '.join(str(message).split())}"
    if error.status == 404:
        return _NotFoundError(said)
    if error.status == 409:
        return _ConflictError(said)
    if error.status == 429 or error.status >= 500:
        return NoAnswerError(said)
    if error.status == 403 and "admission webhook" not in said:
        said += ": give the service account of this step its rights by deploy/trainjob-rbac.yaml"
    if "unknown field" in said:
        said += ": install Kubeflow Trainer 2.2 or newer"
    return StreetsegError(said)
