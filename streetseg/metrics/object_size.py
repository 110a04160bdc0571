"""IoU by object size: whether the small, which are mostly the far ones, are found.

An object is a connected part of a category (4 neighbours). A true pixel counts at the size of its
true part, a false positive at that of the part of the prediction that it is in, so that a size has
an IoU without matching parts to each other. The limits are those of COCO, in native pixels.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.metrics.confusion import plain_numbers
from streetseg.metrics.metric import ScoredFrame

SIZES = ("small", "medium", "large")
LIMITS = (32**2, 96**2)
"""Pixels from which a part is medium, and large."""
MAX_WIDTH = 1024
"""Of wider frames, every second (third, ...) row and column is measured."""


class ObjectSizeScores:
    """Counts int64[C, 3 sizes] of true positives, misses, false positives and true parts."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames."""
        self.names = labels.names
        self._hits, self._misses, self._false, self._parts = np.zeros(
            (4, len(self.names), len(SIZES)), np.int64
        )

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame at native size."""
        step = -(-frame.categories.shape[1] // MAX_WIDTH)
        truth = frame.true_categories[::step, ::step]
        predicted = frame.categories[::step, ::step]
        for category in self._present(truth):
            true, found = truth == category, predicted == category
            size_of, sizes = _parts(true, step)
            self._parts[category] += np.bincount(sizes, minlength=len(SIZES))
            self._hits[category] += _by_size(size_of, true & found)
            self._misses[category] += _by_size(size_of, true & ~found)
        for category in self._present(predicted):
            found = predicted == category
            wrong = found & (truth != category) & (truth != IGNORE)
            if wrong.any():
                self._false[category] += _by_size(_parts(found, step)[0], wrong)

    def _present(self, ids: np.ndarray) -> np.ndarray:
        """The categories that occur in uint8[H, W]."""
        return np.flatnonzero(np.bincount(ids.ravel(), minlength=256)[: len(self.names)])

    def result(self) -> dict[str, Any]:
        """``object_sizes``: for each size its ``name``, and by category ``iou`` (None where the
        truth shows none of that size) and ``parts``, their number."""
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = self._hits / (self._hits + self._misses + self._false)
        iou[self._parts == 0] = np.nan
        return {
            "object_sizes": [
                {
                    "name": name,
                    "iou": plain_numbers(dict(zip(self.names, iou[:, size].tolist(), strict=True))),
                    "parts": dict(zip(self.names, self._parts[:, size].tolist(), strict=True)),
                }
                for size, name in enumerate(SIZES)
            ]
        }


def _parts(mask: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The size (its number in ``SIZES``) of the part that each pixel of bool[H, W] is in, and of
    each part."""
    _, part_of, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    sizes = np.searchsorted(LIMITS, stats[:, cv2.CC_STAT_AREA] * step**2, side="right")
    return sizes[part_of], sizes[1:]


def _by_size(size_of: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The chosen pixels by size: int64[3] of two [H, W]."""
    return np.bincount(size_of[chosen], minlength=len(SIZES))
