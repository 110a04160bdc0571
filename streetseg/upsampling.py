"""From the network's size to the picture's: the category of each pixel."""

from __future__ import annotations

import cv2
import numpy as np

CHUNK = 1 << 15
"""Pixels that are interpolated at a time: their logits stay in the processor's cache."""

ROWS = 16
"""The same, where all are interpolated."""

MOST_BORDERS = 0.2
"""Share of the pixels above which interpolating all of them takes less time."""


def categories_at(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The most likely category of each pixel at another size.

    The logits are interpolated bilinearly, not the ids: edges stay smooth. Between four neighbours
    that agree on the category nothing needs to be computed, as every mean of their logits has its
    maximum there too; so only the borders between categories are interpolated.

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
    top, bottom, down = _neighbours(height, size[0])
    left, right, across = _neighbours(width, size[1])
    at_borders = _borders(ids).take(left, axis=1).take(top, axis=0)
    if np.count_nonzero(at_borders) > MOST_BORDERS * at_borders.size:
        return _everywhere(logits, size)
    borders = np.flatnonzero(at_borders)
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
    height, width = size
    top, bottom, down = _neighbours(logits.shape[1], height)
    wide = np.stack([cv2.resize(plane, (width, logits.shape[1])) for plane in logits])
    ids = np.empty(size, np.uint8)
    for start in range(0, height, ROWS):
        rows = slice(start, start + ROWS)
        planes = wide[:, bottom[rows]]
        planes -= wide[:, top[rows]]
        planes *= down[rows, None]
        planes += wide[:, top[rows]]
        ids[rows] = planes.argmax(axis=0)
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
    """``first`` float32[n, C] and a ``share`` float32[n] of ``second`` instead."""
    second -= first
    second *= share[:, None]
    second += first
    return second
