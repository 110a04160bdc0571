"""MaxF1, the score of the KITTI road benchmark, in perspective view.

Source: Fritsch et al., A New Performance Measure and Evaluation Benchmark for Road Detection
Algorithms, ITSC 2013, section IV. The benchmark server scores in bird's-eye view and each kind of
road (um, umm, uu) separately, so its numbers and these are not comparable.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.metrics.confusion import plain_numbers
from streetseg.metrics.metric import ScoredFrame

ROAD = "road"

LEVELS = 256
"""Thresholds of the probability: 0 to 1 in steps of 1 / 255, as in 8-bit submissions."""


class RoadF1:
    """Pixels of road, and of everything else, by their predicted probability of road."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames; ``labels`` must have the category "road"."""
        self._road_id = labels.category_id(ROAD)
        self.road = np.zeros(LEVELS, np.int64)
        self.background = np.zeros(LEVELS, np.int64)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame at native size; pixels without a category are invalid and not counted."""
        truth = frame.true_categories
        height, width = truth.shape
        probability = cv2.resize(frame.probabilities[self._road_id], (width, height))
        levels = np.rint(probability * (LEVELS - 1)).astype(np.uint8)
        is_road = truth == self._road_id
        self.road += np.bincount(levels[is_road], minlength=LEVELS)
        is_background = ~is_road & (truth != IGNORE)
        self.background += np.bincount(levels[is_background], minlength=LEVELS)

    def result(self) -> dict[str, Any]:
        """``benchmark``: the highest F1, with its precision, recall and threshold."""
        true_positive = self.road[::-1].cumsum()[::-1]
        predicted = true_positive + self.background[::-1].cumsum()[::-1]
        total = self.road.sum()
        with np.errstate(invalid="ignore"):
            f1 = 2 * true_positive / (predicted + total)
            precision, recall = true_positive / predicted, true_positive / total
        best = int(np.nanargmax(f1)) if total else 0
        scores = {
            "max_f1": f1[best],
            "precision": precision[best],
            "recall": recall[best],
            "threshold": best / (LEVELS - 1),
        }
        return {"benchmark": {"name": "KITTI road, in perspective view"} | plain_numbers(scores)}
