"""Resizing and blending."""

from __future__ import annotations

import cv2
import numpy as np


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
