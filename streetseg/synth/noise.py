"""Tileable noise and colours for every part of the scene."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

Rgb = tuple[float, float, float]
"""A colour of a surface, 0..1 per channel, in display (sRGB) space."""

TILE = 512
"""Side of a noise tile, in pixels."""

SHARED_COLORS: tuple[Rgb, ...] = (
    (0.86, 0.85, 0.82),
    (0.62, 0.63, 0.65),
    (0.38, 0.39, 0.41),
    (0.15, 0.15, 0.17),
    (0.60, 0.16, 0.13),
    (0.55, 0.30, 0.22),
    (0.78, 0.62, 0.36),
    (0.80, 0.72, 0.55),
    (0.25, 0.38, 0.20),
    (0.42, 0.50, 0.27),
    (0.55, 0.64, 0.50),
    (0.20, 0.32, 0.55),
    (0.50, 0.62, 0.76),
    (0.68, 0.76, 0.82),
    (0.16, 0.22, 0.34),
    (0.70, 0.42, 0.18),
    (0.45, 0.36, 0.28),
    (0.73, 0.55, 0.52),
)
"""Colours common to cars, clothes, facades and signs, so that no colour reveals a class."""


@lru_cache(maxsize=16)
def noise_tile(slope: float, seed: int = 0) -> np.ndarray:
    """Noise with amplitude spectrum 1 / frequency ** slope.

    Args:
        slope: 0 is white, 1 cloudy, 2 smooth.
        seed: which tile of this kind.

    Returns:
        float32[TILE, TILE], mean 0, standard deviation 1, periodic on both axes; read-only.
    """
    white = np.random.default_rng(seed).standard_normal((TILE, TILE))
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :])
    frequency[0, 0] = np.inf
    tile = np.fft.irfft2(np.fft.rfft2(white) / frequency**slope, s=(TILE, TILE))
    tile = ((tile - tile.mean()) / tile.std()).astype(np.float32)
    tile.setflags(write=False)
    return tile


def noise_patch(
    slope: float, shape: tuple[int, int], step: float, origin: tuple[float, float]
) -> np.ndarray:
    """A window of a noise tile, repeated where it runs over the edge.

    Args:
        slope: as for :func:`noise_tile`.
        shape: rows and columns wanted.
        step: tile pixels from one output pixel to the next.
        origin: row and column of the tile at the first output pixel.

    Returns:
        float32[shape].
    """
    rows = (np.arange(shape[0]) * step + origin[0]).astype(np.int64) % TILE
    columns = (np.arange(shape[1]) * step + origin[1]).astype(np.int64) % TILE
    return np.asarray(noise_tile(slope)[np.ix_(rows, columns)])


def vary(rng: np.random.Generator, color: Rgb, spread: float = 0.05) -> Rgb:
    """A colour near ``color``: brightness and hue each changed by about ``spread``."""
    moved = np.asarray(color) * (1 + rng.normal(0, spread) + rng.normal(0, spread / 3, 3))
    red, green, blue = moved.tolist()
    return min(max(red, 0.02), 0.97), min(max(green, 0.02), 0.97), min(max(blue, 0.02), 0.97)


def shared_color(rng: np.random.Generator) -> Rgb:
    """One of the colours that all classes of things have in common, slightly varied."""
    return vary(rng, SHARED_COLORS[rng.integers(len(SHARED_COLORS))])


def pick_color(rng: np.random.Generator, palette: tuple[Rgb, ...]) -> Rgb:
    """One colour of ``palette``, slightly varied."""
    return vary(rng, palette[rng.integers(len(palette))])


def to_bytes(color: Rgb | np.ndarray) -> tuple[int, int, int]:
    """A 0..1 colour as the 0..255 integers that OpenCV draws with."""
    red, green, blue = (int(min(max(channel, 0.0), 1.0) * 255 + 0.5) for channel in color)
    return red, green, blue


def to_rgb(color: np.ndarray) -> Rgb:
    """A float[3] as a colour."""
    red, green, blue = color.tolist()
    return red, green, blue


def colored(gain: np.ndarray, ramp: np.ndarray, top: float) -> np.ndarray:
    """Convert brightness to colour.

    Args:
        gain: float32[H, W], 0 .. ``top``.
        ramp: float[256, 3], the colour (0..1) at each of 256 steps from 0 to ``top``.
        top: brightness of the last step.

    Returns:
        uint8[H, W, 3].
    """
    index = cv2.cvtColor(cv2.convertScaleAbs(gain, alpha=255 / top), cv2.COLOR_GRAY2RGB)
    table = np.clip(ramp * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(index, table.reshape(256, 1, 3)))


def tinted(texture: np.ndarray, tint: np.ndarray) -> np.ndarray:
    """``texture`` (uint8[H, W, 3]) with each channel multiplied by ``tint`` (float[3])."""
    return cv2.merge([cv2.convertScaleAbs(texture[..., c], alpha=float(tint[c])) for c in range(3)])
