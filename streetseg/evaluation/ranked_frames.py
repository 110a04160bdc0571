"""Frames from the best to the worst, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streetseg.data.dataset import PreparedDataset
from streetseg.inference.segmenter import Segmenter


@dataclass(frozen=True)
class ShownFrame:
    """A frame with its truth and what the model answers, at prepared size."""

    name: str
    miou: float
    """Of this frame alone."""
    rgb: np.ndarray
    """uint8[height, width, 3]."""
    truth: np.ndarray
    """Category ids uint8[height, width]."""
    predicted: np.ndarray
    """Category ids uint8[height, width]."""


@dataclass(frozen=True)
class RankedFrames:
    """The frames that a model was scored on."""

    model: Segmenter
    dataset: PreparedDataset
    rows: np.ndarray
    """int64[F], of the dataset, the best first."""
    frames: Sequence[tuple[str, float]]
    """(name, mIoU) of each."""

    def show(self, place: int) -> ShownFrame:
        """The frame at a place of the ranking, 0 for the best."""
        row = int(self.rows[place])
        rgb = np.array(self.dataset.image(row))
        predicted = self.model.logits(rgb[None])[0].argmax(axis=0).astype(np.uint8)
        return ShownFrame(*self.frames[place], rgb, self.dataset.categories(row), predicted)
