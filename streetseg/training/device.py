"""The device that trains: which, how exactly it computes, and what to do if it is too small."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from streetseg.config.params import Train
from streetseg.core.errors import StreetsegError, one_line
from streetseg.training.distributed import ALONE, World

WORKER_FAILED = ("DataLoader worker (pid", "file </torch_")
"""What PyTorch says of a worker that was killed, and of one that finds ``/dev/shm`` full."""


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a name; ``auto`` is the GPU of this process if there is one.

    Raises:
        StreetsegError: it cannot be used.
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


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type to compute in; ``auto`` is bfloat16 on GPUs that compute in it."""
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def in_precision(
    model: Callable[..., Tensor], recipe: Train, device: torch.device
) -> Callable[..., Tensor]:
    """``model``, computing in the precision of the recipe."""
    precision = choose_precision(recipe.precision, device)
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)(model)


def forward_pass(
    model: nn.Module, recipe: Train, device: torch.device, world: World = ALONE
) -> Callable[..., Tensor]:
    """``model`` as a step of training calls it: over all processes, compiled if asked to be."""
    forward = world.wrap_ddp(model)
    return in_precision(torch.compile(forward) if recipe.compile else forward, recipe, device)


@contextmanager
def memory_advice(recipe: Train, attempt: Callable[[int], object] | None) -> Iterator[None]:
    """Turn running out of memory into a line that says what fits, or what to lower.

    Args:
        recipe: what was asked for.
        attempt: takes a step with so many frames, to try what fits; None if it cannot be tried.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = one_line(error)
            raise StreetsegError(f"train.compile=true cannot be used here: {reason}") from None
        if any(sign in str(error) for sign in WORKER_FAILED):
            raise StreetsegError(
                "a worker of the loader failed, most likely for want of memory or of /dev/shm: "
                "lower train.num_workers; the same command goes on from the last checkpoint"
            ) from None
        if not _out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
    except ValueError as error:
        if not _too_few_to_normalise(error):
            raise
        raise StreetsegError(
            f"train.batch_size={recipe.batch_size} is too small: batch normalisation cannot learn "
            "from one frame, so each process needs two"
        ) from None
    else:
        return
    size = recipe.batch_size
    fits = _largest(attempt, size) if attempt else size // 2
    if not fits:
        advice = "no batch fits: choose a smaller network, prepare.size or train.augment.crop"
    else:
        steps = -(-size * recipe.accumulation_steps // fits)
        advice = (
            f"{'the largest batch that fits is' if attempt else 'try'} train.batch_size={fits}; "
            f"with train.accumulation_steps={steps} a step learns from as many frames as now"
        )
    raise StreetsegError(f"out of memory with train.batch_size={size}: {advice}")


def _largest(attempt: Callable[[int], object], too_large: int) -> int:
    """The largest batch that fits, by bisection; 0 if none does."""
    fits = 0
    while too_large - fits > 1:
        size = (fits + too_large) // 2
        torch.cuda.empty_cache()
        try:
            attempt(size)
            fits = size
        except (RuntimeError, ValueError) as error:
            if _too_few_to_normalise(error):
                return fits
            if not _out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
            too_large = size
    return fits


def _too_few_to_normalise(error: Exception) -> bool:
    return "Expected more than 1 value per channel" in str(error)


def _out_of_memory(error: Exception) -> bool:
    """Whether a GPU's memory is exhausted, or this machine's (of which PyTorch only speaks)."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
