"""Upsampling of logits at the network's size to ids or probabilities at the image's size."""

from __future__ import annotations

import cv2
import numpy as np

from streetseg.data.labels import IGNORE
from streetseg.images.resize import Placement, size_of

CHUNK_PIXELS = 1 << 15
"""Pixels interpolated at a time at borders: their logits fit in the processor's cache."""

BAND_ROWS = 64
"""Rows interpolated at a time when all pixels are: they fit in the processor's cache."""

MAX_BORDER_FRACTION = 0.15
"""Fraction of pixels at borders above which interpolating every pixel is faster."""


def categories_at(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Category ids uint8[height, width] of logits float32[C, h, w] at ``size`` (height, width).

    The logits are interpolated bilinearly, not the ids, so that edges stay smooth. Where four
    neighbours have the same category, so has every pixel between them, because a mean of logits
    that share their maximum keeps it. If borders are rare, only they are interpolated.
    """
    categories, height, width = logits.shape
    points = np.ascontiguousarray(logits.reshape(categories, -1).T)
    ids = points.argmax(axis=1).astype(np.uint8).reshape(height, width)
    if (height, width) == tuple(size):
        return ids
    at_borders = _borders(ids)
    if at_borders.mean() > MAX_BORDER_FRACTION:
        return _interpolate_all(logits, size)
    top, bottom, down = _neighbours(height, size[0])
    left, right, across = _neighbours(width, size[1])
    borders = np.flatnonzero(at_borders.take(left, axis=1).take(top, axis=0))
    ids = ids.take(left, axis=1).take(top, axis=0)
    for start in range(0, len(borders), CHUNK_PIXELS):
        pixels = borders[start : start + CHUNK_PIXELS]
        y, x = np.divmod(pixels, size[1])
        upper, lower, west, east = top[y] * width, bottom[y] * width, left[x], right[x]
        above = _mix(points.take(upper + west, 0), points.take(upper + east, 0), across[x])
        below = _mix(points.take(lower + west, 0), points.take(lower + east, 0), across[x])
        ids.flat[pixels] = _mix(above, below, down[y]).argmax(axis=1)
    return ids


def frame_categories(
    logits: np.ndarray, frame: tuple[int, int], placement: Placement
) -> np.ndarray:
    """Category ids uint8[H, W] of a frame of (H, W) from the logits float32[C, h, w] of its input.

    Undoes the placement: padding is cut off, and what the network did not see is ``IGNORE``.
    """
    seen = size_of(placement.source, frame)
    ids = categories_at(shown_part(logits, placement), seen)
    if seen == frame:
        return ids
    categories = np.full(frame, IGNORE, np.uint8)
    categories[placement.source] = ids
    return categories


def frame_probabilities(
    logits: np.ndarray, frame: tuple[int, int], placement: Placement
) -> np.ndarray:
    """Probabilities float32[C, H, W] of a frame, from what :func:`frame_categories` takes.

    Their largest is the category there, but for ties of rounding. What the network did not see
    is 0.
    """
    seen = size_of(placement.source, frame)
    probabilities = probabilities_at(shown_part(logits, placement), seen)
    if seen == frame:
        return probabilities
    everywhere = np.zeros((len(logits), *frame), np.float32)
    everywhere[:, *placement.source] = probabilities
    return everywhere


def probabilities_at(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Probabilities float32[C, height, width]: the softmax of bilinearly interpolated logits."""
    if logits.shape[1:] == tuple(size):
        return softmax(logits)
    wide = _widened(logits, size[1])
    top, bottom, down = _neighbours(logits.shape[1], size[0])
    probabilities = np.empty((len(logits), *size), np.float32)
    for start in range(0, size[0], BAND_ROWS):
        band = slice(start, start + BAND_ROWS)
        for plane, rows in zip(wide, probabilities[:, band], strict=True):
            rows[:] = _mix(plane[top[band]], plane[bottom[band]], down[band])
        probabilities[:, band] = softmax(probabilities[:, band])
    return probabilities


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32[C, h, w] of logits float32[C, h, w]."""
    exponentials = np.exp(logits - logits.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


def shown_part(logits: np.ndarray, placement: Placement) -> np.ndarray:
    """The logits float32[C, h, w] of the pixels of an input that show the frame."""
    return logits[:, *placement.target]


def _interpolate_all(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    wide = _widened(logits, width)
    top, bottom, down = _neighbours(logits.shape[1], height)
    ids = np.zeros(size, np.uint8)
    for start in range(0, height, BAND_ROWS):
        band = slice(start, start + BAND_ROWS)
        band_ids = ids[band]
        largest = np.full(band_ids.shape, -np.inf, logits.dtype)
        for category, plane in enumerate(wide):
            interpolated = _mix(plane[top[band]], plane[bottom[band]], down[band])
            np.copyto(band_ids, category, where=interpolated > largest)
            np.maximum(largest, interpolated, out=largest)
    return ids


def _widened(logits: np.ndarray, width: int) -> np.ndarray:
    """Logits float32[C, h, w] interpolated along their rows: float32[C, h, width]."""
    categories, rows, _ = logits.shape
    wide = np.empty((categories, rows, width), logits.dtype)
    for plane, widened in zip(logits, wide, strict=True):
        cv2.resize(plane, (width, rows), dst=widened)
    return wide


def _neighbours(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per target pixel, int64 indices of two neighbours and the float32 weight of the second."""
    centres = ((np.arange(target) + 0.5) * (source / target) - 0.5).clip(0, source - 1)
    first = centres.astype(np.int64)
    return first, np.minimum(first + 1, source - 1), (centres - first).astype(np.float32)


def _borders(ids: np.ndarray) -> np.ndarray:
    """Where an id differs from its right, lower or lower right neighbour: bool[h, w]."""
    borders = np.zeros(ids.shape, bool)
    borders[:, :-1] = ids[:, :-1] != ids[:, 1:]
    borders[:-1] |= ids[:-1] != ids[1:]
    borders[:-1, :-1] |= ids[:-1, :-1] != ids[1:, 1:]
    return borders


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``first + weight * (second - first)`` for float32[n, k] and float32[n]; reuses ``second``."""
    second -= first
    second *= weight[:, None]
    second += first
    return second
