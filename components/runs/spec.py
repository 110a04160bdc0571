"""What a run's pipeline spec says of its steps: names of branches, and devices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(?:pipelinechannel--)?([^']+)'\]\}\}")


def branch_names(spec: Mapping[str, Any]) -> dict[str, str]:
    """The name given to each branch by ``dsl.If(name=...)``, by the name of its component."""
    return {
        _component(task): name
        for _, task in _tasks(spec)
        if (name := (task.get("taskInfo") or {}).get("name"))
    }


def step_names(spec: Mapping[str, Any]) -> set[str]:
    """The steps that run code, in contrast to groups of steps."""
    components = _ir(spec).get("components") or {}
    return {
        name
        for name, task in _tasks(spec)
        if "executorLabel" in (components.get(_component(task)) or {})
    }


def devices(spec: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, str]:
    """What each step asks for beside CPUs and memory, such as ``2 nvidia.com/gpu``.

    Args:
        spec: the pipeline spec.
        parameters: of the run; the number of devices may be one of them.
    """
    ir = _ir(spec)
    inputs = ((ir.get("root") or {}).get("inputDefinitions") or {}).get("parameters") or {}
    values = {name: each.get("defaultValue") for name, each in inputs.items()} | {**parameters}
    executors = (ir.get("deploymentSpec") or {}).get("executors") or {}
    found = {}
    for name, task in _tasks(spec):
        label = ((ir.get("components") or {}).get(_component(task)) or {}).get("executorLabel")
        container = (executors.get(label) or {}).get("container") or {}
        device = (container.get("resources") or {}).get("accelerator") or {}
        kind = device.get("resourceType") or device.get("type")
        count = str(device.get("resourceCount") or device.get("count") or "")
        if parameter := PARAMETER.fullmatch(count):
            count = str(values.get(parameter[1]) or "")
        if kind and count:
            found[name] = f"{count} {kind}"
    return found


def _tasks(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict]]:
    """Every task, with its name."""
    ir = _ir(spec)
    for component in (ir.get("root") or {}, *(ir.get("components") or {}).values()):
        yield from ((component.get("dag") or {}).get("tasks") or {}).items()


def _component(task: Mapping[str, Any]) -> str:
    return (task.get("componentRef") or {}).get("name", "")


def _ir(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec itself; with settings of pods, the API gives both in one mapping."""
    return spec.get("pipeline_spec") or spec
