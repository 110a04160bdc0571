"""The device that trains: its choice, the forward pass on it, its errors as advice on settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from streetseg.config.params import Train
from streetseg.core.errors import StreetsegError, one_line
from streetseg.training.distributed import ALONE, World

WORKER_FAILED = ("DataLoader worker (pid", "file </torch_")
"""How PyTorch reports a worker that was killed, and one that finds ``/dev/shm`` full."""


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called ``name``; ``auto`` is this process's GPU if there is one, else the CPU.

    Raises:
        StreetsegError: the device cannot be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":
            device = torch.device("cuda", local_rank if device.index is None else device.index)
            torch.cuda.set_device(device)
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise StreetsegError(f"train.device = '{name}' cannot be used: {reason}") from None


def with_autocast(
    model: Callable[..., Tensor], settings: Train, device: torch.device
) -> Callable[..., Tensor]:
    """``model``, computing in ``train.precision``, which is no longer ``auto``."""
    enabled = settings.precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)(model)


def training_forward(
    model: nn.Module, settings: Train, device: torch.device, world: World = ALONE
) -> Callable[..., Tensor]:
    """The forward pass with DDP, compilation and autocast; rebuild it after (un)freezing layers."""
    forward = world.wrap_ddp(model)
    return with_autocast(torch.compile(forward) if settings.compile else forward, settings, device)


@contextmanager
def translate_torch_errors(settings: Train, processes: int = 1) -> Iterator[None]:
    """Turn PyTorch errors that a setting can cure into one line that names the setting.

    A suggested batch size is a multiple of ``processes``.

    Raises:
        StreetsegError: out of memory, a failed worker or compilation, or too small a batch.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if advice := _advice(error, settings, processes):
            raise StreetsegError(advice) from None
        raise


def _advice(error: Exception, settings: Train, processes: int) -> str | None:
    message, size = str(error), settings.batch_size
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"train.compile=true cannot be used here: {one_line(error)}"
    if any(sign in message for sign in WORKER_FAILED):
        return (
            "a worker of the loader failed, probably for lack of memory or of /dev/shm: lower "
            "train.num_workers; run the same command to resume from the last checkpoint"
        )
    if "Expected more than 1 value per channel" in message:
        if size // processes > 1:
            return "one training frame is too few: batch normalisation cannot learn from it alone"
        return (
            f"train.batch_size={size} is too small: batch normalisation cannot learn from one "
            "frame, so each process needs two"
        )
    # On a CPU the allocator raises a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in message:
        smaller = size // 2 // processes * processes
        if not smaller:
            hint = "choose a smaller network, prepare.size or train.augment.crop"
        else:
            steps = -(-size * settings.accumulation_steps // smaller)
            hint = f"try {smaller} with train.accumulation_steps={steps}"
        return f"out of memory with train.batch_size={size}: {hint}"
    return None
