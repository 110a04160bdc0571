"""A run as Kubeflow Pipelines tells of it: its state, its steps, their logs."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import kfp_server_api as api

from components.runs.connection import RefusedError, UnreachableError, connect
from components.runs.logs import error_line
from components.runs.reasons import why_failed, why_waiting
from components.runs.spec import branch_names, devices, step_names
from components.runs.steps import (
    BRANCH,
    NEVER,
    NOT_TAKEN,
    Attempt,
    Step,
    parse_time,
    read_steps,
    was_terminated,
)
from streetseg.core.errors import StreetsegError, one_line

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
POLL_S = 5.0
"""Seconds between two requests for the state of a run that is followed."""
MAX_FAILED_POLLS = 24
"""How many times in a row the endpoint may be unreachable while a run is followed."""
ENDED = {
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "was canceled",
    "SKIPPED": "was skipped",
}
"""The final states of a run, in words."""
STOPPED = {"PENDING": "CANCELING", "RUNNING": "CANCELING", "FAILED": "CANCELED"}
"""What the states that Kubeflow gives of a terminated run mean."""
GROUP = re.compile(r"root|exit-handler-\d+|condition-branches-\d+")
"""Kubeflow's own groups of steps among the rows of the v2 API."""
MAX_FAILURES = 3
"""Failed steps that are named in one line."""


@dataclass(frozen=True)
class Run:
    """A run at one moment."""

    id: str
    state: str
    """PENDING, RUNNING, CANCELING, SUCCEEDED, FAILED, CANCELED, ..."""
    steps: list[Step]
    devices: dict[str, str] = field(default_factory=dict)
    """What each step asks for beside CPUs and memory, such as ``2 nvidia.com/gpu``."""

    @property
    def has_ended(self) -> bool:
        """Whether its state is final."""
        return self.state in ENDED

    @property
    def failed(self) -> list[Step]:
        """The steps that have failed."""
        return [step for step in self.steps if step.state == "failed"]

    def reason(self, step: Step) -> str:
        """Why a step waits or has failed, as far as the workflow says it; empty if it does not."""
        if step.state == "pending":
            return why_waiting(step, self.devices)
        return why_failed(step) if step.state == "failed" else ""


class RunReader:
    """The API of a Kubeflow Pipelines, as far as it tells of runs."""

    def __init__(self, url: str, token_file: Path | None) -> None:
        """Set the reader up; nothing is sent yet.

        Args:
            url: with http:// or https://; empty for the endpoint of the cluster that this runs in.
            token_file: see :func:`components.runs.connection.connect`.

        Raises:
            StreetsegError: no URL and no cluster, or no token in the file.
        """
        if not url and "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise StreetsegError("no endpoint is given: name one by --endpoint or KFP_ENDPOINT")
        self.url = (url or IN_CLUSTER).rstrip("/")
        self._connection = connect(self.url, token_file)
        self._pipelines = api.PipelineServiceApi(self._connection)
        self._runs = api.RunServiceApi(self._connection)
        self._specs: dict[str, Mapping[str, Any]] = {}

    def run(self, run_id: str) -> Run:
        """A run with its steps.

        They come from the Argo workflow behind the v1 API; where that is not served, from the rows
        of the v2 API, without attempts and reasons.

        Raises:
            StreetsegError: there is no such run.
        """
        told, workflow = self.details(run_id), self._workflow(run_id)
        spec, state = self._spec(told), state_of(told, workflow)
        if workflow:
            is_canceled = state in ("CANCELING", "CANCELED")
            steps = read_steps(workflow, branch_names(spec), is_canceled)
        else:
            steps = _steps_of_rows(told, spec)
        parameters = (told.runtime_config and told.runtime_config.parameters) or {}
        return Run(run_id, state, steps, devices(spec, parameters))

    def state(self, told: api.V2beta1Run) -> str:
        """The state of a run; see :func:`state_of`."""
        state = state_of(told)
        return state_of(told, self._workflow(told.run_id)) if state == "FAILED" else state

    def details(self, run_id: str) -> api.V2beta1Run:
        """A run as the v2 API has it.

        Raises:
            StreetsegError: there is no such run.
        """
        try:
            return self._runs.run_service_get_run(run_id)
        except RefusedError as error:
            if error.status == 404:
                raise StreetsegError(f"no run '{run_id}' at {self.url}") from None
            raise

    def follow(self, run_id: str, timeout_s: float | None = None) -> Iterator[Run]:
        """Yield a run every few seconds, until it has ended or the time is over."""
        failed, deadline = 0, time.monotonic() + (timeout_s or float("inf"))
        while True:
            try:
                run = self.run(run_id)
            except UnreachableError:
                failed += 1
                if failed > MAX_FAILED_POLLS or time.monotonic() >= deadline:
                    raise
            else:
                failed = 0
                yield run
                if run.has_ended or time.monotonic() >= deadline:
                    return
            time.sleep(max(0.0, min(POLL_S, deadline - time.monotonic())))

    def log(self, run_id: str, attempt: Attempt) -> str:
        """What a pod has printed, as long as the cluster or Argo's archive keeps it.

        The route is that of the UI's log viewer and not in the documented API. It finds a pod by
        its name and an archived log by the node; it answers with status 200 even if it fails.

        Raises:
            StreetsegError: there is no log, or no answer.
        """
        problem = ""
        for node in dict.fromkeys((attempt.pod, attempt.node)):
            try:
                text = self._connection.get_text(
                    "/apis/v1alpha1/runs/{run}/nodes/{node}/log", run=run_id, node=node
                )
            except RefusedError as error:
                problem = problem or str(error)
                continue
            if not (failure := _failure_in(text)):
                return text
            problem = problem or failure
        raise StreetsegError(f"no log from the endpoint: {problem}")

    def why_failed(self, run: Run, step: Step) -> str:
        """Why a step has failed, in one line: Argo's message, and the error in its own log."""
        error = ""
        if step.attempt:
            with suppress(StreetsegError):  # Argo's message remains
                error = error_line(self.log(run.id, step.attempt))
        return why_failed(step, one_line(error, 500))

    def outcome(self, run: Run) -> str:
        """One line on how a run ended: which steps failed at which attempt, and why.

        Of a canceled run, the step that was stopped: what failed later did so for that reason.
        """
        if run.state == "CANCELED":
            stopped = f" at {run.failed[0].name}" if run.failed else ""
            return f"run {run.id} was canceled{stopped}"
        parts = []
        for step in run.failed[:MAX_FAILURES]:
            number = f", attempt {step.attempt.number}" if step.attempt else ""
            reason = self.why_failed(run, step)
            parts.append(f" at {step.name}{number}{': ' if reason else ''}{reason}")
        if more := len(run.failed) - len(parts) if parts else 0:
            parts.append(f" and at {more} more")
        return f"run {run.id} {ENDED.get(run.state, run.state.lower())}{';'.join(parts)}"

    def _workflow(self, run_id: str) -> dict[str, Any]:
        """The Argo workflow of a run; empty if the endpoint has none, or not the v1 API."""
        try:
            answer = self._connection.get_text("/apis/v1beta1/runs/{run}", run=run_id)
            runtime = json.loads(answer).get("pipeline_runtime") or {}
            return json.loads(runtime.get("workflow_manifest") or "{}")
        except RefusedError as error:
            if error.status in (0, 404, 405, 501):
                return {}
            raise
        except (ValueError, AttributeError):
            return {}

    def _spec(self, run: api.V2beta1Run) -> Mapping[str, Any]:
        """The pipeline spec of a run; empty if its version is deleted."""
        if run.pipeline_spec:
            return run.pipeline_spec
        reference = run.pipeline_version_reference
        version_id = reference and reference.pipeline_version_id
        if not version_id:
            return {}
        if version_id not in self._specs:
            try:
                version = self._pipelines.pipeline_service_get_pipeline_version(
                    reference.pipeline_id, version_id
                )
                self._specs[version_id] = version.pipeline_spec or {}
            except RefusedError:
                self._specs[version_id] = {}
        return self._specs[version_id]


def state_of(run: api.V2beta1Run, workflow: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The state of a run; Kubeflow says FAILED of one that was terminated, and we CANCELED.

    Its history has CANCELING then, but not if it was terminated before Kubeflow had seen it begin:
    the Argo workflow tells it of all of them.
    """
    history = [each.state for each in run.state_history or []]
    while history[-1:] == [run.state]:
        history.pop()
    while "FAILED" in history:  # before a retry
        history = history[history.index("FAILED") + 1 :]
    state = run.state or "PENDING"
    if was_terminated(workflow) or "CANCELING" in history:
        return STOPPED.get(state, state)
    return state


def _failure_in(text: str) -> str:
    """The error in the body of a log that could not be read; empty if it could."""
    if not text.startswith('{"error_message":'):
        return ""
    try:
        return one_line(json.loads(text)["error_message"], 300)
    except ValueError:
        return one_line(text, 300)


def _steps_of_rows(run: api.V2beta1Run, spec: Mapping[str, Any]) -> list[Step]:
    """The steps and branches among the rows of the v2 API."""
    rows = (run.run_details and run.run_details.task_details) or []
    branches = branch_names(spec)
    present = {row.display_name or "" for row in rows}
    names = step_names(spec) or {
        name for name in present if f"{name}-driver" in present and not GROUP.fullmatch(name)
    }
    steps = []
    for row in rows:
        name, state = row.display_name or "", (row.state or "").lower()
        started = _past(row.start_time)
        if BRANCH.fullmatch(name) and state:
            state = NOT_TAKEN if state == "skipped" else "taken"
            steps.append(Step(branches.get(f"comp-{name}", name), state, started, path=name))
        elif name in names and state:
            steps.append(Step(name, state, started, _past(row.end_time), path=name))
    return sorted(steps, key=lambda step: (step.started or NEVER, step.path))


def _past(when: datetime | None) -> datetime | None:
    return parse_time(when.isoformat()) if when else None
