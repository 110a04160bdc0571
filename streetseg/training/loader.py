"""Batches of augmented frames from a prepared dataset."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from streetseg.config.params import Augment
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE
from streetseg.training.augmentation import build_augmentation, draw_color
from streetseg.training.batch import Batch
from streetseg.training.distributed import ALONE, World


class AugmentedFrames(Dataset[Batch]):
    """Augmented frames, each seeded by (seed, epoch, row): independent of workers and order."""

    def __init__(self, dataset: PreparedDataset, augment: Augment, seed: int) -> None:
        """Frames of ``dataset``, indexed by lists of (epoch, row).

        The pixels of (epoch, ~row) are ignored: such a frame serves batch normalisation alone.

        Raises:
            StreetsegError: the crop is larger than the frames.
        """
        self.dataset = dataset
        self.augment = augment
        self.augmentation = build_augmentation(augment, dataset.size, dataset.labels)
        self.seed = seed

    def __getitem__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        size = self.augment.crop or self.dataset.size
        images = np.empty((len(keys), *size, 3), np.uint8)
        categories = np.empty((len(keys), *size), np.uint8)
        colors = np.empty((len(keys), 3, 4), np.float32)
        flips = np.empty(len(keys), bool)
        for position, (epoch, signed_row) in enumerate(keys):
            row = max(signed_row, ~signed_row)
            random = np.random.default_rng([self.seed, epoch, row])
            seed = int(random.integers(2**32))
            colors[position] = draw_color(self.augment, random)
            flips[position] = random.random() < self.augment.flip
            self.augmentation.set_random_state(random, Random(seed))
            augmented = self.augmentation(
                image=np.asarray(self.dataset.image(row)),
                mask=np.asarray(self.dataset.categories(row)),
                force_apply=True,
            )
            images[position] = augmented["image"]
            categories[position] = augmented["mask"] if row == signed_row else IGNORE
        batch = Batch(*map(torch.from_numpy, (images, categories, colors, flips)))
        if get_worker_info():  # PyTorch does this later in a thread, which swallows errors.
            for tensor in batch:
                tensor.share_memory_()
        return batch


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """The rows of an epoch in shuffled batches, as (epoch, row).

    Each batch is divided among the processes. The last one is dropped if it has fewer frames than
    processes, or a single frame: batch normalisation cannot learn from one.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        world: World = ALONE,
        min_share: int = 1,
    ) -> None:
        """Shuffle ``rows`` anew in each epoch; ``seed`` fixes all orders.

        A process whose part of a short batch has fewer than ``min_share`` frames gets others of
        the epoch as padding, (epoch, ~row).

        Raises:
            StreetsegError: the batch cannot be divided evenly, or there are too few rows.
        """
        if batch_size % world.size:
            raise StreetsegError(
                f"train.batch_size={batch_size} cannot be divided evenly among {world.size} "
                "processes: make it a multiple"
            )
        if len(rows) < world.size:
            raise StreetsegError(
                f"{len(rows)} training frames are too few for {world.size} processes"
            )
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.world = world
        self.min_share = min(min_share, batch_size // world.size)
        self.epoch = 0
        self.first = 0

    def begin(self, epoch: int, first: int = 0) -> None:
        """Yield the batches of ``epoch`` next, from number ``first`` on."""
        self.epoch, self.first = epoch, first

    def rows_of(self, epoch: int, batch: int) -> np.ndarray:
        """The rows of a batch of an epoch, over all processes."""
        return self._order(epoch)[batch * self.batch_size :][: self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def __len__(self) -> int:
        full, remainder = divmod(len(self.rows), self.batch_size)
        return full + (remainder >= max(2, self.world.size) or not full)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = self.epoch, self._order(self.epoch)
        for batch in range(self.first, len(self)):
            rows = order[batch * self.batch_size :][: self.batch_size]
            share = rows[self.world.rank :: self.world.size]
            if len(share) < self.min_share:
                others = order[~np.isin(order, share)][: self.min_share - len(share)]
                share = np.append(share, ~others)
            yield [(epoch, int(row)) for row in share]


class _Loader(DataLoader[Batch]):
    """A loader that raises an error of a worker as the worker raised it."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except StreetsegError as error:  # torch has put the worker's traceback into the message
            raise StreetsegError(str(error).rpartition("StreetsegError: ")[2].strip()) from None


def training_loader(
    dataset: PreparedDataset, batches: EpochBatches, augment: Augment, workers: int
) -> DataLoader[Batch]:
    """Batches of augmented frames; call ``batches.begin(epoch)`` before each epoch.

    Raises:
        StreetsegError: the crop is larger than the frames; in the loop, a shard is damaged.
    """
    return _Loader(
        AugmentedFrames(dataset, augment, batches.seed),
        sampler=batches,
        batch_size=None,  # the dataset builds the batches
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else each epoch would draw from the global generator
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_ignore_signals,
    )


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which reach all processes, to the training; it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_exit_when_terminated_by_training, daemon=True).start()


def _exit_when_terminated_by_training() -> None:
    """PyTorch, and Python at exit, end workers that still run by SIGTERM."""
    training = multiprocessing.parent_process()
    assert training is not None
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training.pid:
        pass
    os._exit(0)
