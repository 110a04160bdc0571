"""Feeding a prepared dataset to a training loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from streetseg.augment import build_geometry, draw_color
from streetseg.config import Augment
from streetseg.dataset import PreparedDataset
from streetseg.distributed import ALONE, World
from streetseg.errors import StreetsegError

Batch = tuple[Tensor, Tensor, Tensor]
"""Images, categories and changes of colour (see :func:`streetseg.augment.recolor`)."""


class AugmentedFrames(Dataset[Batch]):
    """Training frames, each augmented by a draw that depends on seed, epoch and frame alone.

    So neither the number of workers nor the order of frames changes what the network sees.
    """

    def __init__(self, dataset: PreparedDataset, augment: Augment, seed: int) -> None:
        """Frames of ``dataset``, asked for by (epoch, row)."""
        self.dataset = dataset
        self.augment = augment
        self.geometry = build_geometry(augment)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """Image uint8[H, W, 3], categories uint8[H, W] and colour change float32[3, 4] of a row."""
        epoch, row = key
        random = np.random.default_rng([self.seed, epoch, row])
        self.geometry.set_random_seed(int(random.integers(2**32)))
        changed = self.geometry(
            image=np.asarray(self.dataset.image(row)), mask=np.asarray(self.dataset.categories(row))
        )
        # What no change has copied is still a view of the file, which nobody may write to.
        image, mask = (
            np.require(changed[name], requirements=["C", "W"]) for name in ("image", "mask")
        )
        color = draw_color(self.augment, random)
        return torch.from_numpy(image), torch.from_numpy(mask), torch.from_numpy(color)


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


def training_loader(
    dataset: PreparedDataset, batches: EpochBatches, augment: Augment, workers: int
) -> DataLoader[Batch]:
    """Batches (uint8[N, H, W, 3], uint8[N, H, W], float32[N, 3, 4]) of augmented frames.

    Call ``batches.begin(epoch)`` before each epoch.
    """
    return DataLoader(
        AugmentedFrames(dataset, augment, batches.seed),
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # so that starting an epoch draws no number of the training's
        pin_memory=torch.cuda.is_available(),
    )
