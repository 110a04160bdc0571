"""Textures of house fronts: wall, windows, doors, shops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from streetseg.synth.noise import Rgb, colored, noise_patch, shared_color, to_bytes, to_rgb, vary

EDGE, SILL = 0.12, 0.20
"""Width of a window's surround, and how far its sill and the shade below it reach, in metres."""

BASE_SCALE = 64.0
"""Pixels per metre of the wall patterns."""


@lru_cache(maxsize=8)
def wall_pattern(kind: str) -> np.ndarray:
    """Relief of a wall as brightness: float32[256, 256] for 4 m, periodic; 1 is neutral."""
    gain = 1 + 0.025 * noise_patch(0.4, (256, 256), 2, (0, 0))
    rng = np.random.default_rng(7)
    if kind in ("brick", "stone"):
        course, stone = (4, 16) if kind == "brick" else (32, 64)
        for row in range(256 // course):
            shift = (row % 2) * stone // 2
            tones = rng.normal(1, 0.08 if kind == "brick" else 0.05, 256 // stone)
            gain[row * course : (row + 1) * course] *= np.roll(np.repeat(tones, stone), shift)
            gain[row * course : row * course + max(1, course // 16)] *= 0.80
            columns = (np.arange(256 // stone) * stone + shift) % 256
            for i in range(max(1, course // 16)):
                gain[row * course : (row + 1) * course, (columns + i) % 256] *= 0.82
    elif kind == "panels":
        gain[:3] *= 0.72
        gain[:, :3] *= 0.72
        gain[128:131] *= 0.85
    elif kind == "tiles":
        gain *= (1 - 0.30 * ((np.arange(256) % 16) / 16))[:, None]
        gain *= (1 - 0.16 * (np.arange(256) % 13 < 3))[None, :]
    return gain.astype(np.float32)


@dataclass(frozen=True)
class Facade:
    """The look of a house front, independent of resolution."""

    wall: str
    color: Rgb
    trim: Rgb
    frame: Rgb
    floor_height: float
    bay: float
    """Distance from one window to the next, in metres."""
    window: tuple[float, float]
    """Width and height, in metres."""
    shops: bool
    shutters: Rgb | None
    balconies: bool
    lit: float
    """Fraction of windows with the light on."""


def random_facade(
    rng: np.random.Generator, wall: str, colors: tuple[Rgb, ...], *, shops: bool, lit: float
) -> Facade:
    """A house front with a wall of kind ``wall`` in one of ``colors`` (or any shared colour)."""
    color = (
        vary(rng, colors[rng.integers(len(colors))]) if rng.random() < 0.8 else shared_color(rng)
    )
    if wall == "brick" and rng.random() < 0.6:
        color = vary(rng, (0.52, 0.27, 0.20), 0.12)
    light_trim = rng.random() < 0.6
    bay = rng.uniform(2.0, 3.6)
    wide = (
        rng.uniform(0.85, 1.3) if wall not in ("panels", "glass") else bay * rng.uniform(0.6, 0.9)
    )
    return Facade(
        wall="plaster" if wall == "glass" else wall,
        color=to_rgb(0.12 + 0.85 * np.asarray(color)),
        trim=vary(rng, (0.85, 0.84, 0.80) if light_trim else (0.35, 0.33, 0.31)),
        frame=vary(rng, (0.9, 0.9, 0.88) if rng.random() < 0.6 else (0.2, 0.18, 0.16)),
        floor_height=rng.uniform(2.9, 3.7),
        bay=bay,
        window=(wide, rng.uniform(1.3, 2.0) if wall != "glass" else 2.5),
        shops=shops,
        shutters=shared_color(rng) if rng.random() < 0.2 and wall != "glass" else None,
        balconies=bool(rng.random() < 0.3),
        lit=lit,
    )


def wall_texture(
    kind: str, color: Rgb, size: tuple[float, float], scale: float, seed: int
) -> np.ndarray:
    """A bare wall.

    Args:
        kind: as for :func:`wall_pattern`.
        color: of the wall.
        size: width and height, in metres.
        scale: pixels per metre.
        seed: of its stains.

    Returns:
        uint8[h, w, 3].
    """
    width, height = (max(4, round(side * scale)) for side in size)
    side = max(8, round(4 * scale))
    method = cv2.INTER_AREA if scale < BASE_SCALE else cv2.INTER_LINEAR
    pattern = cv2.resize(wall_pattern(kind), (side, side), interpolation=method)
    gain = np.tile(pattern, (height // side + 1, width // side + 1))[:height, :width].copy()
    small = (max(4, height // 8), max(4, width // 8))
    stains = noise_patch(1.2, small, 80 / scale, (seed % 499, seed % 311))
    stained = cv2.resize(stains, (width, height), interpolation=cv2.INTER_LINEAR)
    gain = gain * (1 + 0.05 * np.asarray(stained))
    above = (np.arange(height, dtype=np.float32)[::-1] / scale)[:, None]
    gain *= 1 - 0.28 * np.exp(-above / 0.6) - 0.10 * np.exp(-(size[1] - above) / 0.4)
    return colored(gain, np.linspace(0, 1.6, 256)[:, None] * np.array(color), 1.6)


class Painter:
    """Draws rectangles given in metres on a texture whose rows run downwards."""

    def __init__(self, texture: np.ndarray, scale: float) -> None:
        """Draw on ``texture`` (uint8[h, w, 3]) at ``scale`` pixels per metre."""
        self.texture = texture
        self.scale = scale

    def rectangle(self, left: float, top: float, right: float, bottom: float, color: Rgb) -> None:
        """Fill a rectangle; coordinates in metres from the top left corner."""
        x0, y0, x1, y1 = (round(v * self.scale) for v in (left, top, right, bottom))
        x0, y0 = max(x0, 0), max(y0, 0)
        if x1 > x0 and y1 > y0:
            self.texture[y0:y1, x0:x1] = to_bytes(color)

    def paste(self, image: np.ndarray, center: float, top: float) -> None:
        """Copy ``image`` (uint8[h, w, 3]) to the texture; coordinates in metres."""
        rows, columns = image.shape[:2]
        y = max(round(top * self.scale), 0)
        x = max(round(center * self.scale - columns / 2), 0)
        target = self.texture[y : y + rows, x : x + columns]
        target[:] = image[: target.shape[0], : target.shape[1]]

    def shade(self, left: float, top: float, right: float, bottom: float, gain: float) -> None:
        """Multiply the brightness of a rectangle."""
        x0, y0, x1, y1 = (max(round(v * self.scale), 0) for v in (left, top, right, bottom))
        part = self.texture[y0:y1, x0:x1]
        part[:] = np.clip(part * gain, 0, 255).astype(np.uint8)

    def glass(
        self, left: float, top: float, right: float, bottom: float, upper: Rgb, lower: Rgb
    ) -> None:
        """Fill a pane with a vertical blend of two colours."""
        x0, y0, x1, y1 = (max(round(v * self.scale), 0) for v in (left, top, right, bottom))
        y1, x1 = min(y1, self.texture.shape[0]), min(x1, self.texture.shape[1])
        if x1 > x0 and y1 > y0:
            fraction = np.linspace(0, 1, y1 - y0)[:, None] ** 1.5
            blend = np.array(upper) * (1 - fraction) + np.array(lower) * fraction
            self.texture[y0:y1, x0:x1] = (blend * 255).astype(np.uint8)[:, None]


def facade_texture(
    facade: Facade,
    size: tuple[float, float],
    scale: float,
    seed: int,
    sky: np.ndarray,
) -> np.ndarray:
    """The texture of a house front.

    Args:
        facade: its look.
        size: width and height, in metres.
        scale: pixels per metre.
        seed: of its windows and stains; the same at every scale.
        sky: colour that panes reflect, float[3].

    Returns:
        uint8[h, w, 3].
    """
    rng = np.random.default_rng(seed)
    width, height = size
    texture = wall_texture(facade.wall, facade.color, size, scale, seed)
    paint = Painter(texture, scale)
    floors = max(1, int((height - 0.4) / facade.floor_height))
    bays = max(1, int((width - 0.6) / facade.bay))
    margin = (width - bays * facade.bay) / 2
    ground_floor = height - facade.floor_height
    paint.rectangle(0, 0, width, 0.35, facade.trim)
    paint.shade(0, 0.35, width, 0.55, 0.72)
    cornice = rng.random() < 0.5
    windows = [_window(facade, rng, scale, sky) for _ in range(4)]
    sill = (facade.floor_height - _window_height(facade)) * 0.42 - EDGE
    for floor in range(floors):
        top = height - (floor + 1) * facade.floor_height
        if floor == 0 and facade.shops:
            _shop_front(paint, facade, rng, width, ground_floor, sky)
            continue
        door = int(rng.integers(bays)) if floor == 0 else -1
        if cornice and floor:
            paint.rectangle(
                0, top + facade.floor_height - 0.12, width, top + facade.floor_height, facade.trim
            )
        for bay in range(bays):
            center = margin + (bay + 0.5) * facade.bay
            if bay == door:
                _door(paint, facade, rng, center, height)
            else:
                paint.paste(windows[rng.integers(4)], center, top + sill)
    if floors and not facade.shops:
        paint.shade(0, height - 0.6, width, height, 0.82)
    return texture


def _window(facade: Facade, rng: np.random.Generator, scale: float, sky: np.ndarray) -> np.ndarray:
    """One window with its surround: uint8[h, w, 3]."""
    wide, high = facade.window[0], _window_height(facade)
    shutter = 0.5 if facade.shutters is not None else 0.0
    size = (wide + 2 * (EDGE + shutter), high + EDGE + SILL)
    shape = (max(2, round(size[1] * scale)), max(2, round(size[0] * scale)), 3)
    below = to_bytes(np.asarray(facade.color) * 0.82)
    paint = Painter(np.full(shape, below, np.uint8), scale)
    left, upper = EDGE + shutter, EDGE
    right, lower = left + wide, upper + high
    kind, tone, curtain = rng.random(), rng.uniform(0.25, 0.95), rng.random()
    if facade.shutters is not None:
        paint.rectangle(0, 0, size[0], lower + 0.08, facade.color)
        for edge in (0.0, right + EDGE):
            paint.rectangle(edge, 0.05, edge + shutter, lower, facade.shutters)
            paint.shade(edge + 0.2, 0.05, edge + 0.26, lower, 0.8)
    paint.rectangle(left - EDGE, 0, right + EDGE, lower + 0.08, facade.trim)
    paint.rectangle(left, upper, right, lower, facade.frame)
    pane = (left + 0.06, upper + 0.06, right - 0.06, lower - 0.06)
    if kind < facade.lit:
        paint.glass(*pane, (0.98, 0.85, 0.55), (0.80, 0.60, 0.32))
    else:
        bright = to_rgb(np.clip(sky * tone * 0.75, 0, 1))
        paint.glass(*pane, bright, to_rgb(np.clip(sky * 0.16 + 0.03, 0, 1)))
        if curtain < 0.35:
            cloth = (0.62, 0.60, 0.56) if curtain < 0.25 else (0.45, 0.30, 0.25)
            paint.rectangle(left + 0.08, upper + 0.08, left + wide * 0.28, lower - 0.08, cloth)
            paint.rectangle(right - wide * 0.28, upper + 0.08, right - 0.08, lower - 0.08, cloth)
        elif curtain < 0.5:
            paint.rectangle(*pane[:3], upper + high * 0.45, (0.75, 0.74, 0.70))
    paint.shade(left, upper, right, upper + 0.14, 0.55)
    center = (left + right) / 2
    paint.rectangle(center - 0.03, upper, center + 0.03, lower, facade.frame)
    if high > 1.5:
        paint.rectangle(left, upper + high * 0.33, right, upper + high * 0.33 + 0.05, facade.frame)
    paint.rectangle(left - EDGE, lower, right + EDGE, lower + 0.10, facade.trim)
    return paint.texture


def _window_height(facade: Facade) -> float:
    return min(facade.window[1], facade.floor_height - 0.8)


def _door(
    paint: Painter, facade: Facade, rng: np.random.Generator, center: float, height: float
) -> None:
    color = shared_color(rng)
    top = height - 2.5
    paint.rectangle(center - 0.75, top - 0.15, center + 0.75, height, facade.trim)
    paint.rectangle(center - 0.58, top, center + 0.58, height - 0.12, color)
    paint.rectangle(center - 0.5, top + 0.08, center + 0.5, top + 0.45, (0.2, 0.22, 0.25))
    paint.shade(center - 0.58, top, center + 0.58, top + 0.15, 0.6)
    paint.shade(center - 0.03, top + 0.5, center + 0.03, height - 0.12, 0.6)


def _shop_front(
    paint: Painter,
    facade: Facade,
    rng: np.random.Generator,
    width: float,
    top: float,
    sky: np.ndarray,
) -> None:
    bottom = top + facade.floor_height
    paint.rectangle(0, top, width, bottom, vary(rng, (0.4, 0.38, 0.36), 0.2))
    left = 0.3
    while left < width - 1.5:
        shop = min(rng.uniform(3.5, 7.0), width - left - 0.3)
        sign, letters, inner = shared_color(rng), shared_color(rng), shared_color(rng)
        paint.rectangle(left, top + 0.15, left + shop, top + 0.75, sign)
        for x in np.arange(left + 0.4, left + shop * rng.uniform(0.5, 0.9), 0.34):
            paint.rectangle(x, top + 0.30, x + rng.uniform(0.14, 0.26), top + 0.6, letters)
        glow = 1.0 if facade.lit > 0.1 else 0.55
        pane_top, pane_bottom = top + 0.85, bottom - rng.uniform(0.2, 0.6)
        upper = np.clip(sky * 0.45, 0, 1) if glow < 1 else np.array([0.95, 0.86, 0.66])
        lower = np.clip(np.array(inner) * glow * 0.55, 0, 1)
        paint.glass(
            left + 0.1, pane_top, left + shop - 0.1, pane_bottom, tuple(upper), tuple(lower)
        )
        for x in np.arange(left + 0.5, left + shop - 0.6, 0.9):
            goods = shared_color(rng)
            rise = rng.uniform(0.3, 1.0)
            paint.rectangle(
                x,
                pane_bottom - rise,
                x + rng.uniform(0.3, 0.7),
                pane_bottom,
                tuple(np.array(goods) * 0.75 * glow),
            )
        for x in np.linspace(left + 0.1, left + shop - 0.1, max(2, int(shop / 1.7) + 1)):
            paint.rectangle(x - 0.04, pane_top, x + 0.04, pane_bottom, facade.frame)
        if rng.random() < 0.35:
            color, other = shared_color(rng), (0.9, 0.9, 0.86)
            for i, x in enumerate(np.arange(left, left + shop - 0.1, 0.4)):
                paint.rectangle(x, top + 0.75, x + 0.4, top + 1.5, color if i % 2 else other)
            paint.shade(left, top + 1.5, left + shop, top + 1.9, 0.6)
        left += shop + 0.3
