"""Where training is, kept on disk so that an interrupted one goes on from there."""

from __future__ import annotations

import hashlib
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from streetseg.config.params import Params
from streetseg.core.atomic_files import os_reason, unfinished_path
from streetseg.core.errors import StoppedError, StreetsegError, one_line
from streetseg.data.dataset import PreparedDataset
from streetseg.models.build import SegmentationModel
from streetseg.training.distributed import ALONE, World

INCIDENTAL = ("device", "num_workers", "patience", "checkpoint_minutes", "checkpoint")
"""Keys of train that may change while a training is stopped."""
MODULES = ("model", "optimizer", "schedule", "average")
NUMBERS = (
    "run_id",
    "init_from",
    "inherited",
    "epoch",
    "step",
    "losses",
    "miou",
    "best_miou",
    "best_epoch",
    "best_weights",
)


@dataclass
class TrainingState:
    """All that the next step depends on."""

    model: SegmentationModel
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    average: AveragedModel | None
    """A moving average of the weights, if one is kept."""
    run_id: str | None = None
    init_from: str | None = None
    """The model, by its version, whose weights it began with."""
    inherited: list[str] | None = field(default_factory=list)
    """Hashes of the images which that model was trained on; None if it does not say."""
    epoch: int = 1
    """The epoch in progress."""
    step: int = 0
    """Batches of it that are done."""
    losses: list[Tensor] = field(default_factory=list)
    """The loss of each of them."""
    miou: float = -1.0
    """On the held-out frames, after the last whole epoch; -1 before there is one."""
    best_miou: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mean_loss(self) -> float:
        """The mean loss of the epoch in progress."""
        return float(torch.stack(self.losses).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and tensors."""
        modules = {name: getattr(self, name) for name in MODULES}
        return {
            **{name: module.state_dict() for name, module in modules.items() if module is not None},
            **{name: getattr(self, name) for name in NUMBERS},
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Become what :meth:`to_dict` described."""
        for name in MODULES:
            if (module := getattr(self, name)) is not None:
                module.load_state_dict(stored[name])
        for name in NUMBERS:
            setattr(self, name, stored[name])
        device = next(self.model.parameters()).device
        self.losses = [loss.to(device) for loss in self.losses]


class Checkpoint:
    """A file with a training state, for one recipe on one data version.

    The first of the processes that train together writes it, all of them read it.
    """

    def __init__(
        self, path: Path, params: Params, dataset: PreparedDataset, world: World = ALONE
    ) -> None:
        """Keep the state in ``path``, at most every ``train.checkpoint_minutes``."""
        recipe = params.train.model_dump(mode="json", exclude=set(INCIDENTAL))
        told = [params.model.model_dump(), recipe, dataset.version]
        self.path = path
        self.world = world
        self.fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        self.seconds = 60 * params.train.checkpoint_minutes
        self.saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self.saved >= self.seconds

    def save(self, state: TrainingState) -> None:
        """Write the state, whole or not at all.

        Raises:
            StreetsegError: it cannot be written; the one before is kept.
        """
        random = self.world.gather(_random_state())
        if self.world.is_main_process:
            stored = {"fingerprint": self.fingerprint, **state.to_dict(), "random": random}
            unfinished = unfinished_path(self.path)
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with unfinished.open("wb") as file:
                    torch.save(stored, file)
                unfinished.rename(self.path)
            except (OSError, RuntimeError) as error:
                unfinished.unlink(missing_ok=True)
                # torch says where in its own code; Python's file said why
                cause = error.__context__ if isinstance(error, RuntimeError) else error
                reason = os_reason(cause) if isinstance(cause, OSError) else one_line(error)
                raise StreetsegError(
                    f"cannot write the checkpoint {self.path}: {reason}: make room, or set "
                    "train.checkpoint to another place; an earlier one is kept"
                ) from None
        self.world.wait()
        self.saved = time.monotonic()

    @contextmanager
    def save_on_error(self, state: TrainingState) -> Iterator[None]:
        """Save the state if the block fails in any process, and stop them all.

        Raises:
            StoppedError: it failed; training goes on from the state.
        """
        failure = None
        try:
            yield
        except StreetsegError as error:
            failure = error
        if self.world.any(failure is not None)[0]:
            self.save(state)
            raise StoppedError(
                f"{failure or 'another process failed'}: the same command goes on from {self.path}"
            )

    def load(self) -> dict[str, Any] | None:
        """What :meth:`save` wrote for this recipe and data; None if there is none.

        A checkpoint of something else, or of an older release that kept less, is set aside.

        Raises:
            StreetsegError: the file is no checkpoint, or not all processes see it.
        """
        seen = self.world.gather(self.path.exists())
        if not any(seen):
            return None
        if not all(seen):
            raise StreetsegError(
                f"{self.path} is there for some of the processes only: set train.checkpoint to a "
                "place that all machines share"
            )
        try:
            with zipfile.ZipFile(self.path) as file:  # torch does not look at the checksums
                if damaged := file.testzip():
                    raise zipfile.BadZipFile(damaged)
            stored = torch.load(self.path, weights_only=True, map_location="cpu")
            fingerprint = stored.pop("fingerprint", None)
        except Exception:  # of torch, of zip, of the system: whatever it holds, it is no checkpoint
            raise StreetsegError(
                f"{self.path} is no checkpoint, or damaged: remove it to start anew"
            ) from None
        if fingerprint != self.fingerprint or not stored.keys() >= {*NUMBERS}:
            self.world.wait()  # until all have read it
            aside = self.path.with_name(f"{self.path.name}.old")
            if self.world.is_main_process:
                self.path.replace(aside)
                print(
                    f"{self.path} is of other settings, data or release: starting anew, it is now "
                    f"{aside}",
                    file=sys.stderr,
                )
            return None
        return stored

    def restore(self, state: TrainingState, stored: dict[str, Any]) -> None:
        """Let ``state`` become what :meth:`load` gave."""
        state.restore(stored)
        if self.world.rank < len(stored["random"]):
            _set_random_state(stored["random"][self.world.rank])

    def remove(self) -> None:
        """There is nothing left to go on with."""
        self.path.unlink(missing_ok=True)


def _random_state() -> list[Tensor]:
    """Of the generators on the CPU and on the GPU in use."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if _on_gpu() else [])]


def _set_random_state(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if _on_gpu() and len(states) > 1:
        torch.cuda.set_rng_state(states[1])


def _on_gpu() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()
