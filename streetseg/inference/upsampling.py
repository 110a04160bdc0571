"""From the network's size to the image's: the category of each pixel."""

from __future__ import annotations

import cv2
import numpy as np

CHUNK = 1 << 15
"""Pixels that are interpolated at a time: their logits stay in the processor's cache."""

ROWS = 64
"""Rows of the answer that are interpolated at a time, where all are: for the same reason."""

MAX_BORDER_FRACTION = 0.15
"""Share of the network's pixels at borders, above which interpolating all takes less time."""


def categories_at(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The most likely category of each pixel at another size.

    The logits are interpolated bilinearly, not the ids: edges stay smooth. Between four neighbours
    that agree on the category nothing needs to be computed, as every mean of their logits has its
    maximum there too; so where borders between categories are few, they alone are interpolated.

    Args:
        logits: float32[C, h, w].
        size: (height, width) of the answer.

    Returns:
        Category ids uint8[height, width].
    """
    categories, height, width = logits.shape
    points = np.ascontiguousarray(logits.reshape(categories, -1).T)
    ids = points.argmax(axis=1).astype(np.uint8).reshape(height, width)
    if (height, width) == tuple(size):
        return ids
    at_borders = _borders(ids)
    if at_borders.mean() > MAX_BORDER_FRACTION:
        return _everywhere(logits, size)
    top, bottom, down = _neighbours(height, size[0])
    left, right, across = _neighbours(width, size[1])
    borders = np.flatnonzero(at_borders.take(left, axis=1).take(top, axis=0))
    ids = ids.take(left, axis=1).take(top, axis=0)
    for start in range(0, len(borders), CHUNK):
        pixels = borders[start : start + CHUNK]
        y, x = np.divmod(pixels, size[1])
        upper, lower, west, east = top[y] * width, bottom[y] * width, left[x], right[x]
        above = _mix(points.take(upper + west, 0), points.take(upper + east, 0), across[x])
        below = _mix(points.take(lower + west, 0), points.take(lower + east, 0), across[x])
        ids.flat[pixels] = _mix(above, below, down[y]).argmax(axis=1)
    return ids


def _everywhere(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The same, with every pixel interpolated: faster where borders are everywhere."""
    (categories, rows, _), (height, width) = logits.shape, size
    wide = np.empty((categories, rows, width), logits.dtype)
    for plane, widened in zip(logits, wide, strict=True):
        cv2.resize(plane, (width, rows), dst=widened)
    top, bottom, down = _neighbours(rows, height)
    ids = np.zeros(size, np.uint8)
    for start in range(0, height, ROWS):
        band = slice(start, start + ROWS)
        shown = ids[band]
        largest = np.full(shown.shape, -np.inf, logits.dtype)
        for category, plane in enumerate(wide):
            mixed = _mix(plane[top[band]], plane[bottom[band]], down[band])
            np.copyto(shown, category, where=mixed > largest)
            np.maximum(largest, mixed, out=largest)
    return ids


def _neighbours(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each of ``wanted`` pixels, the two of ``length`` it lies between, and the second's share.

    Returns:
        int64[wanted] twice, and float32[wanted] from 0 to 1.
    """
    centres = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).clip(0, length - 1)
    first = centres.astype(np.int64)
    return first, np.minimum(first + 1, length - 1), (centres - first).astype(np.float32)


def _borders(ids: np.ndarray) -> np.ndarray:
    """Where an id differs from one of its right, lower and lower right neighbours: bool[h, w]."""
    borders = np.zeros(ids.shape, bool)
    borders[:, :-1] = ids[:, :-1] != ids[:, 1:]
    borders[:-1] |= ids[:-1] != ids[1:]
    borders[:-1, :-1] |= ids[:-1, :-1] != ids[1:, 1:]
    return borders


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """``first`` float32[n, k] and a ``share`` float32[n] of ``second`` instead."""
    second -= first
    second *= share[:, None]
    second += first
    return second
