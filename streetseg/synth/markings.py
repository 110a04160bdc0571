"""Flat shapes on the ground: lane lines, zebra crossings, arrows, and shadows."""

from __future__ import annotations

import cv2
import numpy as np

from streetseg.synth.canvas import SHIFT, Canvas, fixed_point
from streetseg.synth.light import Light
from streetseg.synth.street import PARKING, RAILS, ROAD, Street


class Flat:
    """Draws shapes that lie on the ground into a mask of the image."""

    def __init__(self, canvas: Canvas) -> None:
        """Start with an empty mask."""
        self.canvas = canvas
        self.mask = np.zeros(canvas.ids.shape, np.uint8)

    def fill(self, points: np.ndarray, value: int = 255) -> None:
        """Fill a polygon whose corners are world x and z, float[n, 2]."""
        world = np.stack([points[:, 0], np.zeros(len(points)), points[:, 1]], axis=1)
        pixels = self.canvas.camera.outline(world)
        if len(pixels) >= 3:
            cv2.fillPoly(self.mask, [fixed_point(pixels)], value, shift=SHIFT)


def paint_markings(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint lane lines, edge lines, zebra crossings, stop lines and arrows."""
    flat = Flat(canvas)
    yellow = rng.random() < 0.06
    solid_middle = rng.random() < 0.35 or street.rails
    dash, gap = rng.choice([(3.0, 6.0), (4.0, 4.0), (6.0, 6.0)])
    half = len(street.lanes) * street.lane_width / 2
    stops = [0.0, *(edge for pair in street.crossings for edge in pair), street.length]
    for begin, end in zip(stops[::2], stops[1::2], strict=True):
        for border in range(1, len(street.lanes)):
            across = -half + border * street.lane_width
            middle = abs(across) < 0.1
            if street.rails and abs(across) < 1.5:
                continue
            if middle and solid_middle:
                _line(flat, street, across, begin + 3, end - 3, 0.13)
                continue
            along = begin + 1.5
            while along < min(end - 3, 110):
                _line(flat, street, across, along, min(along + dash, end - 2), 0.13)
                along += dash + gap
        for side in street.sides:
            if side.parking and rng.random() < 0.6:
                _line(flat, street, side.sign * half, begin, end, 0.12)
                along = begin + 2.0
                while along < min(end - 2, 70):
                    left, right = sorted((side.sign * half, side.sign * side.kerb))
                    _bar(flat, street, left, right, along, along + 0.12)
                    along += 5.5
    for start, end in street.crossings:
        zebra = rng.random() < 0.7
        for edge, direction in ((start, -1), (end, 1)):
            if zebra:
                near, far = sorted((edge + direction * 0.8, edge + direction * 3.8))
                for left in np.arange(-half + 0.3, half - 0.5, 1.0):
                    _bar(flat, street, left, left + 0.5, near, far)
        if rng.random() < 0.8:
            _bar(flat, street, 0.1, half - 0.2, start - 5.2, start - 4.8)
    if rng.random() < 0.5:
        _arrow(flat, street, street.own_lane, rng.uniform(8, 20))
    _blend(canvas, flat.mask, (232, 200, 90) if yellow else (232, 232, 228), rng)


def _line(
    flat: Flat, street: Street, across: float, start: float, end: float, width: float
) -> None:
    if end <= start:
        return
    along = np.linspace(start, end, max(2, int((end - start) / 4) + 2))
    middle = np.asarray(street.middle(along)) + across
    left = np.stack([middle - width / 2, along], axis=1)
    right = np.stack([middle + width / 2, along], axis=1)
    flat.fill(np.concatenate([left, right[::-1]]))


def _bar(flat: Flat, street: Street, left: float, right: float, start: float, end: float) -> None:
    corners = ((start, left), (start, right), (end, right), (end, left))
    flat.fill(np.array([street.at(along, across) for along, across in corners]))


def _arrow(flat: Flat, street: Street, lane: float, along: float) -> None:
    _bar(flat, street, lane - 0.08, lane + 0.08, along, along + 3.0)
    head = ((along + 2.6, lane - 0.4), (along + 4.6, lane), (along + 2.6, lane + 0.4))
    flat.fill(np.array([street.at(a, b) for a, b in head]))


def _blend(
    canvas: Canvas, mask: np.ndarray, paint: tuple[int, int, int], rng: np.random.Generator
) -> None:
    """Mix worn paint into the ground; brightness follows that of the ground below."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return
    span = slice(rows[0], rows[-1] + 1)
    painted = (mask[span] > 0) & np.isin(canvas.ids[span], (ROAD, PARKING, RAILS))
    ground = canvas.rgb[span][painted].astype(np.float32)
    wear = rng.uniform(0.55, 0.95)
    level = ground.mean(1, keepdims=True) / max(float(ground.mean()), 1.0) if len(ground) else 1
    bright = min(1.0, float(ground.mean()) / 80) if len(ground) else 1
    target = np.array(paint, np.float32) * (0.25 + 0.75 * level) * bright
    canvas.rgb[span][painted] = np.clip(ground + (target - ground) * wear, 0, 255)


def paint_shadows(
    canvas: Canvas, light: Light, sunless: list[np.ndarray], contacts: list[tuple[np.ndarray, int]]
) -> None:
    """Darken the ground in the shade.

    Args:
        canvas: with only the ground painted.
        light: of the scene.
        sunless: polygons (world x and z, float[n, 2]) that the sun does not reach.
        contacts: polygons close below things, with the opacity (0..255) of their contact shadow.
    """
    up = np.array([0.0, 1.0, 0.0])
    shade = light.tint(up, 0.0) / light.tint(up, 1.0)
    if light.casts_shadows:
        flat = Flat(canvas)
        for polygon in sunless:
            flat.fill(polygon)
        _darken(canvas, flat.mask, shade, 1.5)
    flat = Flat(canvas)
    for polygon, opacity in contacts:
        flat.fill(polygon, opacity)
    _darken(canvas, flat.mask, np.array([0.35, 0.35, 0.37]), 5.0)


def _darken(canvas: Canvas, mask: np.ndarray, factor: np.ndarray, blur: float) -> None:
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return
    span = slice(max(rows[0] - 8, 0), rows[-1] + 9)
    sigma = blur * canvas.camera.columns / 2048
    soft = cv2.GaussianBlur(mask[span], (0, 0), max(sigma, 0.6)).astype(np.float32) / 255
    rgb = canvas.rgb[span]
    for channel in range(3):
        gain = 1 - soft * np.float32(1 - factor[channel])
        rgb[..., channel] = (rgb[..., channel] * gain).astype(np.uint8)
