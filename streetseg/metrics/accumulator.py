"""Counting what a model answers, frame by frame, and how sure the scores are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.metrics.bootstrap import frames_showing, interval, mean_iou, resampled_iou
from streetseg.metrics.confusion import (
    Scores,
    category_confusion,
    confusion_of_categories,
    official_confusion,
    plain_number,
    score,
)

Interval = tuple[float, float]


class ConfusionAccumulator:
    """The confusion matrices of the frames counted so far."""

    def __init__(self, labels: LabelSpace) -> None:
        """With nothing counted yet; ``labels`` is of the truth and of the answers."""
        self.labels = labels
        self._total = np.zeros((256, 256), np.int64)
        self._plain: list[np.ndarray] = []
        self._official: list[np.ndarray] = []

    def add(self, truth: np.ndarray, categories: np.ndarray) -> None:
        """Count a frame.

        Args:
            truth: label ids uint8[H, W].
            categories: category ids uint8[H, W] that the model answers.
        """
        counts = confusion_of_categories(truth, categories, self.labels)
        self._total += counts
        self._plain.append(category_confusion(counts, self.labels))
        self._official.append(official_confusion(counts, self.labels))

    @property
    def scores(self) -> Scores:
        """Of all frames together."""
        return score(self._total, self.labels)

    @property
    def counts(self) -> np.ndarray:
        """Of each frame the confusion of categories (truth, prediction): int64[F, C, C]."""
        return np.stack(self._plain)

    def intervals(self) -> dict[str, Any]:
        """95 % intervals of the scores of all frames: ``miou``, ``miou_official`` and ``iou``."""
        names, counts = self.labels.names, self.counts
        frames, showing = len(counts), frames_showing(counts)
        iou = resampled_iou(counts)
        official = resampled_iou(np.stack(self._official))[:, : len(names)]
        return {
            "miou": interval(mean_iou(iou), frames),
            "miou_official": interval(mean_iou(official), frames),
            "iou": {
                name: interval(iou[:, place], showing[place]) for place, name in enumerate(names)
            },
        }


def plain_interval(ends: Interval) -> list[float | None] | None:
    """An interval for JSON; None where it does not exist."""
    return None if math.isnan(ends[0]) else [plain_number(end) for end in ends]
