"""Feeding a prepared dataset to a training loop."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from streetseg.augment import build_augmentation, draw_color
from streetseg.config import Augment
from streetseg.dataset import PreparedDataset


class Batch(NamedTuple):
    """Frames, with the changes that :func:`streetseg.augment.finish` makes on the device."""

    images: Tensor
    """uint8[N, H, W, 3]."""
    categories: Tensor
    """uint8[N, H, W]."""
    colors: Tensor
    """float32[N, 3, 4], see :func:`streetseg.augment.draw_color`."""
    flips: Tensor
    """bool[N]: which are to be mirrored, left to right."""


class AugmentedFrames(Dataset[Batch]):
    """Training frames, each augmented by a draw that depends on seed, epoch and frame alone.

    So neither the number of workers nor the order of frames changes what the network sees.
    """

    def __init__(self, dataset: PreparedDataset, augment: Augment, seed: int) -> None:
        """Frames of ``dataset``, asked for by (epoch, row).

        Raises:
            StreetsegError: the crop is larger than the frames.
        """
        self.dataset = dataset
        self.augment = augment
        self.augmentation = build_augmentation(augment, dataset.size, dataset.labels)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """The frame in a row as a batch of one, but without the dimension N."""
        epoch, row = key
        random = np.random.default_rng([self.seed, epoch, row])
        seed = int(random.integers(2**32))
        color = draw_color(self.augment, random)
        flip = random.random() < self.augment.flip
        self.augmentation.set_random_state(random, Random(seed))
        changed = self.augmentation(
            image=np.asarray(self.dataset.image(row)),
            mask=np.asarray(self.dataset.categories(row)),
            force_apply=True,
        )
        # What no change has copied is still a view of the file, which nobody may write to.
        image, mask = (
            torch.from_numpy(np.require(changed[name], requirements=["C", "W"]))
            for name in ("image", "mask")
        )
        return Batch(image, mask, torch.from_numpy(color), torch.tensor(flip))


class EpochSampler(Sampler[tuple[int, int]]):
    """The rows of an epoch in shuffled order, each with the number of the epoch."""

    def __init__(self, rows: np.ndarray, seed: int) -> None:
        """Shuffle ``rows``, differently in each epoch; ``seed`` fixes all orders."""
        self.rows = rows
        self.seed = seed
        self.epoch = 0
        self.first = 0

    def begin(self, epoch: int, first: int = 0) -> None:
        """Give the rows of ``epoch`` next, without the ``first`` of them."""
        self.epoch, self.first = epoch, first

    def rows_of(self, epoch: int, batch: int, size: int) -> np.ndarray:
        """The rows of a batch of an epoch."""
        return self._order(epoch)[batch * size : (batch + 1) * size]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for row in self._order(self.epoch)[self.first :]:
            yield self.epoch, int(row)


def training_loader(
    dataset: PreparedDataset,
    rows: np.ndarray,
    *,
    augment: Augment,
    batch_size: int,
    workers: int,
    seed: int,
) -> DataLoader[Batch]:
    """Batches of shuffled, augmented frames.

    Call ``loader.sampler.begin(epoch)`` before each epoch. A last batch of one frame is dropped:
    batch normalisation cannot learn from it.

    Raises:
        StreetsegError: the crop is larger than the frames.
    """
    return DataLoader(
        AugmentedFrames(dataset, augment, seed),
        batch_size=batch_size,
        sampler=EpochSampler(rows, seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # so that starting an epoch draws no number of the training's
        pin_memory=torch.cuda.is_available(),
        drop_last=len(rows) % batch_size == 1 and len(rows) > 1,
    )
