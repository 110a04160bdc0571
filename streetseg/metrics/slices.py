"""Scores of parts of a split: under which conditions a model does well or badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from streetseg.metrics.bootstrap import (
    Interval,
    interval,
    mean_iou,
    plain_interval,
    resampled_iou,
)
from streetseg.metrics.confusion import category_miou, plain_number
from streetseg.metrics.metric import ScoredFrame

CONDITIONS = {
    "brightness": ("dark", "medium", "bright"),
    "sharpness": ("soft", "medium", "sharp"),
}
"""Columns of the index whose terciles are slices, and the names of these."""


@dataclass(frozen=True)
class Slice:
    """Some frames of a split, and their score."""

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


class SliceScores:
    """The mIoU of each slice."""

    def __init__(self, index: pd.DataFrame) -> None:
        """Start without frames; ``index`` has a row for each, in the order they are added."""
        self._index = index
        self._counts: list[np.ndarray] = []

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        self._counts.append(frame.category_confusion)

    def result(self) -> dict[str, Any]:
        """``slices``: by city, brightness and sharpness."""
        by_criterion = score_slices(self._index, np.stack(self._counts))
        return {
            "slices": {
                criterion: [each.to_dict() for each in slices]
                for criterion, slices in by_criterion.items()
            }
        }


def score_slices(index: pd.DataFrame, counts: np.ndarray) -> dict[str, list[Slice]]:
    """Score frames by city and by each condition; every frame is in one slice of each.

    Args:
        index: the rows of the frames, with ``city`` and the columns of ``CONDITIONS``.
        counts: int64[F, C, C], the confusion matrix of each frame.

    Returns:
        Under ``city``, a slice for each city, by name; under a condition up to three, from low
        values to high.
    """
    cities = index["city"].to_numpy()
    by_criterion = {"city": [_slice(str(c), counts[cities == c]) for c in np.unique(cities)]}
    for column, names in CONDITIONS.items():
        tercile_of = terciles(index[column].to_numpy())
        by_criterion[column] = [
            _slice(name, counts[tercile_of == tercile])
            for tercile, name in enumerate(names)
            if (tercile_of == tercile).any()
        ]
    return by_criterion


def terciles(values: np.ndarray) -> np.ndarray:
    """The tercile of each value: int[F], 0 to 2. Equal values share a tercile."""
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)


def _slice(name: str, counts: np.ndarray) -> Slice:
    n_frames, resampled_means = len(counts), mean_iou(resampled_iou(counts))
    miou = category_miou(counts.sum(axis=0))
    return Slice(name, n_frames, miou, interval(resampled_means, n_frames))
