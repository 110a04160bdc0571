"""The manifest of a TrainJob, as ``trainer.kubeflow.org/v1alpha1`` takes it.

It uses ``runtimePatches``, which Kubeflow Trainer has since version 2.2 (older ones refuse the
job).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"
ENVIRONMENT = ("MLFLOW_", "AWS_")
"""Prefixes of the variables that the pods need to reach MLflow and its store."""

Json = dict[str, Any]


@dataclass(frozen=True)
class TrainJobSpec:
    """What a TrainJob gets from the cluster."""

    claim: str
    """Persistent volume claim (ReadWriteMany) that the step and the pods share."""
    nodes: int = 1
    """Pods."""
    gpus: int = 1
    """GPUs of each pod, with one process for each; 0 for one process on CPUs."""
    runtime: str = "torch-distributed"
    """ClusterTrainingRuntime to start from."""
    mount: str = "/mnt/training"
    """Where the volume is mounted, in the step and in the pods."""
    cpus: str = ""
    """CPU cores of each pod; empty for what the runtime says, as is the next."""
    memory: str = ""


def owner_of(pod: Json) -> Json:
    """What started a pod, as an owner reference: the run's workflow, or else the pod itself."""
    metadata = pod["metadata"]
    itself = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    owner = next(iter(metadata.get("ownerReferences", [])), itself)
    return {key: owner[key] for key in itself}


def build_manifest(name: str, pod: Json, command: Sequence[str], spec: TrainJobSpec) -> Json:
    """The manifest of a TrainJob whose pods are like the pod of this step.

    They have its image, user, service account, pull secrets and MLflow settings, and so its rights.
    The job is removed with the run's workflow.

    Args:
        name: of the job, at most 50 characters, because the names of its pods are longer.
        pod: the pod of this step.
        command: what each pod runs; the runtime sets the variables PET_* that ``torchrun`` reads.
        spec: nodes, GPUs, runtime and volume.
    """
    labels = {"app.kubernetes.io/name": "streetseg", "app.kubernetes.io/component": "training"}
    if run := pod["metadata"].get("labels", {}).get("pipeline/runid"):
        labels["pipeline/runid"] = run
    template = {
        # Istio's proxy would intercept the traffic between the processes, and outlive them.
        "metadata": {"labels": {**labels, "sidecar.istio.io/inject": "false"}},
        "spec": _pod_spec(pod, spec),
    }
    replicated = {"name": "node", "template": {"spec": {"template": template}}}
    patch = {"template": {"spec": {"replicatedJobs": [replicated]}}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner_of(pod)]},
        "spec": {
            "runtimeRef": {"name": spec.runtime},
            "trainer": _trainer(pod, command, spec),
            "runtimePatches": [{"manager": "streetseg/pipeline", "trainingRuntimeSpec": patch}],
        },
    }


def _trainer(pod: Json, command: Sequence[str], spec: TrainJobSpec) -> Json:
    """Image, command, processes and environment of the pods."""
    step = next(entry for entry in pod["spec"]["containers"] if entry["name"] == "main")
    trainer: Json = {
        "image": step["image"],
        "command": [command[0]],
        "args": list(command[1:]),
        "numNodes": spec.nodes,
        "numProcPerNode": max(spec.gpus, 1),
        "env": [e for e in step.get("env", []) if e["name"].startswith(ENVIRONMENT)],
    }
    gpus = str(spec.gpus) if spec.gpus else ""
    limits = {"cpu": spec.cpus, "memory": spec.memory, "nvidia.com/gpu": gpus}
    if any(limits.values()):
        given = {resource: limit for resource, limit in limits.items() if limit}
        trainer["resourcesPerNode"] = {"limits": given}
    return trainer


def _pod_spec(pod: Json, spec: TrainJobSpec) -> Json:
    """Account, user and volumes of the pods."""
    user = os.getuid()
    return {
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
                    {"name": "training", "mountPath": spec.mount},
                    {"name": "shared-memory", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [
            {"name": "training", "persistentVolumeClaim": {"claimName": spec.claim}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    }
