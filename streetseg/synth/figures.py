"""Rounded figures made of balls in space: people, cycles and small things."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from streetseg.synth.camera import NEAR
from streetseg.synth.canvas import EMPTY, Canvas
from streetseg.synth.light import Light
from streetseg.synth.mesh import Pose
from streetseg.synth.noise import Rgb

CIRCLE = np.stack(
    [
        np.cos(np.linspace(0, 2 * np.pi, 14, endpoint=False)),
        np.sin(np.linspace(0, 2 * np.pi, 14, endpoint=False)),
    ],
    axis=1,
)


TONES = ((1.0, 0.66), (0.74, 0.90), (0.42, 1.10))
"""How a part is rounded: fraction of its size and brightness of each layer."""


@dataclass
class Figure:
    """Parts of a figure, each the convex hull of some balls, in the axes of the figure."""

    centers: list[np.ndarray] = field(default_factory=list)
    """float[n, 3], metres."""
    radii: list[np.ndarray] = field(default_factory=list)
    """float[n], metres."""
    colors: list[Rgb] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    bias: list[float] = field(default_factory=list)
    """Metres by which a part counts as nearer to the camera when parts are ordered."""

    def part(
        self,
        centers: list[tuple[float, float, float]],
        radii: float | list[float],
        color: Rgb,
        label: int,
        *,
        bias: float = 0.0,
    ) -> None:
        """Add the hull of balls."""
        self.centers.append(np.array(centers, float))
        self.radii.append(np.broadcast_to(np.asarray(radii, float), len(centers)))
        self.colors.append(color)
        self.labels.append(label)
        self.bias.append(bias)


def draw_figure(canvas: Canvas, figure: Figure, pose: Pose, light: Light, lit: float) -> None:
    """Draw the parts, far ones first, shaded as rounded by light from the sun's side."""
    camera = canvas.camera
    radii = np.concatenate(figure.radii)
    points = camera.to_camera(pose.to_world(np.concatenate(figure.centers)))
    if points[:, 2].min() < NEAR + 1.0:
        return
    pixels = camera.to_pixels(points)
    sizes = camera.focal * radii / points[:, 2]
    tile = canvas.tile(pixels, margin=float(sizes.max()) + 2)
    if tile is None:
        return
    scale = camera.focal / float(points[:, 2].mean())
    side = float(camera.rotation[0] @ light.sun) if light.casts_shadows else 0.15
    towards = np.array([0.55 * side * (0.4 + 0.6 * lit), -0.45])
    behind_sun = float(light.sun[2]) > 0.2 and light.casts_shadows
    base = light.tint(np.array([0.0, 0.25, -0.97]), lit * (0.35 if behind_sun else 0.7))

    layers = []
    for fraction, gain in TONES:
        centers = pixels + (1 - fraction) * sizes[:, None] * towards
        rings = centers[:, None] + CIRCLE * (sizes * fraction)[:, None, None]
        colors = np.asarray(figure.colors) * base * gain
        shades = (np.clip(colors, 0, 1) * 255).astype(np.uint8).tolist()
        layers.append((tile.corners(rings), shades))
    counts = np.array([len(part) for part in figure.centers])
    ends = np.cumsum(counts)
    starts = ends - counts
    depths = np.add.reduceat(points[:, 2], starts) / counts
    largest = np.maximum.reduceat(sizes, starts)
    for i in np.argsort(np.asarray(figure.bias) - depths):
        for rings, shades in layers if largest[i] > 3 else layers[1:2]:
            hull = cv2.convexHull(rings[starts[i] : ends[i]].reshape(-1, 2))
            tile.polygon(hull, shades[i], figure.labels[i], 1.0 / depths[i])
    blur = 0.012 * scale
    if blur > 0.5:
        drawn = (tile.ids != EMPTY).astype(np.float32)
        weight = np.maximum(cv2.GaussianBlur(drawn, (0, 0), blur), 1e-3)[..., None]
        tile.rgb[:] = cv2.GaussianBlur(tile.rgb, (0, 0), blur).astype(np.float32) / weight
    canvas.merge(tile)
