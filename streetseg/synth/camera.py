"""A pinhole camera over a flat street.

World axes, in metres: x to the right, y up, z along the street; the ground is y = 0 and the
camera stands above the origin. Camera axes: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR = 0.5
"""Nothing closer to the camera than this is drawn, in metres."""


@dataclass(frozen=True)
class Camera:
    """Where the camera is and how it maps the world to pixels."""

    rows: int
    columns: int
    focal: float
    """Focal length, in pixels."""
    center: tuple[float, float]
    """Principal point, as column and row."""
    rotation: np.ndarray
    """float[3, 3], world to camera axes."""
    position: np.ndarray
    """float[3], in world coordinates."""

    @classmethod
    def above_street(
        cls,
        rows: int,
        columns: int,
        *,
        focal: float,
        height: float,
        yaw: float,
        pitch: float,
        roll: float,
    ) -> Camera:
        """A camera ``height`` metres above the origin that looks along the street.

        Args:
            rows: image height, in pixels.
            columns: image width, in pixels.
            focal: focal length as a multiple of the width of a 2:1 image.
            height: of the camera, in metres.
            yaw: to the right, in radians.
            pitch: downwards, in radians.
            roll: clockwise, in radians.
        """
        cos, sin = np.cos, np.sin
        axes = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]])
        about_y = np.array([[cos(yaw), 0, -sin(yaw)], [0, 1, 0], [sin(yaw), 0, cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
        about_z = np.array([[cos(roll), -sin(roll), 0], [sin(roll), cos(roll), 0], [0, 0, 1]])
        return cls(
            rows=rows,
            columns=columns,
            focal=focal * min(columns, 2 * rows),
            center=(columns / 2, rows * 0.455),
            rotation=about_z @ about_x @ axes @ about_y,
            position=np.array([0.0, height, 0.0]),
        )

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points in camera axes: float[..., 3] to float[..., 3]."""
        return (points - self.position) @ self.rotation.T

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Camera points in front of the camera, as column and row: float[..., 3] to [..., 2]."""
        return points[..., :2] * (self.focal / points[..., 2:]) + np.asarray(self.center)

    def outline(self, polygon: np.ndarray) -> np.ndarray:
        """Project a world polygon to the image, clipped at the near plane.

        Args:
            polygon: float[n, 3].

        Returns:
            float[m, 2], pixels; empty when the polygon is behind the camera.
        """
        return self.to_pixels(clip_near(self.to_camera(polygon)))

    def intrinsics(self) -> np.ndarray:
        """The projection matrix float[3, 3] from camera axes to homogeneous pixels."""
        return np.array(
            [[self.focal, 0, self.center[0]], [0, self.focal, self.center[1]], [0, 0, 1]]
        )

    def rays(self, first_row: int = 0, step: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World directions of every ``step``-th pixel from ``first_row`` down, at depth 1.

        Returns:
            The x, y and z parts, each float32[(rows - first_row) / step, columns / step].
        """
        to_world = self.rotation.T @ np.linalg.inv(self.intrinsics())
        column = np.arange(0, self.columns, step, dtype=np.float32)[None, :] + 0.5 * step
        row = np.arange(first_row, self.rows, step, dtype=np.float32)[:, None] + 0.5 * step
        a = to_world.astype(np.float32)
        x, y, z = (a[i, 0] * column + (a[i, 1] * row + a[i, 2]) for i in range(3))
        return x, y, z

    def horizon_row(self) -> int:
        """The topmost row in which ground can appear."""
        rows = []
        for side in (-0.5, 0.5):
            direction = self.rotation[:, 2] + self.rotation[:, 0] * side * self.columns / self.focal
            rows.append(self.focal * direction[1] / direction[2] + self.center[1])
        return int(np.clip(min(rows) - 2, 0, self.rows - 1))


def clip_near(polygon: np.ndarray) -> np.ndarray:
    """The part of a polygon (float[n, 3], camera axes) that lies beyond the near plane."""
    beyond = polygon[:, 2] >= NEAR
    if beyond.all():
        return polygon
    kept = []
    for i in range(len(polygon)):
        here, there = polygon[i - 1], polygon[i]
        if beyond[i - 1] != beyond[i]:
            fraction = (NEAR - here[2]) / (there[2] - here[2])
            kept.append(here + fraction * (there - here))
        if beyond[i]:
            kept.append(there)
    return np.array(kept).reshape(-1, 3)
