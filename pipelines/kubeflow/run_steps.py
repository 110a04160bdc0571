"""The steps of a Kubeflow run, from its tasks: how they went, and which one failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kfp_server_api import V2beta1PipelineTaskDetail, V2beta1Run

NEVER = datetime.fromtimestamp(0, UTC)
ATTEMPT = re.compile(r"\(\d+\)$")
EXECUTOR = re.compile(r"executor(\(\d+\))?")
"""The API's names for the pod in which the code of a step runs, and for its attempts."""


@dataclass(frozen=True)
class Step:
    """A step of a run."""

    name: str
    state: str
    """succeeded, cached, running, pending, failed, ..."""
    duration: timedelta | None
    """None before it starts."""
    pod: str
    """Of its last attempt; empty before there is one, and if its outputs were cached."""
    error: str


def steps_of(run: V2beta1Run) -> list[Step]:
    """The steps that have begun, in the order in which they began.

    The API lists every node of the workflow: for each step a driver, which resolves its inputs, and
    a group of the step's name with its executor. A driver is listed only if it failed.
    """
    tasks = (run.run_details and run.run_details.task_details) or []
    by_node = {_node(task.pod_name): task for task in tasks}
    steps: dict[str, Step] = {}
    for task in sorted(tasks, key=lambda task: (task.start_time or NEVER, task.task_id or "")):
        executor = _executor(task, by_node)
        failed_driver = task.state == "FAILED" and task.display_name.endswith("-driver")
        if EXECUTOR.fullmatch(task.display_name) or not (executor or failed_driver):
            continue
        name = ATTEMPT.sub("", task.display_name)
        cached = executor is not None and executor.state == "SKIPPED"
        steps[name] = Step(
            name,
            "cached" if cached else (task.state or "pending").lower(),
            duration_of(task.start_time, task.end_time),
            "" if cached else (executor or task).pod_name,
            _error_of(task),
        )
    return list(steps.values())


def failure_of(run: V2beta1Run) -> str:
    """One line on a run that did not succeed: which steps failed, and why if the API says so."""
    outcome = {"FAILED": "failed", "CANCELED": "was canceled"}.get(run.state, run.state.lower())
    failed = [step for step in steps_of(run) if step.state == "failed"]
    names = f" at {', '.join(step.name for step in failed)}" if failed else ""
    reason = next((step.error for step in failed if step.error), "") or _error_of(run)
    return f"run {run.run_id} {outcome}{names}{f': {reason[:300]}' if reason else ''}"


def duration_of(start: datetime | None, end: datetime | None) -> timedelta | None:
    """From start to end, or to now; the API gives 1970 or the year 1 for what has not ended."""
    if start is None or start <= NEVER:
        return None
    ended = end if end and end >= start else datetime.now(UTC)
    return timedelta(seconds=round((ended - start).total_seconds()))


def _error_of(task: V2beta1PipelineTaskDetail | V2beta1Run) -> str:
    """The error of a task or run in one line; empty without one."""
    return " ".join(((task.error and task.error.message) or "").split())


def _executor(
    task: V2beta1PipelineTaskDetail, by_node: dict[str, V2beta1PipelineTaskDetail]
) -> V2beta1PipelineTaskDetail | None:
    """The pod of a step: that of the last attempt, if there were several."""
    children = [by_node.get(_node(child.pod_name)) for child in task.child_tasks or []]
    pods = [child for child in children if child and EXECUTOR.fullmatch(child.display_name)]
    return (_executor(pods[-1], by_node) or pods[-1]) if pods else None


def _node(name: str | None) -> str:
    """The number that a workflow's node and its pod have in common."""
    return (name or "").rpartition("-")[2]
