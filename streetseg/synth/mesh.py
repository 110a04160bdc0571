"""Solids of flat faces: built in their own axes, drawn with light and reflections.

A solid's own axes: x to its left-right, y up, z forward, origin on the ground below its centre.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from streetseg.synth.camera import NEAR, clip_near
from streetseg.synth.canvas import SHIFT, Canvas
from streetseg.synth.light import Light
from streetseg.synth.noise import Rgb

CORNERS = 12
"""Every face has this many corners; those with fewer repeat the last one."""


ROUNDING = 0.07
"""Distance over which the shades of a curved surface blend, in metres."""

PADDED = [np.minimum(np.arange(CORNERS), max(count - 1, 0)) for count in range(CORNERS + 1)]


@dataclass(frozen=True)
class Pose:
    """Where a thing stands and which way it faces."""

    x: float
    z: float
    heading: float = 0.0
    """Turn about the vertical in radians: 0 faces along the street, away from the camera."""
    y: float = 0.0

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Points in the thing's own axes (float[..., 3]) as world points."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        world = (x * cos + z * sin + self.x, y + self.y, z * cos - x * sin + self.z)
        return np.stack(world, axis=-1)


@dataclass
class Mesh:
    """Faces of a solid."""

    corners: list[np.ndarray] = field(default_factory=list)
    colors: list[Rgb] = field(default_factory=list)
    gloss: list[float] = field(default_factory=list)
    """0 is matt, 1 a mirror-like varnish or glass."""
    glow: list[float] = field(default_factory=list)
    """Light that the face gives by itself, 0..1."""
    labels: list[int] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    """Faces of a higher layer are drawn over those of a lower one."""
    rounded: list[int] = field(default_factory=list)
    """Faces with the same number above 0 form a curved surface: their shades blend."""

    def face(
        self,
        corners: np.ndarray | list[tuple[float, float, float]],
        color: Rgb,
        label: int,
        *,
        gloss: float = 0.0,
        glow: float = 0.0,
        layer: int = 1,
    ) -> None:
        """Add a convex face of 3 to ``CORNERS`` corners, float[n, 3]."""
        points = np.asarray(corners, float)
        self.corners.append(points[PADDED[len(points)]])
        self.colors.append(color)
        self.gloss.append(gloss)
        self.glow.append(glow)
        self.labels.append(label)
        self.layers.append(layer)
        self.rounded.append(0)

    def add(
        self,
        corners: np.ndarray,
        colors: list[Rgb],
        gloss: list[float],
        rounded: list[int],
        label: int,
    ) -> None:
        """Add faces of four corners at once: float[n, 4, 3]."""
        self.corners.extend(corners[:, PADDED[4]])
        self.colors.extend(colors)
        self.gloss.extend(gloss)
        self.glow.extend([0.0] * len(corners))
        self.labels.extend([label] * len(corners))
        self.layers.extend([1] * len(corners))
        self.rounded.extend(rounded)

    def box(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        color: Rgb,
        label: int,
        *,
        gloss: float = 0.0,
        layer: int = 1,
        taper: float = 1.0,
    ) -> None:
        """Add an upright box between two corners; its top is ``taper`` times as wide and long."""
        x0, y0, z0 = low
        x1, y1, z1 = high
        cx, cz, hx, hz = (x0 + x1) / 2, (z0 + z1) / 2, (x1 - x0) / 2, (z1 - z0) / 2
        ring = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float) * (hx, hz)
        base = [(cx + x, y0, cz + z) for x, z in ring]
        top = [(cx + x * taper, y1, cz + z * taper) for x, z in ring]
        for i in range(4):
            j = (i + 1) % 4
            self.face([base[i], top[i], top[j], base[j]], color, label, gloss=gloss, layer=layer)
        self.face([top[0], top[3], top[2], top[1]], color, label, gloss=gloss, layer=layer)
        self.face(base, color, label, gloss=gloss, layer=layer)

    def disc(
        self,
        center: tuple[float, float, float],
        radius: float,
        side: int,
        color: Rgb,
        label: int,
        *,
        layer: int = 2,
        gloss: float = 0.0,
    ) -> None:
        """Add an upright disc that faces ``side`` (-1 or +1) along x."""
        angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False) * -side
        ring = [
            (center[0], center[1] + radius * np.sin(a), center[2] + radius * np.cos(a))
            for a in angles
        ]
        self.face(ring, color, label, layer=layer, gloss=gloss)

    def panel(
        self,
        end: int,
        at: float,
        box: tuple[float, float, float, float],
        color: Rgb,
        label: int,
        *,
        layer: int = 2,
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> None:
        """Add a rectangle that faces ``end`` (-1 back, +1 front) at z = ``at``.

        ``box`` is left, bottom, right and top, in metres.
        """
        left, bottom, right, top = box
        points = [(left, bottom, at), (left, top, at), (right, top, at), (right, bottom, at)]
        self.face(points[::-end], color, label, layer=layer, gloss=gloss, glow=glow)

    def side_panel(
        self,
        side: int,
        at: float,
        box: tuple[float, float, float, float],
        color: Rgb,
        label: int,
        *,
        layer: int = 2,
        gloss: float = 0.0,
    ) -> None:
        """Add a rectangle that faces ``side`` (-1 or +1) along x, at x = ``side * at``.

        ``box`` is back, bottom, front and top, in metres.
        """
        back, bottom, front, top = box
        x = side * at
        points = [(x, bottom, back), (x, top, back), (x, top, front), (x, bottom, front)]
        self.face(points[::side], color, label, layer=layer, gloss=gloss)


def draw_mesh(canvas: Canvas, mesh: Mesh, pose: Pose, light: Light, lit: float) -> None:
    """Draw the faces towards the camera, far ones first."""
    world = pose.to_world(np.stack(mesh.corners))
    following = np.roll(world, -1, axis=1)
    normals = np.cross(world, following).sum(1)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(lengths, 1e-9)
    centers = world.mean(1)
    towards = canvas.camera.position - centers
    distances = np.linalg.norm(towards, axis=1, keepdims=True)
    cosines = (normals * towards).sum(1) / distances[:, 0]
    points = canvas.camera.to_camera(world)
    seen = (cosines > 0.0) & (points[..., 2].max(1) > NEAR) & (lengths[:, 0] > 1e-6)
    if not seen.any():
        return
    clear = points[seen][..., 2].min() > NEAR
    safe = np.where(points[..., 2:] > NEAR, points, [0.0, 0.0, 1e3])
    pixels = canvas.camera.to_pixels(safe)
    if clear:
        tile = canvas.tile(pixels[seen].reshape(-1, 2))
    else:
        parts = [canvas.camera.to_pixels(clip_near(face)) for face in points[seen]]
        tile = canvas.tile(np.concatenate(parts))
    if tile is None:
        return
    seen &= ~clear | (np.ptp(pixels, axis=1).max(1) > 0.6)
    colors = _shade(mesh, normals, towards / distances, cosines, light, lit).tolist()
    inverses = (1.0 / np.maximum(points[..., 2].mean(1), NEAR)).tolist()
    corners = tile.corners(pixels)
    surfaces = np.zeros_like(tile.ids) if any(mesh.rounded) else None
    for i in np.lexsort((-distances[:, 0], np.array(mesh.layers))):
        if not seen[i]:
            continue
        outline = corners[i]
        if not clear:
            outline = tile.corners(canvas.camera.to_pixels(clip_near(points[i])))
        if len(outline) >= 3:
            tile.polygon(outline, colors[i], mesh.labels[i], inverses[i])
            if surfaces is not None:
                cv2.fillConvexPoly(surfaces, outline, mesh.rounded[i], shift=SHIFT)
    if surfaces is not None:
        reach = ROUNDING * canvas.camera.focal / float(points[seen][..., 2].clip(NEAR).mean())
        for surface in set(mesh.rounded) - {0}:
            _run_together(tile.rgb, (surfaces == surface).view(np.uint8), reach)
    canvas.merge(tile)


def _run_together(rgb: np.ndarray, mask: np.ndarray, reach: float) -> None:
    """Blur ``rgb`` (uint8[h, w, 3]) by ``reach`` pixels within ``mask``, in place."""
    if reach < 0.7 or not mask.any():
        return
    height, width = mask.shape
    coarser = max(1.0, reach / 2.5)
    size = (max(2, round(width / coarser)), max(2, round(height / coarser)))
    inside = cv2.bitwise_and(rgb, rgb, mask=mask).astype(np.float32)
    layers = cv2.merge([*cv2.split(inside), mask.astype(np.float32)])
    small = cv2.resize(layers, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), reach / coarser)
    blurred = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    mean = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-3)
    cv2.copyTo(np.clip(mean, 0, 255).astype(np.uint8), mask, rgb)


def _shade(
    mesh: Mesh,
    normals: np.ndarray,
    view: np.ndarray,
    cosines: np.ndarray,
    light: Light,
    lit: float,
) -> np.ndarray:
    """The colour of each face: uint8[n, 3]."""
    albedo = np.array(mesh.colors)
    gloss = np.array(mesh.gloss)[:, None]
    glow = np.array(mesh.glow)[:, None]
    facing = np.clip(cosines, 0, 1)[:, None]
    mirrored = 2 * facing * normals - view
    fresnel = gloss * (0.10 + 0.65 * (1 - facing) ** 3)
    color = albedo * light.tint(normals, lit) * (1 - fresnel)
    color += fresnel * light.reflection(mirrored) * (0.65 + 0.35 * lit)
    sparkle = np.clip(mirrored @ light.sun, 0, 1)[:, None] ** 60 * gloss * lit
    color += sparkle * np.minimum(light.sun_rgb, 1) * 0.8
    color = np.maximum(color, albedo * glow)
    return np.asarray((np.clip(color, 0, 1) * 255).astype(np.uint8))
