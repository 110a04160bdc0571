"""Feeding a prepared dataset to a training loop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from streetseg.config.params import Augment
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.training.augmentation import build_augmentation, draw_color
from streetseg.training.distributed import ALONE, World


class Batch(NamedTuple):
    """Frames, and the changes that ``augmentation.augment_on_device`` makes on the device."""

    images: Tensor
    """uint8[N, H, W, 3]."""
    categories: Tensor
    """uint8[N, H, W]."""
    colors: Tensor
    """float32[N, 3, 4], see :func:`streetseg.training.augmentation.draw_color`."""
    flips: Tensor
    """bool[N]: which are to be mirrored, left to right."""


class AugmentedFrames(Dataset[Batch]):
    """Batches of frames, each augmented by a draw that depends on seed, epoch and frame alone.

    So neither the number of workers nor the order of frames changes what the network sees.
    """

    def __init__(self, dataset: PreparedDataset, augment: Augment, seed: int) -> None:
        """Frames of ``dataset``, asked for by lists of (epoch, row).

        Raises:
            StreetsegError: the crop is larger than the frames.
        """
        self.dataset = dataset
        self.augment = augment
        self.augmentation = build_augmentation(augment, dataset.size, dataset.labels)
        self.seed = seed

    def __getitem__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        """The frames of a batch, each asked for by (epoch, row)."""
        size = self.augment.crop or self.dataset.size
        images = np.empty((len(keys), *size, 3), np.uint8)
        categories = np.empty((len(keys), *size), np.uint8)
        colors = np.empty((len(keys), 3, 4), np.float32)
        flips = np.empty(len(keys), bool)
        for place, (epoch, row) in enumerate(keys):
            random = np.random.default_rng([self.seed, epoch, row])
            seed = int(random.integers(2**32))
            colors[place] = draw_color(self.augment, random)
            flips[place] = random.random() < self.augment.flip
            self.augmentation.set_random_state(random, Random(seed))
            changed = self.augmentation(
                image=np.asarray(self.dataset.image(row)),
                mask=np.asarray(self.dataset.categories(row)),
                force_apply=True,
            )
            images[place], categories[place] = changed["image"], changed["mask"]
        batch = Batch(*map(torch.from_numpy, (images, categories, colors, flips)))
        if get_worker_info():  # Later a thread of the worker would, whose errors nobody is told.
            for part in batch:
                part.share_memory_()
        return batch


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The rows of an epoch in shuffled batches, each row with the number of the epoch.

    A batch is shared out among the processes that train together. A last batch is dropped if it has
    no frame for each of them, or a single one: batch normalisation cannot learn from one.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, world: World = ALONE) -> None:
        """Shuffle ``rows``, differently in each epoch; ``seed`` fixes all orders.

        Raises:
            StreetsegError: the batch cannot be shared out evenly.
        """
        if batch_size % world.size:
            raise StreetsegError(
                f"train.batch_size={batch_size} cannot be shared out evenly among {world.size} "
                "processes: make it a multiple"
            )
        if len(rows) < world.size:
            raise StreetsegError(
                f"{len(rows)} frames to learn from are too few for {world.size} processes"
            )
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.world = world
        self.epoch = 0
        self.first = 0

    def begin(self, epoch: int, first: int = 0) -> None:
        """Give the batches of ``epoch`` next, without the ``first`` of them."""
        self.epoch, self.first = epoch, first

    def rows_of(self, epoch: int, batch: int) -> np.ndarray:
        """The rows of a batch of an epoch, of all processes."""
        return self._order(epoch)[batch * self.batch_size :][: self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.rows), self.batch_size)
        return whole + (rest >= max(2, self.world.size) or not whole)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = self.epoch, self._order(self.epoch)
        for batch in range(self.first, len(self)):
            rows = order[batch * self.batch_size :][: self.batch_size]
            yield [(epoch, int(row)) for row in rows[self.world.rank :: self.world.size]]


class _Batches(DataLoader[Batch]):
    """Batches; what a worker raises is said as if there were none."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except StreetsegError as error:  # of a worker, torch makes its traceback the message
            raise StreetsegError(str(error).rpartition("StreetsegError: ")[2].strip()) from None


def training_loader(
    dataset: PreparedDataset, batches: EpochBatches, augment: Augment, workers: int
) -> DataLoader[Batch]:
    """Batches of augmented frames; call ``batches.begin(epoch)`` before each epoch.

    Raises:
        StreetsegError: the crop is larger than the frames; in the loop, a shard is damaged.
    """
    return _Batches(
        AugmentedFrames(dataset, augment, batches.seed),
        sampler=batches,
        batch_size=None,  # the dataset makes them
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # so that starting an epoch draws no number of the training's
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_signals_to_the_training,
    )


def _leave_signals_to_the_training(worker: int) -> None:
    """What a terminal or a supervisor sends to all processes stops the loop, which ends these."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_the_training_says_so, daemon=True).start()


def _end_when_the_training_says_so() -> None:
    """PyTorch ends workers that still run by SIGTERM, and so does Python at exit."""
    training = multiprocessing.parent_process()
    assert training is not None
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training.pid:
        pass
    os._exit(0)
