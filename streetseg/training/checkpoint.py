"""The state of a training, and the file from which a stopped one resumes."""

from __future__ import annotations

import copy
import hashlib
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from streetseg.config.params import Params
from streetseg.config.renamed import with_former_names
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.models.build import SegmentationModel
from streetseg.training.checkpoint_file import checkpoint_file
from streetseg.training.distributed import ALONE, World

CHANGEABLE = ("device", "num_workers", "patience", "checkpoint_minutes", "checkpoint")
"""Keys of train that may change between a stop and the resumption."""
MODULES = ("model", "optimizer", "schedule", "average")


@dataclass
class TrainingState:
    """Everything that the next step depends on."""

    model: SegmentationModel
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    average: AveragedModel | None
    """A moving average of the weights; None unless ``train.ema`` is set."""
    run_id: str | None = None
    init_from: str | None = None
    """The model version that the weights were initialised from."""
    inherited: list[str] | None = field(default_factory=list)
    """Hashes of the images that version was trained on; None if it does not record them."""
    epoch: int = 1
    step: int = 0
    """Batches of this epoch that are done."""
    losses: list[Tensor] = field(default_factory=list)
    """The loss of each of these batches."""
    miou: float = -1.0
    """On the held-out frames after the last complete epoch; -1 before the first."""
    best_miou: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    cpu_precision: str = "float32"
    """What ``train.precision=auto`` is on a CPU: once measured, it stays."""

    @property
    def mean_loss(self) -> float:
        """The mean loss of the epoch in progress."""
        return float(torch.stack(self.losses).mean())

    @property
    def eval_model(self) -> SegmentationModel:
        """The model to evaluate and keep: the averaged one if there is one."""
        return self.average.module if self.average else self.model  # type: ignore[return-value]

    @property
    def improved(self) -> bool:
        """Whether the last epoch has a better score than all before it."""
        return self.miou > self.best_miou

    def keep_best(self) -> None:
        """Remember the current epoch and its weights as the best."""
        self.best_miou, self.best_epoch = self.miou, self.epoch
        self.best_weights = copy.deepcopy(self.eval_model.state_dict())

    def begin_next_epoch(self) -> None:
        """Increase the epoch and reset its batches."""
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []

    def to_dict(self) -> dict[str, Any]:
        """The state as plain values and tensors."""
        modules = {name: getattr(self, name) for name in MODULES}
        return {
            **{name: module.state_dict() for name, module in modules.items() if module is not None},
            **{name: getattr(self, name) for name in VALUES},
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Set the state to the result of :meth:`to_dict`."""
        for name in MODULES:
            if (module := getattr(self, name)) is not None:
                module.load_state_dict(stored[name])
        for name in VALUES:
            setattr(self, name, stored[name])
        device = next(self.model.parameters()).device
        self.losses = [loss.to(device) for loss in self.losses]


VALUES = [field.name for field in fields(TrainingState) if field.name not in MODULES]


class Checkpoint:
    """A training's state in a file, bound to settings and data; the main process writes it."""

    def __init__(
        self, path: str | Path, params: Params, dataset: PreparedDataset, world: World = ALONE
    ) -> None:
        """Use the file ``path``, which may be a URL such as ``s3://bucket/training.checkpoint``."""
        settings = params.train.model_dump(mode="json", exclude=set(CHANGEABLE))
        if not settings["max_frames"]:
            del settings["max_frames"]  # releases before 0.2.0 did not have it
        self.file = checkpoint_file(path)
        self.path = self.file.path
        self.world = world
        self.fingerprint, self.former_fingerprint = (
            _sha256(json.dumps([params.model.model_dump(), names, dataset.version]))
            for names in (settings, with_former_names(settings, "train"))
        )
        self.interval_s = 60 * params.train.checkpoint_minutes
        self.saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether ``train.checkpoint_minutes`` have passed since the last save, or the start."""
        return time.monotonic() - self.saved_at >= self.interval_s

    def save(self, state: TrainingState) -> None:
        """Write the state atomically.

        Raises:
            StreetsegError: the file cannot be written; the previous one is kept. In a bucket that
                is a warning.
        """
        random = self.world.gather(_random_state())
        if self.world.is_main_process:
            stored = {"fingerprint": self.fingerprint, **state.to_dict(), "random": random}
            self.file.write(stored)
        self.world.wait()
        self.saved_at = time.monotonic()

    @contextmanager
    def save_on_error(self, state: TrainingState) -> Iterator[None]:
        """If the block fails in any process, save the state and raise StoppedError in all."""
        failure = None
        try:
            yield
        except StreetsegError as error:
            failure = error
        if self.world.any(failure is not None)[0]:
            self.save(state)
            raise StoppedError(
                f"{failure or 'another process failed'}: run the same command to resume from "
                f"{self.path}"
            )

    def load(self) -> dict[str, Any] | None:
        """Read the stored state; None if there is none for these settings and data.

        A checkpoint of other settings, or of a release that stored less, is renamed.

        Raises:
            StreetsegError: the file is no checkpoint, or some processes cannot read it.
        """
        exists = self.world.gather(self.file.exists())
        if not any(exists):
            return None
        if not all(exists):
            raise StreetsegError(
                f"only some of the processes can read {self.path}: set train.checkpoint to a path "
                "that all machines share"
            )
        try:
            content = self.file.open()
            with zipfile.ZipFile(content) as file:  # torch does not verify the checksums
                if damaged := file.testzip():
                    raise zipfile.BadZipFile(damaged)
            if isinstance(content, BytesIO):
                content.seek(0)
            stored = torch.load(content, weights_only=True, map_location="cpu")
            fingerprint = stored.pop("fingerprint", None)
            stored.setdefault("cpu_precision", "float32")  # as in releases before 0.2.0
        except StreetsegError:
            raise
        except Exception:  # torch, zipfile and the system fail in many ways
            raise StreetsegError(
                f"{self.path} is damaged or not a checkpoint: delete it to start over"
            ) from None
        known = fingerprint in (self.fingerprint, self.former_fingerprint)
        if not known or not stored.keys() >= set(VALUES):
            self.world.wait()  # until all have read it
            if self.world.is_main_process:
                self.world.print(
                    f"{self.path} was written with other settings, data or release: starting "
                    f"over; it is now {self.file.set_aside()}"
                )
            return None
        return stored

    def restore(self, state: TrainingState, stored: dict[str, Any]) -> None:
        """Set ``state`` and the random generators to what :meth:`load` returned."""
        state.restore(stored)
        if self.world.rank < len(stored["random"]):
            _set_random_state(stored["random"][self.world.rank])
        self.world.print(f"resuming in epoch {state.epoch} after batch {state.step}")

    def remove(self) -> None:
        """Delete the file after a complete training."""
        self.file.remove()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if _on_gpu() else [])]


def _set_random_state(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if _on_gpu() and len(states) > 1:
        torch.cuda.set_rng_state(states[1])


def _on_gpu() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()
