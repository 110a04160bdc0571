"""Long things beside or over the road: walls, fences, guard rails, bridges and tunnels."""

from __future__ import annotations

import numpy as np

from streetseg.synth.canvas import Canvas
from streetseg.synth.facades import Painter, wall_texture
from streetseg.synth.light import Light
from streetseg.synth.mesh import Mesh, Pose, draw_mesh
from streetseg.synth.noise import Rgb, shared_color, tinted, vary
from streetseg.synth.street import Street
from streetseg.synth.vegetation import VEGETATION, leaf_texture

WALL, FENCE, GUARD_RAIL, BRIDGE, TUNNEL = 12, 13, 14, 15, 16


def _facing(near: np.ndarray) -> np.ndarray:
    """Normal of the side, turned to the street, of something whose foot is ``near``."""
    return np.array([-np.sign(near[0]) or 1.0, 0.0, 0.0])


def _scale(canvas: Canvas, near: np.ndarray) -> float:
    return float(np.clip(canvas.camera.focal / max(near[2], 4.0) * 0.5, 4, 40))


def draw_wall(
    canvas: Canvas, near: np.ndarray, far: np.ndarray, height: float, light: Light, seed: int
) -> None:
    """Draw a garden or retaining wall between two feet (float[3])."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["brick", "stone", "plaster", "panels"]))
    color = vary(rng, (0.52, 0.27, 0.20), 0.15) if rng.random() < 0.4 else shared_color(rng)
    along, up = far - near, np.array([0.0, height, 0.0])
    normal, scale = _facing(near), _scale(canvas, near)
    length = float(np.linalg.norm(along))
    texture = wall_texture(kind, color, (length, height), scale, seed)
    painter = Painter(texture, scale)
    painter.rectangle(0, 0, length, 0.12, (color[0] * 0.8, color[1] * 0.8, color[2] * 0.8))
    if rng.random() < 0.3:
        for left in rng.uniform(0, max(length - 3, 1), 3):
            for x in np.arange(left, left + 2.0, 0.45):
                ink = shared_color(rng)
                painter.rectangle(x, height * 0.35, x + 0.3, height * 0.8, ink)
    canvas.plane(near + up, along, -up, tinted(texture, light.tint(normal)), WALL)
    cap = Mesh()
    x0, x1 = sorted((near[0], near[0] - normal[0] * 0.3))
    cap.box((x0, 0, near[2] - 0.02), (x1, height, near[2] + 0.3), color, WALL)
    draw_mesh(canvas, cap, Pose(0, 0), light, 1.0)


def draw_fence(
    canvas: Canvas, near: np.ndarray, far: np.ndarray, height: float, light: Light, seed: int
) -> None:
    """Draw a fence of pales, bars or wire between two feet."""
    rng = np.random.default_rng(seed)
    along, up = far - near, np.array([0.0, height, 0.0])
    normal, scale = _facing(near), _scale(canvas, near)
    length = float(np.linalg.norm(along))
    color = shared_color(rng)
    pitch, pale = [(0.16, 0.11), (0.14, 0.05), (0.10, 0.03)][rng.integers(3)]
    width, rows = max(4, round(length * scale)), max(4, round(height * scale))
    across = (np.arange(width) + 0.5) / scale
    rise = height - (np.arange(rows) + 0.5) / scale
    bars = np.clip((pale / 2 - np.abs(across % pitch - pitch / 2)) * scale + 0.5, 0, 1)
    if 1 / scale > pitch / 2:
        bars[:] = pale / pitch
    posts = np.abs((across + 0.06) % 2.4 - 0.06) < 0.06
    rails = (np.abs(rise - 0.25) < 0.05) | (np.abs(rise - height + 0.15) < 0.05)
    opacity = np.maximum(np.maximum(bars, posts)[None, :], rails[:, None])
    rgb = np.empty((rows, width, 3), np.uint8)
    rgb[:] = np.clip(np.asarray(color) * light.tint(normal) * 255, 0, 255)
    rgb[:, posts] = np.clip(rgb[:, posts] * 0.8, 0, 255)
    alpha = np.maximum(opacity * 255, 60).astype(np.uint8)[..., None]
    canvas.plane(near + up, along, -up, np.concatenate([rgb, alpha], axis=2), FENCE)


def draw_guard_rail(
    canvas: Canvas, near: np.ndarray, far: np.ndarray, light: Light, seed: int
) -> None:
    """Draw a steel crash barrier between two feet."""
    rng = np.random.default_rng(seed)
    color = vary(rng, (0.60, 0.61, 0.62), 0.08)
    mesh = Mesh()
    inward = _facing(near)[0]
    count = max(2, int((far[2] - near[2]) / 4))
    for i in range(count):
        start, end = (near + (far - near) * (i + k) / count for k in (0, 1))
        for low, high, tone in ((0.45, 0.58, 1.0), (0.58, 0.64, 0.6), (0.64, 0.78, 1.05)):
            shade: Rgb = (color[0] * tone, color[1] * tone, color[2] * tone)
            quad = [
                (start[0], low, start[2]),
                (start[0], high, start[2]),
                (end[0], high, end[2]),
                (end[0], low, end[2]),
            ]
            mesh.face(quad if inward < 0 else quad[::-1], shade, GUARD_RAIL, gloss=0.3)
            mesh.face(quad[::-1] if inward < 0 else quad, shade, GUARD_RAIL)
        mesh.box(
            (start[0] - 0.06, 0, start[2] - 0.06),
            (start[0] + 0.06, 0.7, start[2] + 0.06),
            color,
            GUARD_RAIL,
        )
    draw_mesh(canvas, mesh, Pose(0, 0), light, 1.0)


def draw_bridge(canvas: Canvas, street: Street, along: float, light: Light, seed: int) -> None:
    """Draw a bridge that carries another road or a railway over the street."""
    rng = np.random.default_rng(seed)
    color = vary(rng, (0.58, 0.57, 0.54), 0.12) if rng.random() < 0.6 else shared_color(rng)
    clear, deck = rng.uniform(4.8, 6.0), rng.uniform(1.0, 1.8)
    middle = float(street.middle(along))
    mesh = Mesh()
    mesh.box((middle - 70, clear, along), (middle + 70, clear + deck, along + 9), color, BRIDGE)
    for side in street.sides:
        x = middle + side.sign * (side.walk_end + 0.6)
        mesh.box(
            (x - 0.5, 0, along + 0.5),
            (x + 0.5, clear, along + 8.5),
            (color[0] * 0.9, color[1] * 0.9, color[2] * 0.9),
            BRIDGE,
        )
        inner = middle + side.sign * (side.building + 1.0)
        outer = middle + side.sign * 70
        low, high = sorted((inner, outer))
        mesh.box((low, 0, along), (high, clear, along + 9), color, BRIDGE)
    draw_mesh(canvas, mesh, Pose(0, 0), light, 0.8)
    texture = wall_texture("panels", color, (140, deck), 8.0, seed)
    normal = np.array([0.0, 0.0, -1.0])
    canvas.plane(
        np.array([middle - 70, clear + deck, along - 0.02]),
        np.array([140.0, 0, 0]),
        np.array([0, -deck, 0]),
        tinted(texture, light.tint(normal)),
        BRIDGE,
    )
    rail = Mesh()
    for x in np.arange(middle - 40, middle + 40, 1.6):
        rail.box(
            (x - 0.05, clear + deck, along),
            (x + 0.05, clear + deck + 1.0, along + 0.1),
            (0.3, 0.32, 0.33),
            BRIDGE,
        )
    rail.box(
        (middle - 70, clear + deck + 0.95, along),
        (middle + 70, clear + deck + 1.1, along + 0.1),
        (0.3, 0.32, 0.33),
        BRIDGE,
    )
    draw_mesh(canvas, rail, Pose(0, 0), light, 1.0)


def draw_tunnel(canvas: Canvas, street: Street, along: float, light: Light, seed: int) -> None:
    """Draw the mouth of a tunnel and its inside; a wooded slope rises above it."""
    rng = np.random.default_rng(seed)
    color = vary(rng, (0.56, 0.54, 0.50), 0.12)
    half = max(street.left.walk_end, street.right.walk_end) + 0.5
    clear, top = rng.uniform(5.0, 6.2), rng.uniform(7.5, 9.0)
    middle = float(street.middle(along))
    slope = leaf_texture((0.27, 0.34, 0.17), (160.0, 12.0), 8.0, seed)
    rgb = tinted(slope[..., :3], light.tint(np.array([0.0, 0.6, -0.8])))
    canvas.plane(
        np.array([middle - 80, top + 9, along + 14]),
        np.array([160.0, 0, 0]),
        np.array([0, -10.0, -13.5]),
        np.concatenate([rgb, slope[..., 3:]], axis=2),
        VEGETATION,
    )
    texture = wall_texture("stone", color, (160.0, top), 10.0, seed)
    texture = tinted(texture, light.tint(np.array([0.0, 0.0, -1.0])))
    fractions = np.array([0.0, 0.5 - half / 160, 0.5 + half / 160, 1.0])
    origin, wide, down = (
        np.array([middle - 80, top, along]),
        np.array([160.0, 0, 0]),
        np.array([0, -top, 0]),
    )
    for left, right, upper, lower in (
        (fractions[0], fractions[1], 0.0, 1.0),
        (fractions[2], fractions[3], 0.0, 1.0),
        (fractions[1], fractions[2], 0.0, 1 - clear / top),
    ):
        outline = np.array([(left, upper), (right, upper), (right, lower), (left, lower)])
        canvas.plane(origin, wide, down, texture, TUNNEL, outline=outline)
    inside = Mesh()
    steps = 10
    for i in range(steps):
        z0, z1 = along + i * 5.0, along + (i + 1) * 5.0
        tone = 0.42 * (1 - i / steps) ** 2 + 0.05
        dark: Rgb = (color[0] * tone, color[1] * tone, color[2] * tone)
        for side in (-1, 1):
            x = middle + side * half
            quad = [(x, 0, z0), (x, clear, z0), (x, clear, z1), (x, 0, z1)]
            inside.face(quad if side > 0 else quad[::-1], dark, TUNNEL)
        inside.face(
            [
                (middle - half, clear, z0),
                (middle - half, clear, z1),
                (middle + half, clear, z1),
                (middle + half, clear, z0),
            ][::-1],
            dark,
            TUNNEL,
        )
        for fraction in (-0.5, 0.5):
            x = middle + fraction * half
            inside.face(
                [
                    (x - 0.3, clear - 0.05, z0 + 1),
                    (x - 0.3, clear - 0.05, z0 + 3),
                    (x + 0.3, clear - 0.05, z0 + 3),
                    (x + 0.3, clear - 0.05, z0 + 1),
                ][::-1],
                (1.0, 0.85, 0.55),
                TUNNEL,
                glow=1.0,
                layer=2,
            )
    z = along + steps * 5.0
    inside.face(
        [
            (middle - half, 0, z),
            (middle - half, clear, z),
            (middle + half, clear, z),
            (middle + half, 0, z),
        ],
        (0.03, 0.03, 0.03),
        TUNNEL,
    )
    draw_mesh(canvas, inside, Pose(0, 0), light, 0.0)
