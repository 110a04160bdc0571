"""Several processes that train one network, started by ``torchrun``.

Each takes its part of every batch and of the held-out frames. Losses, gradients and scores are over
all parts, so a recipe means the same on one device and on eight.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from streetseg.core.errors import StreetsegError

STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class World:
    """The processes that train together, from the view of one of them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that logs, prints and writes files."""
        return self.rank == 0

    def print(self, line: str) -> None:
        """Print a line on standard error, in the main process only."""
        if self.is_main_process:
            print(line, file=sys.stderr)

    def sync_model(self, model: Network) -> Network:
        """``model`` with the weights of the first process, and synchronised batch normalisation.

        On a CPU each process normalises by its own batch: PyTorch's SyncBatchNorm needs GPUs.
        """
        if self.size == 1:
            return model
        if next(model.parameters()).is_cuda:
            from timm.layers import convert_sync_batchnorm

            model = convert_sync_batchnorm(model)
        self.broadcast(*model.parameters(), *model.buffers())
        return model

    def min_share(self, device: torch.device) -> int:
        """Frames of a batch that a process needs to normalise them: see :meth:`sync_model`."""
        return 2 if self.size > 1 and device.type == "cpu" else 1

    def broadcast(self, *tensors: Tensor) -> None:
        """Overwrite tensors with those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """``model`` with gradients averaged over the processes in the backward pass."""
        if self.size == 1:
            return model
        # Only a static graph may have unused layers, as some encoders of smp do.
        return nn.parallel.DistributedDataParallel(model, static_graph=True)

    def any(self, *flags: bool) -> list[bool]:
        """Whether each flag is true in any process."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def sum(self, counts: np.ndarray) -> np.ndarray:
        """The sum of int64[...] over the processes."""
        if self.size == 1:
            return counts
        total = torch.from_numpy(counts)
        dist.all_reduce(total)
        return total.numpy()

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def is_main_process() -> bool:
    """Whether this process is the first, or the only one, of a training."""
    return STARTED_BY_TORCHRUN not in os.environ or os.environ["RANK"] == "0"


@contextmanager
def process_group() -> Iterator[World]:
    """Join the processes that ``torchrun`` started; without it there is one.

    Raises:
        StreetsegError: they cannot connect to each other.
    """
    if STARTED_BY_TORCHRUN not in os.environ:
        yield ALONE
        return
    try:
        # gloo carries the tensors on CPUs, NCCL those on GPUs.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StreetsegError(
            f"the processes of torchrun cannot connect to each other: {reason}"
        ) from None
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()


def all_reduce_sum(total: Tensor) -> Tensor:
    """The sum of a tensor over the processes, differentiable with respect to this process's part.

    DDP averages gradients, so the gradient of the own part is multiplied by the number of
    processes.
    """
    if not dist.is_initialized():
        return total
    summed = total.detach().clone()
    dist.all_reduce(summed)
    own = total * dist.get_world_size()
    return own + (summed - own).detach()
