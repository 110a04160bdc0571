"""The steps of a run, from the nodes of the Argo workflow that carries it out.

Kubeflow makes of each step a driver pod, which resolves its inputs, and a group with the executor
in it: a pod, several of them in a retry, or nothing if the outputs are cached.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
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


def read_steps(workflow: Mapping[str, Any], branches: Mapping[str, str]) -> list[Step]:
    """The steps and branches that have begun, in the order in which they began.

    What was left out because something before it failed is no step.

    Args:
        workflow: the Argo workflow, with ``metadata`` and ``status``.
        branches: the name that each branch was given, by that of its component.

    Raises:
        StreetsegError: see :func:`read_nodes`.
    """
    nodes = read_nodes(workflow.get("status") or {})
    within: dict[str, list[dict]] = {}
    for node in nodes.values():
        within.setdefault(node.get("boundaryID", ""), []).append(node)
    workflow_name = (workflow.get("metadata") or {}).get("name", "")
    steps: dict[str, Step] = {}
    for node in nodes.values():
        if node.get("phase") == "Omitted":
            continue
        template, path = node.get("templateName") or "", node.get("name") or ""
        if template.endswith("system-container-executor"):
            steps[path] = _step(node, within.get(node.get("id", ""), []), workflow_name)
        elif BRANCH.fullmatch(node.get("displayName") or ""):
            steps[path] = _branch(node, branches)
        elif path.endswith("-driver") and (step := _driver_step(node, nodes, workflow_name)):
            steps.setdefault(path.removesuffix("-driver"), step)
    return sorted(steps.values(), key=lambda step: (step.started or NEVER, step.path))


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


def _step(node: Mapping[str, Any], inside: list[dict], workflow: str) -> Step:
    pods = [each for each in inside if each.get("type") == "Pod"]
    attempts = tuple(
        sorted((_attempt(pod, workflow) for pod in pods), key=lambda attempt: attempt.number)
    )
    state = STATES.get(node.get("phase") or "", "pending")
    retry = next((each.get("message") or "" for each in inside if each.get("type") == "Retry"), "")
    last = attempts[-1] if attempts else Attempt(1, "pending")
    message = last.message
    if state == "running" and (last.state == "pending" or (last.state == "failed" and retry)):
        state, message = "pending", retry if last.state == "failed" else message
    elif state == "succeeded" and not attempts:
        state = "cached"
    elif state == "failed" and retry not in ("", NO_MORE_RETRIES):
        message = f"{retry}; {message}"
    return Step(
        _name(node),
        state,
        parse_time(node.get("startedAt")),
        parse_time(node.get("finishedAt")),
        message if state in ("pending", "failed") else "",
        attempts,
        node.get("name") or "",
    )


def _branch(node: Mapping[str, Any], branches: Mapping[str, str]) -> Step:
    given = branches.get(node.get("templateName") or "") or _name(node)
    state = NOT_TAKEN if node.get("phase") == "Skipped" else "taken"
    return Step(given, state, parse_time(node.get("startedAt")), path=node.get("name") or "")


def _driver_step(node: Mapping[str, Any], nodes: Mapping[str, dict], workflow: str) -> Step | None:
    """A step whose driver has failed or is at work; None once the driver is done."""
    state = STATES.get(node.get("phase") or "", "pending")
    of_step = node.get("templateName") == "system-container-driver"
    if state == "succeeded" or not (of_step or state == "failed" or _message(node)):
        return None
    pods = [node]
    if node.get("type") == "Retry":
        pods = [nodes[each] for each in node.get("children") or [] if each in nodes]
    attempts = tuple(_attempt(pod, workflow, is_driver=True) for pod in pods)
    return Step(
        _name(node).removesuffix("-driver"),
        "failed" if state == "failed" else "pending",
        parse_time(node.get("startedAt")),
        parse_time(node.get("finishedAt")),
        _message(node) or next((each.message for each in attempts[::-1]), ""),
        attempts,
        (node.get("name") or "").removesuffix("-driver"),
    )


def _attempt(pod: Mapping[str, Any], workflow: str, is_driver: bool = False) -> Attempt:
    retried = re.search(r"\((\d+)\)$", pod.get("displayName") or "")
    node = pod.get("id") or ""
    return Attempt(
        int(retried[1]) + 1 if retried else 1,
        STATES.get(pod.get("phase") or "", "pending"),
        _message(pod),
        f"{workflow}-{pod.get('templateName')}-{node.rpartition('-')[2]}",
        node,
        is_driver,
    )


def _message(node: Mapping[str, Any]) -> str:
    message = node.get("message") or ""
    return "" if message in STARTING else message


def _name(node: Mapping[str, Any]) -> str:
    """The name of a node, with the indices of the loops around it."""
    indices = re.findall(r"\((\d+):[^)]*\)", node.get("name") or "")
    return (node.get("displayName") or "?") + "".join(f"[{index}]" for index in indices)
