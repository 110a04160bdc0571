"""The precision of a training: float32, or bfloat16 by autocast where that pays."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import nn

from streetseg.config.params import Train
from streetseg.training.distributed import ALONE, World

MIN_GAIN = 1.1
"""How many times as fast as float32 a CPU must be in bfloat16."""
MIN_PIXELS = 30_000_000
"""Pixels of a training, over all epochs, from which measuring pays: some minutes on two cores."""
PROBE_SHAPE = (2, 64, 128, 3)
"""A batch to time: small, because without instructions for it bfloat16 takes ten times as long."""
PROBE_S = 1.0

StepTimer = Callable[[nn.Module, bool], float]
"""Seconds of a forward and backward pass of a model, in bfloat16 or not."""


def cpu_precision(
    model: nn.Module,
    settings: Train,
    pixels: int,
    world: World = ALONE,
    step_seconds: StepTimer | None = None,
) -> str:
    """What ``train.precision=auto`` is on this CPU: ``float32`` or ``bfloat16``.

    The main process measures and decides for all. A training of few ``pixels`` is not measured: it
    stays in float32.
    """
    if settings.precision != "auto" or pixels < MIN_PIXELS:
        return "float32"
    gain = bfloat16_gain(model, step_seconds or time_step) if world.is_main_process else 0.0
    gain = world.gather(gain)[0]
    precision = "bfloat16" if gain >= MIN_GAIN else "float32"
    if gain:
        world.print(f"train.precision: {precision} (bfloat16 is {gain:.2f} times as fast here)")
    return precision


def settle_precision(settings: Train, device: torch.device, on_cpu: str) -> Train:
    """The settings with a precision that is not ``auto``: bfloat16 where a GPU computes in it.

    On other devices it is ``on_cpu``.
    """
    if settings.precision != "auto":
        return settings
    if device.type == "cuda":
        on_gpu = torch.cuda.is_bf16_supported(including_emulation=False)
        return settings.model_copy(update={"precision": "bfloat16" if on_gpu else "float32"})
    return settings.model_copy(update={"precision": on_cpu})


def bfloat16_gain(model: nn.Module, step_seconds: StepTimer) -> float:
    """How many times as fast as in float32 a step of ``model`` is in bfloat16, by a second's trial.

    0 if the network does not take frames of :data:`PROBE_SHAPE`. The first float32 step also does
    what a process does once, so bfloat16 must win the first round or is not tried again. Model and
    random generators stay as they are.
    """
    float32: list[float] = []
    bfloat16: list[float] = []
    probe = copy.deepcopy(model).train()
    with torch.random.fork_rng(devices=[]):
        while sum(float32 + bfloat16) < PROBE_S or len(float32) < 2:
            try:
                float32.append(step_seconds(probe, False))
                bfloat16.append(step_seconds(probe, True))
            except (RuntimeError, AssertionError, ValueError):
                return 0.0
            if bfloat16[0] > float32[0]:
                break
    return min(float32) / min(bfloat16)


def time_step(model: nn.Module, bfloat16: bool) -> float:
    """Seconds of a forward and backward pass on a CPU."""
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = model(torch.zeros(PROBE_SHAPE, dtype=torch.uint8))
    logits.square().mean().backward()
    return time.perf_counter() - began
