"""The confusion matrices of a split, from which most scores come."""

from __future__ import annotations

from typing import Any

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.metrics.bootstrap import (
    frames_showing,
    interval,
    mean_iou,
    plain_interval,
    resampled_iou,
)
from streetseg.metrics.confusion import Scores, official_confusion, score
from streetseg.metrics.metric import ScoredFrame


class ConfusionAccumulator:
    """The confusion matrices of the frames so far, as a :class:`Metric` of their intervals."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames; ``labels`` is the label space of truth and prediction."""
        self.labels = labels
        self._total = np.zeros((256, 256), np.int64)
        self._plain: list[np.ndarray] = []
        self._official: list[np.ndarray] = []

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        self._total += frame.confusion
        self._plain.append(frame.category_confusion)
        self._official.append(official_confusion(frame.confusion, self.labels))

    @property
    def scores(self) -> Scores:
        """The scores of all frames together."""
        return score(self._total, self.labels)

    @property
    def counts(self) -> np.ndarray:
        """Category confusion (truth, prediction) of each frame: int64[F, C, C]."""
        return np.stack(self._plain)

    def result(self) -> dict[str, Any]:
        """95 % intervals: of ``miou``, of ``miou_official``, and under ``iou`` of each category."""
        names, counts = self.labels.names, self.counts
        n_frames, n_showing = len(counts), frames_showing(counts)
        iou = resampled_iou(counts)
        official_iou = resampled_iou(np.stack(self._official))[:, : len(names)]
        intervals = {
            "miou": plain_interval(interval(mean_iou(iou), n_frames)),
            "miou_official": plain_interval(interval(mean_iou(official_iou), n_frames)),
            "iou": {
                name: plain_interval(interval(iou[:, category], n_showing[category]))
                for category, name in enumerate(names)
            },
        }
        return {"intervals": intervals}
