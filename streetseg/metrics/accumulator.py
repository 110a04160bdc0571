"""The confusion matrices of a split, from which most scores come."""

from __future__ import annotations

from typing import Any

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.metrics.confusion import (
    Scores,
    official_confusion,
    official_iou,
    plain_number,
    score,
)
from streetseg.metrics.jackknife import Drives, Jackknife, correlation, plain_interval
from streetseg.metrics.metric import ScoredFrame


class ConfusionAccumulator:
    """The confusion matrices of the frames so far, as a :class:`Metric` of their intervals."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames; ``labels`` is the label space of truth and prediction."""
        self.labels = labels
        self._total = np.zeros((256, 256), np.int64)
        self._plain: list[np.ndarray] = []
        self._official: list[np.ndarray] = []
        self._drives: list[str] = []

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        self._total += frame.confusion
        self._plain.append(frame.category_confusion)
        self._official.append(official_confusion(frame.confusion, self.labels))
        self._drives.append(frame.drive)

    @property
    def total(self) -> np.ndarray:
        """Confusion of label ids (truth, prediction) of all frames: int64[256, 256]."""
        return self._total

    @property
    def scores(self) -> Scores:
        """The scores of all frames together."""
        return score(self._total, self.labels)

    @property
    def counts(self) -> np.ndarray:
        """Category confusion (truth, prediction) of each frame: int64[F, C, C]."""
        return np.stack(self._plain)

    @property
    def drives(self) -> np.ndarray:
        """The drive of each frame, str[F]; empty where it is not known."""
        return np.array(self._drives, np.str_)

    def result(self) -> dict[str, Any]:
        """``intervals`` of 95 %, and the ``drives`` that they are from.

        The intervals are of ``miou``, of ``miou_official``, and under ``iou`` of each category.
        """
        drives, counts = Drives.of_names(self.drives), self.counts
        plain = Jackknife(counts, drives)
        official = Jackknife(np.stack(self._official), drives, iou=official_iou).mean()
        mean, of_drive = plain.mean(), correlation(counts, drives)
        return {
            "intervals": {
                "miou": plain_interval(mean.interval()),
                "miou_official": plain_interval(official.interval()),
                "iou": {
                    name: plain_interval(plain.category(column).interval())
                    for column, name in enumerate(self.labels.names)
                },
            },
            "drives": {
                "number": mean.drives,
                "effective": plain_number(mean.effective_drives),
                "frames_of_unknown_drive": drives.n_unknown,
                "correlation": None if of_drive is None else plain_number(of_drive),
            },
        }
