"""Passenger cars: a body lofted from cross-sections, with glass, lamps and wheels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from streetseg.synth.mesh import Mesh
from streetseg.synth.noise import Rgb, shared_color, vary

CAR = 26
BLACK: Rgb = (0.05, 0.05, 0.055)
GLASS: Rgb = (0.07, 0.08, 0.09)
CHROME: Rgb = (0.62, 0.63, 0.65)


@dataclass(frozen=True)
class Body:
    """Shape of a car. Along the car, 0 is the front and 1 the rear."""

    length: float
    width: float
    height: float
    """In metres."""
    outline: tuple[tuple[float, float], ...]
    """Top edge from front to rear as (along, fraction of the height)."""
    belt: float
    """Lower edge of the side windows, as a fraction of the height."""
    cabin: tuple[float, float, float, float]
    """Foot and top of the windscreen, top and foot of the rear window, along the car."""


BODIES: dict[str, Body] = {
    "hatchback": Body(
        4.0, 1.76, 1.48,
        ((0, 0.42), (0.015, 0.50), (0.06, 0.55), (0.25, 0.655), (0.44, 0.96), (0.56, 1.0),
         (0.84, 0.94), (0.965, 0.66), (1.0, 0.58)),
        0.63, (0.25, 0.44, 0.86, 0.965),
    ),
    "saloon": Body(
        4.6, 1.82, 1.45,
        ((0, 0.42), (0.015, 0.50), (0.06, 0.56), (0.28, 0.655), (0.43, 0.97), (0.54, 1.0),
         (0.68, 0.96), (0.83, 0.70), (0.97, 0.68), (1.0, 0.56)),
        0.64, (0.28, 0.43, 0.68, 0.83),
    ),
    "estate": Body(
        4.6, 1.82, 1.50,
        ((0, 0.42), (0.015, 0.50), (0.06, 0.55), (0.27, 0.645), (0.42, 0.96), (0.52, 1.0),
         (0.88, 0.95), (0.975, 0.66), (1.0, 0.55)),
        0.62, (0.27, 0.42, 0.90, 0.975),
    ),
    "suv": Body(
        4.5, 1.90, 1.70,
        ((0, 0.45), (0.015, 0.55), (0.05, 0.60), (0.25, 0.66), (0.38, 0.97), (0.5, 1.0),
         (0.88, 0.96), (0.97, 0.66), (1.0, 0.58)),
        0.635, (0.25, 0.38, 0.90, 0.97),
    ),
    "mini": Body(
        3.5, 1.66, 1.50,
        ((0, 0.40), (0.02, 0.50), (0.07, 0.56), (0.20, 0.66), (0.40, 0.97), (0.55, 1.0),
         (0.86, 0.95), (0.98, 0.62), (1.0, 0.52)),
        0.62, (0.20, 0.40, 0.88, 0.98),
    ),
    "van": Body(
        5.3, 2.0, 2.35,
        ((0, 0.28), (0.012, 0.36), (0.05, 0.42), (0.16, 0.50), (0.28, 0.93), (0.36, 1.0),
         (0.97, 0.99), (0.995, 0.92), (1.0, 0.4)),
        0.50, (0.16, 0.28, 0.995, 1.0),
    ),
    "people carrier": Body(
        4.7, 1.88, 1.80,
        ((0, 0.38), (0.015, 0.46), (0.05, 0.52), (0.18, 0.60), (0.36, 0.95), (0.48, 1.0),
         (0.90, 0.97), (0.985, 0.60), (1.0, 0.5)),
        0.58, (0.18, 0.36, 0.92, 0.985),
    ),
}  # fmt: skip


def paint_color(rng: np.random.Generator) -> Rgb:
    """A car colour: most often grey, otherwise one that other things have too."""
    if rng.random() < 0.45:
        grey = float(rng.choice([0.06, 0.12, 0.30, 0.48, 0.62, 0.80, 0.88]))
        return vary(rng, (grey, grey, grey * 1.02), 0.04)
    return shared_color(rng)


def car_mesh(rng: np.random.Generator, kind: str, *, braking: bool, far: bool) -> Mesh:
    """A car of a body ``kind`` in a random paint.

    ``braking`` lights its rear lamps; ``far`` leaves out details too small at a distance.
    """
    body = BODIES[kind]
    color = paint_color(rng)
    windowless = kind == "van" and rng.random() < 0.7
    trim = rng.random() < 0.35
    mesh = Mesh()
    radius = 0.30 + 0.025 * body.height
    _tyres(mesh, body, radius)
    _loft(mesh, kind, far, color, windowless, trim)
    _wheels(mesh, body, radius, far)
    _front(mesh, body)
    _rear(mesh, body, kind, braking)
    if not far:
        _sides(mesh, body, color)
    return mesh


def _loft(mesh: Mesh, kind: str, far: bool, color: Rgb, windowless: bool, trim: bool) -> None:
    quads, roles = _shell(kind, far)
    looks: dict[str, tuple[Rgb, float]] = {
        "paint": (color, 0.8),
        "sill": (BLACK, 0.1) if trim else (color, 0.5),
        "glass": (GLASS, 1.0),
        "rear glass": (color, 0.6) if windowless else (GLASS, 1.0),
    }
    colors = [looks[role][0] for role in roles]
    gloss = [looks[role][1] for role in roles]
    surfaces = [1 if looks[role][0] == color else 2 for role in roles]
    mesh.add(quads, colors, gloss, surfaces, CAR)


@lru_cache(maxsize=32)
def _shell(kind: str, far: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Faces float[n, 4, 3] of the body of a car, and the material of each."""
    body = BODIES[kind]
    edges = {along for along, _ in body.outline} | set(body.cabin) | {0.605, 0.635}
    between = {0.035, 0.11, 0.16, 0.34, 0.39, 0.5, 0.68, 0.74, 0.79, 0.985}
    stations = np.array(sorted(edges if far else edges | between))
    top = _smooth_top(body, stations)
    rings = np.array(
        [_ring(body, along, height) for along, height in zip(stations, top, strict=True)]
    )
    foot, screen, rear, rear_foot = body.cabin
    points = rings.shape[1]
    quads, roles = [], []
    for i in range(len(stations) - 1):
        middle = (stations[i] + stations[i + 1]) / 2
        tall = min(top[i], top[i + 1]) - body.belt * body.height > 0.10 * body.height
        pillar = abs(middle - 0.62) < 0.012 or middle > rear - 0.03
        for j in range(points - 1):
            mirrored = min(j, points - 2 - j)
            role = "paint"
            if mirrored == 0:
                role = "sill"
            elif mirrored == 4 and tall and foot < middle < rear_foot and not pillar:
                role = "glass" if middle < 0.42 else "rear glass"
            elif mirrored >= 5 and foot < middle < screen:
                role = "glass"
            elif mirrored >= 5 and rear < middle < rear_foot:
                role = "rear glass"
            quads.append([rings[i, j], rings[i, j + 1], rings[i + 1, j + 1], rings[i + 1, j]])
            roles.append(role)
    for ring in (rings[0][::-1], rings[-1]):
        for j in range(points // 2):
            quads.append([ring[j], ring[j + 1], ring[points - 2 - j], ring[points - 1 - j]])
            roles.append("paint")
    return np.array(quads), tuple(roles)


def _smooth_top(body: Body, stations: np.ndarray) -> np.ndarray:
    """Height of the upper edge at ``stations``, its corners rounded, in metres."""
    fine = np.linspace(0, 1, 401)
    top = np.interp(fine, *np.array(body.outline).T)
    kernel = np.hanning(33)
    soft = np.convolve(np.pad(top, 16, mode="edge"), kernel / kernel.sum(), mode="valid")
    ends = np.clip(np.minimum(fine, 1 - fine) / 0.08, 0, 1)
    return np.asarray(np.interp(stations, fine, top + (soft - top) * ends) * body.height)


def _ring(body: Body, along: float, top: float) -> list[tuple[float, float, float]]:
    """A cross-section, from the lower left sill over the roof to the lower right one."""
    z = body.length * (0.5 - along)
    end = abs(2 * along - 1)
    half = body.width / 2 * (1 - 0.13 * end**7 - 0.02 * end**2)
    belt = min(body.belt * body.height, top * 0.97)
    cabin = float(np.clip((top - belt) / (0.30 * body.height), 0, 1))
    upper = half * (0.93 - 0.19 * cabin)
    side = [
        (half * 0.88, 0.17),
        (half * 0.97, 0.26),
        (half * 1.0, 0.26 + (belt - 0.26) * 0.45),
        (half * 0.99, belt - (belt - 0.26) * 0.12),
        (half * 0.945, belt),
        (upper, top - 0.055 * body.height * cabin - 0.012),
        (upper * 0.72, top - 0.008),
    ]
    left = [(-x, y, z) for x, y in side]
    return [*left, (0.0, top + 0.012, z), *((x, y, z) for x, y in side[::-1])]


def _axles(body: Body) -> tuple[float, float]:
    return body.length * 0.31, -body.length * 0.30


def _tyres(mesh: Mesh, body: Body, radius: float) -> None:
    half = body.width / 2
    for z in _axles(body):
        for side in (-1, 1):
            inner, outer = sorted((side * (half - 0.22), side * (half - 0.02)))
            mesh.box(
                (inner, 0, z - radius * 0.75),
                (outer, radius * 1.2, z + radius * 0.75),
                BLACK,
                CAR,
                layer=0,
            )
    mesh.box(
        (-half * 0.85, 0.14, -body.length * 0.45),
        (half * 0.85, 0.3, body.length * 0.45),
        BLACK,
        CAR,
        layer=0,
    )


def _wheels(mesh: Mesh, body: Body, radius: float, far: bool) -> None:
    wide = body.width / 2 + 0.006
    for z in _axles(body):
        for side in (-1, 1):
            at = (side * wide, radius, z)
            mesh.disc((side * wide, radius + 0.02, z), radius * 1.17, side, BLACK, CAR, layer=2)
            mesh.disc(at, radius, side, (0.10, 0.10, 0.105), CAR, layer=3)
            mesh.disc(at, radius * 0.66, side, CHROME, CAR, layer=4, gloss=0.4)
            if far:
                continue
            mesh.disc(at, radius * 0.52, side, (0.30, 0.30, 0.31), CAR, layer=5)
            mesh.disc(at, radius * 0.22, side, CHROME, CAR, layer=6)


def _front(mesh: Mesh, body: Body) -> None:
    z, half = body.length / 2 + 0.01, body.width / 2 * 0.87
    top = body.outline[1][1] * body.height
    mesh.panel(1, z, (-half * 0.62, top - 0.24, half * 0.62, top - 0.06), BLACK, CAR, gloss=0.3)
    mesh.panel(1, z, (-half * 0.8, 0.24, half * 0.8, 0.38), BLACK, CAR)
    mesh.panel(1, z, (-0.26, 0.40, 0.26, 0.51), (0.9, 0.9, 0.88), CAR, layer=3)
    for side in (-1, 1):
        left, right = sorted((side * half * 0.66, side * half * 1.02))
        mesh.panel(
            1,
            z - 0.03,
            (left, top - 0.22, right, top - 0.03),
            (0.85, 0.87, 0.9),
            CAR,
            layer=3,
            gloss=1.0,
            glow=0.75,
        )


def _rear(mesh: Mesh, body: Body, kind: str, braking: bool) -> None:
    z, half = -body.length / 2 - 0.01, body.width / 2 * 0.87
    top = body.outline[-1][1] * body.height if kind != "van" else 1.2
    mesh.panel(-1, z, (-half, 0.22, half, 0.36), BLACK, CAR)
    mesh.panel(-1, z, (-0.26, top - 0.30, 0.26, top - 0.19), (0.9, 0.9, 0.86), CAR, layer=3)
    for side in (-1, 1):
        left, right = sorted((side * half * 0.70, side * half * 1.03))
        lamp = (0.78, 0.06, 0.05) if braking else (0.45, 0.05, 0.05)
        mesh.panel(
            -1,
            z + 0.02,
            (left, top - 0.22, right, top - 0.03),
            lamp,
            CAR,
            layer=3,
            gloss=0.4,
            glow=1.0 if braking else 0.3,
        )
    if kind == "van":
        mesh.panel(-1, z, (-0.02, 0.36, 0.02, body.height * 0.95), (0.1, 0.1, 0.1), CAR)
        for side in (-1, 1):
            left, right = sorted((side * 0.10, side * half * 0.85))
            mesh.panel(-1, z, (left, 1.35, right, 2.0), GLASS, CAR, gloss=1.0)


def _sides(mesh: Mesh, body: Body, color: Rgb) -> None:
    dark = (color[0] * 0.45, color[1] * 0.45, color[2] * 0.45)
    wide = body.width / 2 + 0.004
    belt = body.belt * body.height
    front = body.cabin[0] + 0.06
    for side in (-1, 1):
        for along in (front, 0.62, 0.80):
            z = body.length * (0.5 - along)
            mesh.side_panel(side, wide, (z - 0.012, 0.30, z + 0.012, belt - 0.06), dark, CAR)
        for along in (0.57, 0.76):
            z = body.length * (0.5 - along)
            mesh.side_panel(side, wide, (z - 0.11, belt - 0.16, z + 0.11, belt - 0.12), dark, CAR)
        z = body.length * (0.5 - body.cabin[0] - 0.07)
        inner, outer = sorted((side * (wide - 0.03), side * (wide + 0.18)))
        mesh.box((inner, belt, z - 0.09), (outer, belt + 0.15, z + 0.03), color, CAR, gloss=0.6)
