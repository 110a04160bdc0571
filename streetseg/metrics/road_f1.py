"""MaxF1, the score of the KITTI road benchmark, in perspective view.

Source: Fritsch et al., A New Performance Measure and Evaluation Benchmark for Road Detection
Algorithms, ITSC 2013, section IV. The benchmark server scores in bird's-eye view, so its numbers
and these are not comparable, and it scores the kinds of road (um, umm, uu) one by one.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.metrics.confusion import plain_number

LABEL_SPACE, ROAD = "kitti-road", "road"

LEVELS = 256
"""Thresholds of the probability: 0 to 1 in steps of 1 / 255, as 8-bit submissions have it."""


class RoadCurve:
    """How many pixels of road, and of the rest, the network gives each probability of road."""

    def __init__(self, labels: LabelSpace) -> None:
        """With nothing counted yet; ``labels`` must have the category "road"."""
        self.labels = labels
        self.road = np.zeros(LEVELS, np.int64)
        self.rest = np.zeros(LEVELS, np.int64)

    def add(self, truth: np.ndarray, probabilities: np.ndarray) -> None:
        """Count a frame.

        Args:
            truth: label ids uint8[H, W]; those without a category are not valid, and not counted.
            probabilities: float32[C, h, w] of the network, 0 to 1, at its own size.
        """
        road = self.labels.category_id(ROAD)
        height, width = truth.shape
        probability = cv2.resize(probabilities[road], (width, height))
        levels = np.rint(probability * (LEVELS - 1)).astype(np.uint8)
        categories = self.labels.category_of[truth]
        self.road += np.bincount(levels[categories == road], minlength=LEVELS)
        rest = (categories != road) & (categories != IGNORE)
        self.rest += np.bincount(levels[rest], minlength=LEVELS)

    def to_dict(self) -> dict[str, Any]:
        """The highest F1 over all thresholds, and what belongs to it; for JSON."""
        hit = self.road[::-1].cumsum()[::-1]
        called = hit + self.rest[::-1].cumsum()[::-1]
        total = self.road.sum()
        with np.errstate(invalid="ignore"):
            f1 = 2 * hit / (called + total)
            precision, recall = hit / called, hit / total
        best = int(np.nanargmax(f1)) if total else 0
        return {
            "name": "KITTI road, in perspective view",
            "max_f1": plain_number(f1[best]),
            "precision": plain_number(precision[best]),
            "recall": plain_number(recall[best]),
            "threshold": plain_number(best / (LEVELS - 1)),
        }
