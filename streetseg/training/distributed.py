"""Several processes that train one network, started by ``torchrun``.

Each takes its fraction of every batch and of the held-out frames. Losses, gradients and scores are
those of the whole, so that a recipe means the same on one device and on eight.
"""

from __future__ import annotations

import os
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
    """The processes that train together, as one of them sees it."""

    rank: int = 0
    """The number of this process, from 0."""
    size: int = 1
    local_rank: int = 0
    """Its number on this machine."""

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that logs, prints and writes files."""
        return self.rank == 0

    def sync_model(self, model: Network) -> Network:
        """``model`` with the weights of the first process, and batch statistics over all of them.

        Batch statistics are those of each process alone on a CPU, for PyTorch joins them on GPUs
        only.
        """
        if self.size == 1:
            return model
        if next(model.parameters()).is_cuda:
            from timm.layers import convert_sync_batchnorm

            model = convert_sync_batchnorm(model)
        self.broadcast(*model.parameters(), *model.buffers())
        return model

    def broadcast(self, *tensors: Tensor) -> None:
        """Overwrite tensors with those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """``model``, its gradients averaged over the processes in the backward pass.

        To be asked for anew when other weights are to be trained.
        """
        if self.size == 1:
            return model
        # A static graph may hold layers that lead nowhere, as some encoders of smp do.
        return nn.parallel.DistributedDataParallel(model, static_graph=True)

    def any(self, *flags: bool) -> list[bool]:
        """Whether each flag is raised in any process."""
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
        """The value of each process, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Let every process come to this point."""
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
        StreetsegError: they do not find each other.
    """
    if STARTED_BY_TORCHRUN not in os.environ:
        yield ALONE
        return
    try:
        # Tensors of a CPU and of a GPU each travel their own way.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StreetsegError(
            f"the processes of torchrun do not find each other: {reason}"
        ) from None
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()


def all_reduce_sum(total: Tensor) -> Tensor:
    """The sum of a tensor over the processes, whose gradient is right once it is averaged.

    Gradients are averaged over the processes, so that each one's own part must count as often as
    there are processes.
    """
    if not dist.is_initialized():
        return total
    whole = total.detach().clone()
    dist.all_reduce(whole)
    own = total * dist.get_world_size()
    return own + (whole - own).detach()
