"""Feeding a prepared dataset to a training loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from streetseg.augment import build_augmentation
from streetseg.config import Augment
from streetseg.dataset import PreparedDataset


class AugmentedFrames(Dataset[tuple[Tensor, Tensor]]):
    """Training frames, each augmented by a draw that depends on seed, epoch and frame alone.

    So neither the number of workers nor the order of frames changes what the network sees.
    """

    def __init__(self, dataset: PreparedDataset, augment: Augment, seed: int) -> None:
        """Frames of ``dataset``, asked for by (epoch, row)."""
        self.dataset = dataset
        self.augmentation = build_augmentation(augment)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Image uint8[H, W, 3] and categories uint8[H, W] of a row in an epoch."""
        epoch, row = key
        draw = np.random.SeedSequence([self.seed, epoch, row]).generate_state(1)[0]
        self.augmentation.set_random_seed(int(draw))
        changed = self.augmentation(
            image=np.array(self.dataset.image(row)), mask=np.array(self.dataset.categories(row))
        )
        return torch.from_numpy(changed["image"]), torch.from_numpy(changed["mask"])


class EpochSampler(Sampler[tuple[int, int]]):
    """The rows of an epoch in shuffled order, each with the number of the epoch."""

    def __init__(self, rows: np.ndarray, seed: int) -> None:
        """Shuffle ``rows``, differently in each epoch; ``seed`` fixes all orders."""
        self.rows = rows
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        for row in order:
            yield self.epoch, int(row)


def training_loader(
    dataset: PreparedDataset,
    rows: np.ndarray,
    *,
    augment: Augment,
    batch_size: int,
    workers: int,
    seed: int,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches (uint8[N, H, W, 3], uint8[N, H, W]) of shuffled, augmented frames.

    Set ``loader.sampler.epoch`` before each epoch. A last batch of one frame is dropped: batch
    normalisation cannot learn from it.
    """
    return DataLoader(
        AugmentedFrames(dataset, augment, seed),
        batch_size=batch_size,
        sampler=EpochSampler(rows, seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=len(rows) % batch_size == 1 and len(rows) > 1,
    )
