"""Bicycles and motorcycles, with and without riders."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from streetseg.synth.canvas import Canvas
from streetseg.synth.figures import Figure, draw_figure
from streetseg.synth.light import Light
from streetseg.synth.mesh import Pose
from streetseg.synth.noise import shared_color, to_bytes
from streetseg.synth.people import RIDER, seated

MOTORCYCLE, BICYCLE = 32, 33
AXLE, RADIUS = 0.53, 0.34
"""Half the wheelbase and the radius of a bicycle's wheels, in metres."""


def draw_bicycle(
    canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int, *, ridden: bool
) -> None:
    """Draw a bicycle that faces its +z, and its rider."""
    rng = np.random.default_rng(seed)
    color = shared_color(rng)
    for axle in (-AXLE, AXLE):
        _spoked_wheel(canvas, pose, axle, light, lit)
    frame = Figure()
    tube = 0.027
    crank, saddle = (0.0, 0.30, -0.08), (0.0, 0.90, -0.25)
    head, fork = (0.0, 0.88, 0.33), (0.0, RADIUS, AXLE)
    post, rear = (0.0, 0.72, -0.20), (0.0, RADIUS, -AXLE)
    for start, end in (
        (crank, post),
        (post, head),
        (crank, head),
        (crank, rear),
        (post, rear),
        (head, fork),
        (post, saddle),
    ):
        frame.part([start, end], tube, color, BICYCLE)
    dark = (0.10, 0.10, 0.10)
    frame.part([(0, 0.92, -0.36), (0, 0.93, -0.14)], [0.07, 0.04], dark, BICYCLE)
    bar = [(-0.27, 1.02, 0.22), (-0.1, 1.0, 0.33), (0.1, 1.0, 0.33), (0.27, 1.02, 0.22)]
    for left, right in pairwise(bar):
        frame.part([left, right], 0.022, dark, BICYCLE)
    frame.part([crank], 0.08, (0.3, 0.3, 0.3), BICYCLE)
    if rng.random() < 0.4:
        frame.part(
            [(-0.12, 0.92, 0.55), (0.12, 0.92, 0.55), (-0.10, 0.75, 0.52), (0.1, 0.75, 0.52)],
            0.06,
            (0.42, 0.34, 0.24),
            BICYCLE,
        )
    for at, glow in ((-0.62, (0.7, 0.1, 0.1)), (0.52, (0.9, 0.9, 0.8))):
        frame.part([(0, 0.70, at)], 0.035, glow, BICYCLE)
    if ridden:
        seated(frame, rng, (0.0, 0.95, -0.25), (0.26, 1.05, 0.22), (0.12, 0.30, -0.05), RIDER)
    draw_figure(canvas, frame, pose, light, lit)


def _spoked_wheel(canvas: Canvas, pose: Pose, axle: float, light: Light, lit: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack(
        [np.zeros(25), RADIUS + RADIUS * np.sin(angles), axle + RADIUS * np.cos(angles)], 1
    )
    camera = canvas.camera
    points = camera.to_camera(pose.to_world(ring))
    if points[:, 2].min() < 1.5:
        return
    pixels = camera.to_pixels(points)
    tile = canvas.tile(pixels, margin=4)
    if tile is None:
        return
    scale = camera.focal / float(points[:, 2].mean())
    inverse = 1.0 / float(points[:, 2].mean())
    tint = light.tint(np.array([0.0, 0.3, -0.95]), 0.5 * lit)
    veil = to_bytes(np.array([0.42, 0.42, 0.43]) * tint)
    tile.polygon(tile.corners(pixels), veil, BICYCLE, inverse, alpha=95)
    spoke = to_bytes(np.array([0.55, 0.55, 0.56]) * tint)
    for i in range(0, 24, 4):
        tile.line(pixels[[i, (i + 12) % 24]], spoke, BICYCLE, inverse, thickness=0.008 * scale)
    tile.line(
        pixels,
        to_bytes(np.array([0.08, 0.08, 0.08]) * tint),
        BICYCLE,
        inverse,
        thickness=max(0.055 * scale, 1.0),
    )
    canvas.merge(tile)


def draw_motorcycle(
    canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int, *, ridden: bool
) -> None:
    """Draw a motorcycle or scooter that faces its +z, and its rider."""
    rng = np.random.default_rng(seed)
    color = shared_color(rng)
    scooter = rng.random() < 0.4
    dark, metal = (0.08, 0.08, 0.085), (0.45, 0.45, 0.46)
    radius, axle = (0.24, 0.62) if scooter else (0.31, 0.70)
    figure = Figure()
    for end in (-axle, axle):
        rim = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        tread = radius - 0.06
        ring = [
            (0.0, radius + tread * float(np.sin(a)), end + tread * float(np.cos(a))) for a in rim
        ]
        figure.part(ring, 0.06, dark, MOTORCYCLE, bias=-0.05)
        inner = [
            (0.0, radius + tread * 0.5 * float(np.sin(a)), end + tread * 0.5 * float(np.cos(a)))
            for a in rim
        ]
        figure.part(inner, 0.03, metal, MOTORCYCLE, bias=0.05)
    figure.part([(0, 0.42, -0.2), (0, 0.40, 0.22)], 0.17, metal, MOTORCYCLE)
    figure.part([(0, 0.30, -0.25), (0.13, 0.33, -0.75)], 0.05, metal, MOTORCYCLE)
    if scooter:
        figure.part(
            [(0, 0.95, 0.42), (0, 0.45, 0.50), (-0.12, 0.6, 0.42), (0.12, 0.6, 0.42)],
            0.09,
            color,
            MOTORCYCLE,
        )
        figure.part([(0, 0.62, -0.1), (0, 0.62, -0.65), (0, 0.42, -0.55)], 0.15, color, MOTORCYCLE)
        figure.part([(0, 0.28, -0.2), (0, 0.28, 0.45)], 0.11, color, MOTORCYCLE)
    else:
        figure.part([(0, 0.82, 0.30), (0, 0.80, 0.0)], [0.16, 0.12], color, MOTORCYCLE)
        figure.part([(0, 0.95, 0.52), (0, 0.72, 0.60)], [0.11, 0.09], color, MOTORCYCLE)
        figure.part([(0, 0.80, -0.45), (0, 0.92, -0.75)], [0.11, 0.06], color, MOTORCYCLE)
    figure.part([(0, 0.82, -0.08), (0, 0.84, -0.6)], 0.085, dark, MOTORCYCLE, bias=0.03)
    figure.part([(0, 0.95, 0.45), (0, radius, axle)], 0.045, metal, MOTORCYCLE)
    figure.part([(-0.33, 1.05, 0.34), (0.33, 1.05, 0.34)], 0.028, dark, MOTORCYCLE)
    figure.part([(0, 0.92, 0.63)], 0.085, (0.92, 0.92, 0.88), MOTORCYCLE)
    figure.part([(0, 0.82, -0.84)], 0.05, (0.7, 0.08, 0.08), MOTORCYCLE)
    for side in (-1, 1):
        figure.part(
            [(side * 0.34, 1.05, 0.36), (side * 0.34, 1.20, 0.36)], [0.02, 0.05], dark, MOTORCYCLE
        )
    if ridden:
        seated(figure, rng, (0.0, 0.88, -0.25), (0.32, 1.08, 0.32), (0.17, 0.36, -0.15), RIDER)
    draw_figure(canvas, figure, pose, light, lit)
