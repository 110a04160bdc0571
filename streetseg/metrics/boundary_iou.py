"""Boundary IoU: how well the outlines of categories are met.

Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR
2021. The paper scores single objects; here it is the mask of each category, summed over frames as
for the mean IoU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.metrics.confusion import (
    category_iou,
    confusion_matrix,
    plain_number,
    plain_numbers,
)
from streetseg.metrics.jackknife import Drives, Jackknife, plain_interval
from streetseg.metrics.metric import ScoredFrame

WIDTH_FRACTION = 0.02
"""Width of a boundary, as a fraction of the diagonal of the frame."""


@dataclass
class BoundaryIou:
    """Boundary IoU of each category, and their mean with its interval."""

    labels: LabelSpace
    counts: list[np.ndarray] = field(default_factory=list)
    """:func:`boundary_confusion` of each frame."""
    drives: list[str] = field(default_factory=list)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        self.counts.append(
            boundary_confusion(frame.true_categories, frame.categories, len(self.labels.names))
        )
        self.drives.append(frame.drive)

    def result(self) -> dict[str, Any]:
        """``boundary_miou``, ``boundary_iou``, and the interval of the mean."""
        counts = np.stack(self.counts)
        drives = Drives.of_names(np.array(self.drives))
        mean = Jackknife(counts, drives, iou=boundary_iou).mean()
        by_category = zip(self.labels.names, boundary_iou(counts.sum(axis=0)).tolist(), strict=True)
        return {
            "boundary_miou": plain_number(mean.value),
            "boundary_iou": plain_numbers(dict(by_category)),
            "intervals": {"boundary_miou": plain_interval(mean.interval())},
        }


def boundary_iou(confusion: np.ndarray) -> np.ndarray:
    """Boundary IoU of each category: float64[..., C] of [..., C + 1, C + 1]."""
    return category_iou(confusion)[..., :-1]


def boundary_width(size: tuple[int, int]) -> int:
    """Width in pixels of a boundary in a mask of (height, width) pixels."""
    return max(1, round(WIDTH_FRACTION * math.hypot(*size)))


def boundary(categories: np.ndarray, width: int) -> np.ndarray:
    """Pixels at most ``width`` pixels, diagonals included, from another category: bool[H, W].

    ``categories`` are ids uint8[H, W], or ``IGNORE``. The edge of the frame is an outline too.
    Inside a category, the square around a pixel holds a single value, so its minimum equals its
    maximum.
    """
    framed = cv2.copyMakeBorder(categories, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=IGNORE)
    square = np.ones((3, 3), np.uint8)
    minimum = cv2.erode(framed, square, iterations=width)
    maximum = cv2.dilate(framed, square, iterations=width)
    return (minimum != maximum)[1:-1, 1:-1]


def boundary_confusion(truth: np.ndarray, predicted: np.ndarray, categories: int) -> np.ndarray:
    """Count the boundary pixels of category ids uint8[H, W]: int64[categories + 1, categories + 1].

    Pixels whose truth is ``IGNORE`` are not counted. The last row and column stand for pixels
    inside a mask. ``category_iou`` of the matrix, without its last value, is the Boundary IoU of
    each category.
    """
    width = boundary_width(truth.shape[:2])
    labelled = truth != IGNORE
    counted = np.where(labelled, predicted, IGNORE).astype(np.uint8)
    true_outlines, predicted_outlines = (
        np.where(boundary(ids, width) & labelled, ids, categories).astype(np.uint8)
        for ids in (truth, counted)
    )
    return confusion_matrix(true_outlines, predicted_outlines, size=categories + 1)
