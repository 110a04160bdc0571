"""TrainJobs of Kubeflow Trainer: created, watched and deleted through the Kubernetes API."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from components.trainjob.manifest import GROUP, VERSION, Json
from streetseg.core.errors import StreetsegError, one_line
from streetseg.core.retry import Backoff

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT_S = (10, 30)
"""Seconds that the API may take to accept a connection, and to answer."""
MAX_SILENCE_S = 600
"""Seconds without an answer after which a job is no longer waited for."""
MAX_PAUSE_S = 10.0
"""Seconds between two requests for the state of a job that has been running for a while."""


class UnavailableError(StreetsegError):
    """The Kubernetes API cannot answer now, but may later."""


class NotFoundError(StreetsegError):
    """The Kubernetes API answers 404."""


class ConflictError(StreetsegError):
    """The Kubernetes API answers 409."""


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
        self._pods, self._objects = client.CoreV1Api(), client.CustomObjectsApi()
        self._trainjobs = GROUP, VERSION, self.namespace, "trainjobs"

    def own_pod(self) -> Json:
        """The pod of this step.

        Raises:
            StreetsegError: not a step of a pipeline, or not allowed to read it.
        """
        name = os.environ.get("KFP_POD_NAME")
        if not name:
            raise StreetsegError(
                "KFP_POD_NAME is not set: a train job is started by a step of a Kubeflow pipeline; "
                "to train here, use 'streetseg train' or torchrun"
            )
        pod = _call(self._pods.read_namespaced_pod, name, self.namespace)
        return client.ApiClient().sanitize_for_serialization(pod)

    def find(self, name: str) -> Json | None:
        """The job of this name, or None."""
        try:
            return _call(self._objects.get_namespaced_custom_object, *self._trainjobs, name)
        except NotFoundError:
            return None

    def check(self, job: Json) -> None:
        """Ask whether the cluster would accept a job.

        Raises:
            StreetsegError: it would not: no rights, no such runtime, an old API or none.
        """
        try:
            self._create(job, dry_run="All")
        except NotFoundError:
            raise StreetsegError(
                f"the cluster knows no TrainJobs in the namespace {self.namespace}: install "
                "Kubeflow Trainer 2.2 or newer"
            ) from None

    def create(self, job: Json) -> None:
        """Start a job, unless there is one of this name."""
        with suppress(ConflictError):
            self._create(job)

    def delete(self, name: str) -> None:
        """Ask for a job to be deleted; its pods get SIGTERM."""
        delete = self._objects.delete_namespaced_custom_object
        with suppress(NotFoundError):
            _call(delete, *self._trainjobs, name, propagation_policy="Foreground")

    def remove(self, name: str) -> None:
        """Delete a job, and return when its pods are gone too."""
        self.delete(name)
        _wait_until(lambda: self.find(name) is None)

    def wait(self, name: str) -> None:
        """Wait until a job is complete; print a line whenever its state changes.

        Raises:
            StreetsegError: it failed, was deleted, or the API has not answered for ten minutes.
        """
        last_line = ""

        def complete() -> bool:
            nonlocal last_line
            job = self.find(name)
            if job is None:
                raise StreetsegError(
                    f"train job {name} was deleted while it ran: a retried run goes on from its "
                    "checkpoint"
                )
            state, reason = state_of(job)
            if state == "failed":
                raise StreetsegError(
                    f"train job {name} failed: {reason}; its logs: {self._kubectl('logs', name)} "
                    "--prefix --tail=-1"
                )
            if state == "waiting for its pods":
                reason = f"if it takes long: {self._kubectl('describe pods', name)}"
            line = f"train job {name}: {state}" + (f" ({reason})" if reason else "")
            if line != last_line:
                print(line, flush=True)
                last_line = line
            return state == "complete"

        _wait_until(complete)

    def _kubectl(self, verb: str, name: str) -> str:
        """A command that shows the pods of a job."""
        return f"kubectl -n {self.namespace} {verb} -l jobset.sigs.k8s.io/jobset-name={name}"

    def _create(self, job: Json, **options: str) -> None:
        """Create a job; unless validation is strict, the API drops fields that it does not know."""
        create = self._objects.create_namespaced_custom_object
        _call(create, *self._trainjobs, job, field_validation="Strict", **options)


def state_of(job: Json) -> tuple[str, str]:
    """The state of a job, and the reason that the cluster gives, if any."""
    status = job.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
    for kind in ("Failed", "Complete", "Suspended"):
        if condition := conditions.get(kind):
            reason = f"{condition['reason']}: {condition['message']}" if kind != "Complete" else ""
            return kind.lower(), reason
    running = any(entry["ready"] for entry in status.get("jobsStatus", []))
    return ("running" if running else "waiting for its pods"), ""


def _wait_until(condition: Callable[[], bool]) -> None:
    """Check a condition until it holds; the API may be unavailable for ``MAX_SILENCE_S``."""
    last_answer, backoff = time.monotonic(), Backoff(0.3, MAX_PAUSE_S)
    while True:
        try:
            if condition():
                return
            last_answer = time.monotonic()
        except UnavailableError:
            if time.monotonic() - last_answer > MAX_SILENCE_S:
                raise
        time.sleep(backoff.next())


def _call(request: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return request(*arguments, _request_timeout=TIMEOUT_S, **options)
    except client.ApiException as error:
        raise _refusal(error) from None
    except HTTPError as error:
        host = client.Configuration.get_default_copy().host
        raise UnavailableError(
            f"the Kubernetes API at {host} does not answer: {one_line(error)}"
        ) from None


def _refusal(error: client.ApiException) -> StreetsegError:
    """What the API answered, and what to do about it."""
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.reason
    line = f"the Kubernetes API refuses ({error.status}): {' '.join(str(message).split())}"
    if error.status == 404:
        return NotFoundError(line)
    if error.status == 409:
        return ConflictError(line)
    if error.status == 429 or error.status >= 500:
        return UnavailableError(line)
    if error.status == 403 and "admission webhook" not in line:
        line += ": give the service account of this step its rights by deploy/trainjob-rbac.yaml"
    if "unknown field" in line:
        line += ": install Kubeflow Trainer 2.2 or newer"
    return StreetsegError(line)
