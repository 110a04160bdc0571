"""Resizing and blending, and how a frame meets the size of a network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Fit = Literal["stretch", "pad", "crop"]
"""How a frame meets an input of another aspect ratio: distorted, whole between bars, or cut."""

ALL = slice(None)
STEP = 32
"""Sides that are multiples of it suit every network without padding."""
SAME_ASPECT = 0.01
"""Relative change of the aspect ratio up to which two sizes have the same."""


@dataclass(frozen=True)
class Placement:
    """Which part of a frame an input shows, and where; by default all of it, everywhere.

    Both are (rows, columns): ``source`` of the frame, ``target`` of the input.
    """

    source: tuple[slice, slice] = (ALL, ALL)
    target: tuple[slice, slice] = (ALL, ALL)


WHOLE = Placement()


def place(frame: tuple[int, int], size: tuple[int, int], fit: Fit) -> Placement:
    """Place a frame of (height, width) in an input of ``size``.

    ``pad`` keeps the aspect ratio and shows all of the frame, between bars; ``crop`` keeps it and
    fills the input, with the centre of the frame. The part that is shown has whole pixels, so the
    aspect ratio is kept to half a pixel.
    """
    scales = [inner / outer for inner, outer in zip(size, frame, strict=True)]
    if fit == "stretch" or scales[0] == scales[1]:
        return WHOLE
    if fit == "pad":
        return Placement(target=_centred(frame, size, min(scales)))
    return Placement(source=_centred(size, frame, 1 / max(scales)))


def _centred(inner: tuple[int, int], outer: tuple[int, int], scale: float) -> tuple[slice, slice]:
    """The rows and columns of ``outer`` that ``inner`` covers, scaled and centred."""
    slices = []
    for length, room in zip(inner, outer, strict=True):
        covered = min(room, max(1, round(length * scale)))
        first = (room - covered) // 2
        slices.append(slice(first, first + covered))
    return slices[0], slices[1]


def size_of(part: tuple[slice, slice], whole: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a part of an image of (height, width)."""
    height, width = (len(range(*axis.indices(n))) for axis, n in zip(part, whole, strict=True))
    return height, width


def fit_rgb(rgb: np.ndarray, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """A frame uint8[H, W, 3] as an input of (height, width), with black bars."""
    placement = place((rgb.shape[0], rgb.shape[1]), size, fit)
    shown = resize_rgb(rgb[placement.source], size_of(placement.target, size))
    return pad(shown, size, placement)


def pad(
    shown: np.ndarray, size: tuple[int, int], placement: Placement, fill: int = 0
) -> np.ndarray:
    """The part of an input uint8[h, w, ...] in an input of (height, width), ``fill`` around it."""
    if shown.shape[:2] == tuple(size):
        return shown
    padded = np.full((*size, *shown.shape[2:]), fill, np.uint8)
    padded[placement.target] = shown
    return padded


def aspect_change(frame: tuple[int, int], size: tuple[int, int]) -> float:
    """Relative change of the aspect ratio by resizing (height, width) to ``size``."""
    return abs(size[1] / size[0] * frame[0] / frame[1] - 1)


def nearest_size(frame: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) with the aspect ratio of ``frame`` and about the pixels of ``size``.

    Its sides are multiples of 32 if such a size has half to twice the pixels.
    """
    pixels = size[0] * size[1]
    height = math.sqrt(pixels * frame[0] / frame[1])
    heights = range(STEP, round(1.5 * height) + STEP, STEP)
    sizes = [(h, STEP * max(1, round(h * frame[1] / frame[0] / STEP))) for h in heights]
    fitting = [
        each
        for each in sizes
        if aspect_change(frame, each) <= SAME_ASPECT
        and pixels / 2 <= each[0] * each[1] <= 2 * pixels
    ]
    exact = max(STEP, round(height)), max(STEP, round(pixels / height))
    return min(fitting, key=lambda each: abs(math.log(each[0] / height)), default=exact)


def resize_rgb(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize colours to (height, width): each pixel is the mean of the area it covers."""
    height, width = size
    while _halves_to(rgb.shape[0], height) and rgb.shape[0] * width == rgb.shape[1] * height:
        # The mean of means is the mean, and OpenCV halves much faster than it divides by four.
        rgb = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = rgb.shape[0] >= height and rgb.shape[1] >= width
    return cv2.resize(
        rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def resize_ids(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize ids to (height, width): each pixel is the id nearest to its centre."""
    height, width = size
    return cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def blend(rgb: np.ndarray, colors: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Lay ``colors`` over ``rgb`` (both uint8[H, W, 3]) with an opacity of 0 to 1."""
    return cv2.addWeighted(colors, opacity, rgb, 1 - opacity, 0)


def _halves_to(length: int, target: int) -> bool:
    factor, remainder = divmod(length, target)
    return remainder == 0 and factor > 1 and factor & (factor - 1) == 0
