"""Why a step waits or has failed, in words: from the messages of Argo and Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from components.runs.steps import Step
from streetseg.core.errors import one_line

UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
MISSING = re.compile(r'(secret|configmap) "([^"]+)" not found')
MISSING_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) (?:\S*/)?(\S+)")
IMAGE = re.compile(r'(?:pull(?:ing)?|for) image "([^"]+)"|image name "([^"]+)"')


def why_waiting(step: Step, devices: Mapping[str, str]) -> str:
    """Why a step is pending, in one line; empty if nothing is known.

    Args:
        step: which is pending.
        devices: what each step asks for beside CPUs and memory, such as ``2 nvidia.com/gpu``.
    """
    message = one_line(step.message, 300)
    if backoff := re.match(r"Backoff for (.*)", message):
        pause = sum(
            int(number) * UNITS_S[unit]
            for number, unit in re.findall(r"(\d+) (second|minute|hour|day)", backoff[1])
        )
        return f"waits {pause} s before attempt {len(step.attempts) + 1}"
    if claim := CLAIM.search(message):
        return f"claim {claim[1]} is missing"
    if missing := MISSING.search(message):
        return f"{missing[1]} {missing[2]} is missing"
    if key := MISSING_KEY.search(message):
        return f"{key[2].lower()} {key[3].rstrip('.')} has no key {key[1]}"
    if message.startswith(("ImagePullBackOff", "ErrImagePull", "InvalidImageName")):
        image = IMAGE.search(message)
        name = (image[1] or image[2]) if image else ""
        return f"image {name} cannot be pulled" if name else message
    if message.startswith("Unschedulable: "):
        return _unschedulable(message, devices.get(step.name.partition("[")[0], ""))
    return message


def why_failed(step: Step, error: str = "") -> str:
    """Why a step has failed, in one line: Argo's message, then the error of the step itself."""
    message = one_line(step.message, 300)
    if step.attempt and step.attempt.is_driver:
        message = f"its driver: {message}" if message else "its driver"
    if "OOMKilled" in message and not error:
        error = "it needs more memory than it may have"
    return "; ".join(part for part in (message, error) if part)


def _unschedulable(message: str, device: str) -> str:
    """The scheduler's message without the part on preemption, and shorter if one thing lacks."""
    text = re.sub(r"\s*(no new claims to deallocate, )?preemption: .*", "", message)
    text = text.removeprefix("Unschedulable: ").rstrip(". ")
    lacking = re.findall(r"\d+ Insufficient ([^,.\s]+(?:\.[^,.\s]+)*)", text)
    reasons = re.sub(r"^\d+/\d+ nodes are available: ", "", text)
    if len(lacking) == 1 and re.fullmatch(r"\d+ Insufficient \S+", reasons):
        amount = device if device.endswith(f" {lacking[0]}") else f"enough {lacking[0]}"
        return f"no node has {amount}"
    return f"no node suits: {reasons}"
