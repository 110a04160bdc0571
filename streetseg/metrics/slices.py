"""Scores of parts of a split: under which conditions a model does well or badly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from streetseg.metrics.confusion import plain_number
from streetseg.metrics.jackknife import Drives, Jackknife, plain_interval
from streetseg.metrics.metric import ScoredFrame

NAMED = ("city", "source", "condition")
"""Columns of the index whose values are slices; a data set may lack the last two."""
MEASURES = {
    "brightness": ("dark", "medium", "bright"),
    "sharpness": ("soft", "medium", "sharp"),
}
"""Columns of the index whose terciles are slices, and the names of these."""


@dataclass
class SliceScores:
    """The mIoU of each slice."""

    index: pd.DataFrame
    """A row for each frame, in the order they are added."""
    counts: list[np.ndarray] = field(default_factory=list)
    drives: list[str] = field(default_factory=list)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        self.counts.append(frame.category_confusion)
        self.drives.append(frame.drive)

    def result(self) -> dict[str, Any]:
        """``slices``: see :func:`score_slices`."""
        return {"slices": score_slices(self.index, np.stack(self.counts), np.array(self.drives))}


def score_slices(
    index: pd.DataFrame, counts: np.ndarray, drives: np.ndarray
) -> dict[str, list[dict[str, Any]]]:
    """Score frames by city, source, condition and measure; a frame is in one slice of each.

    ``index`` has ``city``, perhaps other columns of ``NAMED``, and those of ``MEASURES`` for each
    frame of ``counts``, int64[F, C, C], and ``drives`` its drive, str[F], empty where it is not
    known. Frames without a condition are in no slice of it. Names are sorted, the slices of a
    measure (up to three) go from low values to high. A slice has ``name``, ``frames``, ``drives``
    (their number), ``miou`` and its 95 % ``interval``.
    """

    def score(name: str, chosen: np.ndarray) -> dict[str, Any]:
        estimate = Jackknife(counts[chosen], Drives.of_names(drives[chosen])).mean()
        return {
            "name": name,
            "frames": int(chosen.sum()),
            "drives": estimate.drives,
            "miou": plain_number(estimate.value),
            "interval": plain_interval(estimate.interval()),
        }

    slices = {}
    for column in NAMED:
        if column in index:
            values = index[column].to_numpy(str)
            slices[column] = [
                score(str(name), values == name) for name in np.unique(values) if name
            ]
    for column, names in MEASURES.items():
        tercile_of = terciles(index[column].to_numpy())
        slices[column] = [
            score(name, tercile_of == tercile)
            for tercile, name in enumerate(names)
            if (tercile_of == tercile).any()
        ]
    return slices


def terciles(values: np.ndarray) -> np.ndarray:
    """The tercile of each value: int[F], 0 to 2. Equal values share a tercile."""
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)
