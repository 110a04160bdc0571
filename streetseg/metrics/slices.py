"""Scores of parts of a split: where a model does well, and where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from streetseg.metrics.accumulator import Interval, plain_interval
from streetseg.metrics.bootstrap import interval, mean_iou, resampled_iou
from streetseg.metrics.confusion import category_miou, plain_number

CONDITIONS = {
    "brightness": ("dark", "medium", "bright"),
    "sharpness": ("soft", "medium", "sharp"),
}
"""Columns of the index whose terciles are slices, and what to call these."""


@dataclass(frozen=True)
class Slice:
    """Some frames and how well they are segmented."""

    name: str
    frames: int
    miou: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "frames": self.frames,
            "miou": plain_number(self.miou),
            "interval": plain_interval(self.interval),
        }


def slices(index: pd.DataFrame, counts: np.ndarray) -> dict[str, list[Slice]]:
    """Score frames by city and by each condition; every frame is in one slice of each.

    Args:
        index: the rows of the frames, with their city and the columns of ``CONDITIONS``.
        counts: int64[F, C, C], the confusion matrix of each frame.

    Returns:
        For ``city`` a slice of each, by name; for a condition up to three, from its low values up.
    """
    cities = index["city"].to_numpy()
    found = {"city": [_slice(str(city), counts[cities == city]) for city in np.unique(cities)]}
    for column, names in CONDITIONS.items():
        third = terciles(index[column].to_numpy())
        found[column] = [
            _slice(name, counts[third == place])
            for place, name in enumerate(names)
            if (third == place).any()
        ]
    return found


def terciles(values: np.ndarray) -> np.ndarray:
    """The third of each value among all: int[F], 0 to 2. Equal values are in the same one."""
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)


def _slice(name: str, counts: np.ndarray) -> Slice:
    frames, samples = len(counts), mean_iou(resampled_iou(counts))
    return Slice(name, frames, category_miou(counts.sum(axis=0)), interval(samples, frames))
