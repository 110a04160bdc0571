"""The GPUs that a training would use."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Accelerator(NamedTuple):
    """A GPU."""

    name: str
    bytes: int
    """Of its memory."""


def accelerators() -> list[Accelerator]:
    """The CUDA GPUs that this process sees, each tried by a small sum.

    Raises:
        RuntimeError: one does not work with this build of PyTorch.
    """
    found = []
    for index in range(torch.cuda.device_count()):
        torch.ones(1024, device=f"cuda:{index}").sum().item()
        properties = torch.cuda.get_device_properties(index)
        found.append(Accelerator(properties.name, properties.total_memory))
    return found
