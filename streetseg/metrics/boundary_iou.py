"""Boundary IoU: how well the outlines of categories are met.

Source: Cheng et al., Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, CVPR
2021. There it is of single objects; here of the mask of each category, summed over frames as the
mean IoU is.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from streetseg.data.labels import IGNORE
from streetseg.metrics.confusion import confusion_matrix

SHARE = 0.02
"""Of the diagonal, how far from an outline a pixel is still of the boundary."""


def boundary_width(size: tuple[int, int]) -> int:
    """How many pixels a boundary reaches into a mask of (height, width) pixels."""
    return max(1, round(SHARE * math.hypot(*size)))


def boundary(categories: np.ndarray, width: int) -> np.ndarray:
    """Which pixels are at most ``width`` pixels, diagonals included, from another category.

    The edge of the frame is an outline too. All categories are looked at in one go: a square around
    a pixel of a category's inside has one value, so its least and its greatest are the same.

    Args:
        categories: uint8[H, W], below ``IGNORE`` or that.
        width: in pixels.

    Returns:
        bool[H, W].
    """
    framed = cv2.copyMakeBorder(categories, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=IGNORE)
    square = np.ones((3, 3), np.uint8)
    least = cv2.erode(framed, square, iterations=width)
    greatest = cv2.dilate(framed, square, iterations=width)
    return (least != greatest)[1:-1, 1:-1]


def boundary_confusion(truth: np.ndarray, predicted: np.ndarray, categories: int) -> np.ndarray:
    """Count the pixels that are of a boundary: int64[categories + 1, categories + 1].

    The last row and column stand for pixels inside a mask. ``category_iou`` of the matrix, without
    its last value, is the Boundary IoU of each category.

    Args:
        truth: category ids uint8[H, W]; where they are ``IGNORE``, nothing is counted.
        predicted: category ids uint8[H, W].
        categories: how many there are.
    """
    width = boundary_width(truth.shape[:2])
    known = truth != IGNORE
    masked = np.where(known, predicted, IGNORE).astype(np.uint8)
    outlines = (
        np.where(boundary(ids, width) & known, ids, categories).astype(np.uint8)
        for ids in (truth, masked)
    )
    true_outlines, predicted_outlines = outlines
    return confusion_matrix(true_outlines, predicted_outlines, size=categories + 1)
