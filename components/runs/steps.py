"""The steps of a run, from the nodes of the Argo workflow that carries it out.

Kubeflow makes of each step a driver pod, which resolves its inputs, and a group with the executor
in it: a pod, several of them in a retry, or nothing if the outputs are cached. Each of these nodes
may itself be a retry with its attempts below it, by the defaults that Kubeflow gives to Argo.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from streetseg.core.errors import StreetsegError

MAX_NODES_BYTES = 64 << 20
"""Of the nodes once they are decompressed; those of 10,000 steps have about 20 MB."""
NEVER = datetime(1970, 1, 2, tzinfo=UTC)
"""The API gives 1970 or the year 1 for a time that has not come."""
STATES = {
    "Succeeded": "succeeded",
    "Failed": "failed",
    "Error": "failed",
    "Running": "running",
}
"""Of a phase of Argo's; any other is pending."""
STARTING = ("PodInitializing", "ContainerCreating")
"""Messages of every pod that starts: they say nothing."""
NO_MORE_RETRIES = "No more retries left"
"""Argo's message on a step whose last attempt failed, which says why."""
NOT_TAKEN = "not taken"
RETRY = re.compile(r"\(\d+\)(?=\.|$)")
"""What Argo adds to the name of a node for each attempt. Kubeflow lets it try again every node that
ends in an error, groups too; and a run that is retried has the old nodes beside the new ones."""
BRANCH = re.compile(r"condition-\d+")
"""How Kubeflow calls a branch, whatever name it was given."""


@dataclass(frozen=True)
class Attempt:
    """A pod that carries out a step."""

    number: int
    """From 1."""
    state: str
    """pending, running, succeeded or failed."""
    message: str = ""
    """Argo's, such as ``main: Error (exit code 1)``."""
    pod: str = ""
    node: str = ""
    """Its id in the workflow, by which an archived log is found."""
    is_driver: bool = False
    """Whether it is the driver of the step, whose own code never ran."""


@dataclass(frozen=True)
class Step:
    """A step of a run, or a branch of its graph."""

    name: str
    """With the indices of the loops around it: ``item[3]``."""
    state: str
    """pending, running, succeeded, cached, failed; of a branch, ``taken`` or ``not taken``."""
    started: datetime | None = None
    finished: datetime | None = None
    message: str = ""
    """Why it waits or has failed, as Argo says it."""
    attempts: tuple[Attempt, ...] = ()
    path: str = ""
    """Of its node in the workflow: what tells it from another step of the same name."""

    @property
    def duration(self) -> timedelta | None:
        """Up to now if it has not ended; None before the start, and for what takes no time."""
        if self.state in ("taken", NOT_TAKEN, "cached"):
            return None
        return duration_of(self.started, self.finished)

    @property
    def attempt(self) -> Attempt | None:
        """The last one; None before the first, and if the outputs were cached."""
        return self.attempts[-1] if self.attempts else None


def read_nodes(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes in the status of a workflow, by id; Argo compresses them if they are many.

    Raises:
        StreetsegError: they are damaged, or larger than ``MAX_NODES_BYTES``.
    """
    packed = status.get("compressedNodes")
    if not packed:
        return status.get("nodes") or {}
    inflate = zlib.decompressobj(wbits=31)  # gzip
    try:
        text = inflate.decompress(base64.b64decode(packed), MAX_NODES_BYTES)
        if not inflate.eof:
            raise StreetsegError(
                f"the run has more than {MAX_NODES_BYTES >> 20} MB of nodes: look at it in the UI"
            )
        return json.loads(text)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise StreetsegError(f"the nodes of the run are damaged: {error}") from None


def was_terminated(workflow: Mapping[str, Any]) -> bool:
    """Whether a run was stopped from outside.

    Kubeflow gives its workflow a deadline of 0 s, which a retry lifts again; Argo's own commands
    name a strategy.
    """
    spec = workflow.get("spec") or {}
    return spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))


def read_steps(
    workflow: Mapping[str, Any], branches: Mapping[str, str], is_canceled: bool = False
) -> list[Step]:
    """The steps and branches that have begun, in the order in which they began.

    What was left out because something before it failed is no step.

    Args:
        workflow: the Argo workflow, with ``metadata`` and ``status``.
        branches: the name that each branch was given, by that of its component.
        is_canceled: whether the run was terminated. The driver of a group that was stopped with it
            says nothing of the group, and with Argo's retries it may be one that began over again.

    Raises:
        StreetsegError: see :func:`read_nodes`.
    """
    nodes = [
        node
        for node in read_nodes(workflow.get("status") or {}).values()
        if node.get("phase") != "Omitted"
    ]
    name = (workflow.get("metadata") or {}).get("name", "")
    by_path: dict[str, list[dict]] = {}
    for node in sorted(nodes, key=lambda node: node.get("startedAt") or ""):
        by_path.setdefault(RETRY.sub("", node.get("name") or ""), []).append(node)
    steps: dict[str, Step] = {}
    for path, each in by_path.items():
        if (each[0].get("templateName") or "").endswith("system-container-executor"):
            steps[path] = _step(path, each, by_path.get(f"{path}.executor", []), name)
        elif BRANCH.fullmatch(path.rpartition(".")[2]):
            steps[path] = _branch(path, each, branches)
        elif (
            path.endswith("-driver")
            and not (is_canceled and _is_of_group(each))
            and (step := _driver_step(path, each, name, branches))
        ):
            steps.setdefault(step.path, step)
    closed = (_close(step, workflow.get("status") or {}) for step in steps.values())
    return sorted(closed, key=lambda step: (step.started or NEVER, step.path))


def duration_of(start: datetime | None, end: datetime | None) -> timedelta | None:
    """From start to end, or to now if that has not come; None before the start."""
    if start is None or start < NEVER:
        return None
    ended = end if end and end >= start else datetime.now(UTC)
    return timedelta(seconds=max(0, round((ended - start).total_seconds())))


def parse_time(text: str | None) -> datetime | None:
    """A time of the API's; None if there is none, or if it has not come."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return time if time >= NEVER else None


def _step(path: str, groups: list[dict], inside: list[dict], workflow: str) -> Step:
    group = _outermost(groups)
    attempts = _attempts(inside, workflow)
    start = group.get("startedAt") or ""
    begun = [each for each in inside if (each.get("startedAt") or "") >= start]
    now = [attempt for attempt in attempts if attempt.node in {each.get("id") for each in begun}]
    last = now[-1] if now else Attempt(1, "pending")
    told = [_message(each) for each in (group, *begun) if each.get("type") == "Retry"]
    silent = ("", NO_MORE_RETRIES, last.message)
    retry = "; ".join(dict.fromkeys(message for message in told if message not in silent))
    state, message = STATES.get(group.get("phase") or "", "pending"), last.message
    if state == "running" and (last.state == "pending" or (last.state == "failed" and retry)):
        state, message = "pending", retry if last.state == "failed" else message
    elif state == "succeeded" and not now:
        state = "cached"
    elif state == "failed" and retry:
        message = f"{retry}; {message}" if message else retry
    return Step(
        _name(path),
        state,
        parse_time(group.get("startedAt")),
        parse_time(group.get("finishedAt")),
        message if state in ("pending", "failed") else "",
        attempts,
        path,
    )


def _close(step: Step, status: Mapping[str, Any]) -> Step:
    """The step; failed if the workflow has ended and Argo has left it open."""
    if STATES.get(status.get("phase") or "") not in ("succeeded", "failed"):
        return step
    if step.state not in ("running", "pending"):
        return step
    message = step.message or "stopped with the run"
    return replace(
        step, state="failed", finished=parse_time(status.get("finishedAt")), message=message
    )


def _branch(path: str, nodes: list[dict], branches: Mapping[str, str]) -> Step:
    node = _outermost(nodes)
    given = branches.get(node.get("templateName") or "") or _name(path)
    state = NOT_TAKEN if node.get("phase") == "Skipped" else "taken"
    return Step(given, state, parse_time(node.get("startedAt")), path=path)


def _driver_step(
    path: str, nodes: list[dict], workflow: str, branches: Mapping[str, str]
) -> Step | None:
    """A step whose driver has failed or is at work; None once the driver is done."""
    node, attempts = _outermost(nodes), _attempts(nodes, workflow, are_drivers=True)
    state = STATES.get(node.get("phase") or "", "pending")
    message = _message(node) or (attempts[-1].message if attempts else "")
    if state == "succeeded" or (_is_of_group(nodes) and state != "failed" and not message):
        return None
    of = _name(path.removesuffix("-driver"))
    return Step(
        branches.get(f"comp-{of}", of),
        "failed" if state == "failed" else "pending",
        parse_time(node.get("startedAt")),
        parse_time(node.get("finishedAt")),
        message,
        attempts,
        path.removesuffix("-driver"),
    )


def _is_of_group(drivers: list[dict]) -> bool:
    """Whether the drivers of one path are those of a group of steps, not of a step."""
    return drivers[0].get("templateName") != "system-container-driver"


def _outermost(nodes: list[dict]) -> dict[str, Any]:
    """Of the nodes of one path, by start: the last that is no attempt within another."""
    outer = [
        node for node in nodes if not RETRY.search((node.get("name") or "").rpartition(".")[2])
    ]
    return (outer or nodes)[-1]


def _attempts(nodes: list[dict], workflow: str, are_drivers: bool = False) -> tuple[Attempt, ...]:
    """The pods among the nodes of one path, by start."""
    pods = [node for node in nodes if node.get("type") == "Pod"]
    return tuple(
        Attempt(
            number,
            STATES.get(pod.get("phase") or "", "pending"),
            _message(pod),
            f"{workflow}-{pod.get('templateName')}-{(pod.get('id') or '').rpartition('-')[2]}",
            pod.get("id") or "",
            are_drivers,
        )
        for number, pod in enumerate(pods, 1)
    )


def _message(node: Mapping[str, Any]) -> str:
    message = node.get("message") or ""
    return "" if message in STARTING else message


def _name(path: str) -> str:
    """The name at the end of a path, with the indices of the loops on the way."""
    indices = re.findall(r"\((\d+):[^)]*\)", path)
    return (path.rpartition(".")[2] or "?") + "".join(f"[{index}]" for index in indices)
