"""The canvas of a scene: colour, label and depth of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streetseg.synth.camera import NEAR, Camera

EMPTY = 255
"""Label of a tile's pixel on which nothing is drawn."""

SPECK = 1.5
"""Things narrower than this are left out, in painted pixels."""

SHIFT = 4
"""Sub-pixel bits of polygon corners."""


def fixed_point(pixels: np.ndarray) -> np.ndarray:
    """Pixel coordinates (float[n, 2]) as OpenCV takes them with ``shift=SHIFT``."""
    limited = np.clip(pixels, -30000, 30000)
    return np.asarray(np.rint((limited - 0.5) * (1 << SHIFT)).astype(np.int32))


@dataclass
class Tile:
    """A window of the canvas on which one thing is drawn before it is merged by depth."""

    left: int
    top: int
    rgb: np.ndarray
    """uint8[h, w, 3]."""
    alpha: np.ndarray
    """uint8[h, w]; how much of the background is covered, 255 except in thin veils."""
    ids: np.ndarray
    """uint8[h, w]; ``EMPTY`` where nothing is drawn."""
    inverse_depth: np.ndarray
    """float32[h, w], 1 / metres."""

    def corners(self, pixels: np.ndarray) -> np.ndarray:
        """Convert points of the image (float[..., 2]) to corners for :meth:`polygon`."""
        return fixed_point(pixels - (self.left, self.top))

    def polygon(
        self,
        corners: np.ndarray,
        color: tuple[int, int, int],
        label: int,
        inverse_depth: float,
        *,
        alpha: int = 255,
    ) -> None:
        """Fill a convex polygon whose corners (int32[n, 2]) come from :meth:`corners`."""
        cv2.fillConvexPoly(self.rgb, corners, color, shift=SHIFT)
        cv2.fillConvexPoly(self.ids, corners, label, shift=SHIFT)
        cv2.fillConvexPoly(self.inverse_depth, corners, inverse_depth, shift=SHIFT)
        if alpha < 255:
            cv2.fillConvexPoly(self.alpha, corners, alpha, shift=SHIFT)

    def line(
        self,
        pixels: np.ndarray,
        color: tuple[int, int, int],
        label: int,
        inverse_depth: float,
        *,
        thickness: float,
    ) -> None:
        """Draw a polyline, ``thickness`` pixels wide, through points of the image, float[n, 2]."""
        points = [self.corners(pixels)]
        width = max(1, round(thickness))
        for array, value in (
            (self.rgb, color),
            (self.ids, label),
            (self.inverse_depth, inverse_depth),
            (self.alpha, 255),
        ):
            cv2.polylines(array, points, False, value, thickness=width, shift=SHIFT)


class Canvas:
    """Colour, label and depth of the image, painted in any order."""

    def __init__(self, camera: Camera) -> None:
        """Start with black, unlabeled pixels at infinity."""
        self.camera = camera
        self.rgb = np.zeros((camera.rows, camera.columns, 3), np.uint8)
        self.ids = np.zeros((camera.rows, camera.columns), np.uint8)
        self.inverse_depth = np.zeros((camera.rows, camera.columns), np.float32)

    def window(self, pixels: np.ndarray, margin: float = 1) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom of the visible box around float[n, 2]; None if empty."""
        if len(pixels) == 0:
            return None
        low = np.floor(np.clip(pixels.min(0), -1e6, 1e6) - margin).astype(int)
        high = np.ceil(np.clip(pixels.max(0), -1e6, 1e6) + margin).astype(int) + 1
        left, top = max(low[0], 0), max(low[1], 0)
        right, bottom = min(high[0], self.camera.columns), min(high[1], self.camera.rows)
        return (left, top, right, bottom) if right > left and bottom > top else None

    def tile(self, pixels: np.ndarray, margin: float = 1) -> Tile | None:
        """An empty tile over the visible box around ``pixels``; None if it is out of view."""
        window = self.window(pixels, margin)
        if window is None:
            return None
        left, top, right, bottom = window
        shape = (bottom - top, right - left)
        return Tile(
            left,
            top,
            np.zeros((*shape, 3), np.uint8),
            np.full(shape, 255, np.uint8),
            np.full(shape, EMPTY, np.uint8),
            np.zeros(shape, np.float32),
        )

    def sees(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether a box between two world corners (float[3]) may be visible and not tiny."""
        x, y, z = np.stack([low, high], axis=1)
        box = np.array([(a, b, c) for a in x for b in y for c in z])
        points = self.camera.to_camera(box)
        if points[:, 2].max() < NEAR:
            return False
        if points[:, 2].min() < NEAR:
            return True
        pixels = self.camera.to_pixels(points)
        window = self.window(pixels)
        if window is None or np.ptp(pixels, axis=0).min() < SPECK:
            return False
        left, top, right, bottom = window
        nearest = 1.0 / float(points[:, 2].min())
        return bool(self.inverse_depth[top:bottom, left:right].min() < nearest)

    def merge(self, tile: Tile) -> None:
        """Copy the pixels of ``tile`` that are nearer than those of the canvas."""
        rows = slice(tile.top, tile.top + tile.ids.shape[0])
        columns = slice(tile.left, tile.left + tile.ids.shape[1])
        behind = self.inverse_depth[rows, columns]
        nearer = (tile.ids != EMPTY) & (tile.inverse_depth > behind)
        mask = nearer.view(np.uint8)
        rgb = tile.rgb
        if ((tile.alpha < 255) & nearer).any():
            fraction = (tile.alpha.astype(np.float32) / 255)[..., None]
            mixed = rgb * fraction + self.rgb[rows, columns] * (1 - fraction)
            rgb = mixed.astype(np.uint8)
        cv2.copyTo(rgb, mask, self.rgb[rows, columns])
        cv2.copyTo(tile.ids, mask, self.ids[rows, columns])
        cv2.copyTo(tile.inverse_depth, mask, behind)

    def plane(
        self,
        origin: np.ndarray,
        along: np.ndarray,
        down: np.ndarray,
        texture: np.ndarray,
        label: int,
        *,
        outline: np.ndarray | None = None,
    ) -> None:
        """Paint a textured parallelogram of the world.

        Args:
            origin: float[3], the position of the texture's first pixel.
            along: float[3], from there to the end of its first row.
            down: float[3], from there to the end of its first column.
            texture: uint8[h, w, 3], or [h, w, 4] with opacity (0 is a hole).
            label: id of its pixels.
            outline: float[n, 2], corners of the painted part as fractions (0..1) of ``along`` and
                ``down``; all of it by default.
        """
        camera = self.camera
        if outline is None:
            outline = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
        corners = origin + outline[:, :1] * along + outline[:, 1:] * down
        pixels = camera.outline(corners)
        window = self.window(pixels)
        if window is None or len(pixels) < 3:
            return
        left, top, right, bottom = window
        height, width = texture.shape[:2]
        frame = np.stack([along / width, down / height, origin - camera.position], axis=1)
        shift = np.array([[1, 0, 0.5 - left], [0, 1, 0.5 - top], [0, 0, 1]])
        shift[:2, 2] -= 0.5
        to_window = shift @ camera.intrinsics() @ camera.rotation @ frame
        if abs(np.linalg.det(to_window)) < 1e-12:
            return
        to_texture = np.linalg.inv(to_window)
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(mask, [fixed_point(pixels - (left, top))], 1, shift=SHIFT)
        a, b, c = to_texture[2].astype(np.float32)
        column = np.arange(right - left, dtype=np.float32)[None, :]
        row = np.arange(bottom - top, dtype=np.float32)[:, None]
        inverse_depth = a * column + (b * row + c)
        behind = self.inverse_depth[top:bottom, left:right]
        mask &= inverse_depth > behind
        if not mask.any():
            return
        colors = cv2.warpPerspective(
            texture,
            to_texture,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        target = self.rgb[top:bottom, left:right]
        if colors.shape[2] == 4:
            mask &= colors[..., 3] > 40
            fraction = colors[..., 3:].astype(np.float32) / 255
            colors = (colors[..., :3] * fraction + target * (1 - fraction)).astype(np.uint8)
        cv2.copyTo(colors, mask, target)
        cv2.copyTo(np.full_like(mask, label), mask, self.ids[top:bottom, left:right])
        cv2.copyTo(inverse_depth, mask, behind)
