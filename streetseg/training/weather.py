"""Driving conditions that are rare in datasets: rain, fog, low sun, shadows, a dirty lens.

Each is an overlay of one colour with an ``opacity`` float32[h, w] from 0 to 1, which may be coarser
than the frame. Lengths are fractions of the frame's height, so that all look the same at any size.

Of albumentations' transforms of these names, fog blurs and takes 0.25 s, flare is a stack of
circles, shadows intersect themselves, mud is a uniform speckle, and most lengths are in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import albumentations as A
import cv2
import numpy as np

Color = tuple[float, float, float]
"""RGB on 0..255."""
Draw = Callable[[tuple[int, int], np.random.Generator], tuple[np.ndarray, Color]]
"""Draws the opacity and colour of an overlay for a frame of (height, width)."""

CAMERA = 2.7
"""Distance to a point of the road in metres times its position below the horizon in frame heights.

Camera height 1.22 m times focal length 2262 px over 1024 rows, from Cityscapes' calibration."""
MAX_DISTANCE = 80.0
"""Distance in metres of everything at and above the horizon."""


class WeatherOverlay(A.ImageOnlyTransform):
    """Blend an overlay onto the image, but not the mask."""

    def __init__(self, draw: Draw, p: float) -> None:
        """Apply an overlay from ``draw`` with probability ``p``."""
        super().__init__(p=p)
        self.draw = draw

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """An overlay for a frame of this size."""
        opacity, color = self.draw(params["shape"][:2], self.random_generator)
        return {"opacity": opacity, "color": color}

    def apply(self, img: np.ndarray, opacity: np.ndarray, color: Color, **_: Any) -> np.ndarray:
        """The image under the overlay: uint8[H, W, 3]."""
        height, width = img.shape[:2]
        alpha = cv2.resize((255 * opacity.clip(0, 1)).round().astype(np.uint8), (width, height))
        alpha = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)
        color_of_alpha = np.outer(np.arange(256) / 255, color).round().astype(np.uint8)
        scene = cv2.multiply(img, cv2.bitwise_not(alpha), scale=1 / 255)
        return cv2.add(scene, cv2.LUT(alpha, color_of_alpha[:, None]))


def fog(size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, Color]:
    """Fog that thickens with distance: exp(-3 distance / visibility) of the scene remains.

    Koschmieder's law with the meteorological visibility (5 % contrast), as in Sakaridis et al.,
    "Semantic Foggy Scene Understanding with Synthetic Data", IJCV 2018. Their distance is from
    stereo; here it is that of a flat road, row by row, up to the horizon.
    """
    below_horizon = (np.arange(size[0]) + 0.5) / size[0] - random.uniform(0.38, 0.5)
    distance = 1 / (np.maximum(below_horizon, 0) / CAMERA + 1 / MAX_DISTANCE)
    opacity = 1 - np.exp(-3 * distance / random.uniform(80, 400))
    gray = random.uniform(195, 235)
    return opacity[:, None], (gray, gray, gray)


def rain(size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, Color]:
    """Streaks of falling drops that slant with the wind, over a grey that lowers the contrast."""
    height, width = size
    opacity = np.full(size, random.uniform(0.1, 0.25), np.float32)
    slant = random.uniform(-0.3, 0.3)
    for count, length, thickness, strength in ((900, 0.05, 1, 0.3), (150, 0.15, 2, 0.2)):
        number = round(count * random.uniform(0.5, 1.5) * width / height / 2)
        start = random.uniform((-0.1 * width, -length * height), (1.1 * width, height), (number, 2))
        fall = length * height * random.uniform(0.5, 1.5, (number, 1))
        lines = np.stack([start, start + fall * (slant, 1)], axis=1)
        streaks = np.zeros(size, np.uint8)
        pixels = thickness * height / 512
        style = 255, max(1, round(pixels)), cv2.LINE_AA, 4
        cv2.polylines(streaks, list((lines * 16).astype(np.int32)), False, *style)
        opacity += streaks * np.float32(strength * min(1, pixels) / 255)
    gray = random.uniform(150, 200)
    return opacity, (gray, gray, gray)


def sun_flare(size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, Color]:
    """A low sun ahead: disc, glow, and lens ghosts on the line from it through the centre."""
    y, x = _grid(size)
    center = np.array([0.5, 0.5 * size[1] / size[0]])
    sun = random.uniform((0, 0), (0.35, 2 * center[1]))
    distance = np.hypot(y - sun[0], x - sun[1])
    transparency = 1 - np.exp(-((distance / random.uniform(0.04, 0.1)) ** 2))
    transparency *= 1 - random.uniform(0.7, 1) * np.exp(-distance / random.uniform(0.3, 0.6))
    for _ in range(random.integers(3, 6)):
        ghost = center + random.uniform(-0.6, 1.2) * (center - sun)
        radius = random.uniform(0.015, 0.07)
        edge = (radius - np.hypot(y - ghost[0], x - ghost[1])) / 0.01
        transparency *= 1 - random.uniform(0.05, 0.15) * edge.clip(0, 1)
    return 1 - transparency, (255, 252, random.uniform(225, 250))


def shadow(size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, Color]:
    """One to three shadows with straight edges in the lower half, tinted by the blue of the sky."""
    height, width = size[0] // 2, size[1] // 2
    opacity = np.zeros((height, width), np.float32)
    for _ in range(random.integers(1, 4)):
        corners = random.uniform((-0.1 * width, 0.45 * height), (1.1 * width, 1.1 * height), (5, 2))
        hull = cv2.convexHull(corners.astype(np.int32))
        cv2.fillConvexPoly(opacity, hull, random.uniform(0.35, 0.65))
    return cv2.GaussianBlur(opacity, (0, 0), 0.003 * height + 0.3), (10, 14, 26)


def dirt(size: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, Color]:
    """Blots of dried mud on the lens, out of focus: the peaks of noise at two scales."""
    aspect = size[1] / size[0]
    shape = 256, round(256 * aspect)
    blots = np.zeros(shape, np.float32)
    for rows, fraction in ((14, 0.05), (40, 0.04)):
        coarse = random.standard_normal((rows, round(rows * aspect)), np.float32)
        noise = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
        threshold = np.quantile(noise, 1 - fraction * random.uniform(0.5, 1.5))
        blots = np.maximum(blots, 2 * (noise - threshold))
    opacity = cv2.GaussianBlur(blots.clip(0, 1), (0, 0), random.uniform(1, 2.5))
    brightness = random.uniform(0.3, 1)
    color = (115 * brightness, 100 * brightness, 85 * brightness)
    return opacity * random.uniform(0.6, 0.95), color


def _grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows [h, 1] and columns [1, w] of a grid of every fourth pixel, in frame heights."""
    y, x = ((np.arange(length // 4, dtype=np.float32) + 0.5) * 4 / size[0] for length in size)
    return y[:, None], x[None, :]
