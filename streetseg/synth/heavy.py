"""Large vehicles: lorries, buses, trams, caravans and trailers, built from boxes and panels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from streetseg.synth.cars import BLACK, CHROME, GLASS
from streetseg.synth.mesh import Mesh
from streetseg.synth.noise import Rgb, shared_color, vary

TRUCK, BUS, CARAVAN, TRAILER, TRAIN = 27, 28, 29, 30, 31


def wheel(
    mesh: Mesh, label: int, half_width: float, radius: float, at: float, *, layer: int = 3
) -> None:
    """Add the two wheels of an axle at z = ``at``."""
    for side in (-1, 1):
        inner, outer = sorted((side * (half_width - 0.3), side * half_width))
        mesh.box(
            (inner, 0, at - radius * 0.75),
            (outer, radius * 1.1, at + radius * 0.75),
            BLACK,
            label,
            layer=0,
        )
        x = side * (half_width + 0.008)
        mesh.disc((x, radius, at), radius * 1.15, side, BLACK, label, layer=layer)
        mesh.disc((x, radius, at), radius * 0.95, side, (0.12, 0.12, 0.125), label, layer=layer + 1)
        mesh.disc((x, radius, at), radius * 0.55, side, CHROME, label, layer=layer + 2)
        mesh.disc((x, radius, at), radius * 0.25, side, (0.25, 0.25, 0.25), label, layer=layer + 3)


def _shell(
    mesh: Mesh, label: int, box: tuple[float, float, float, float, float], color: Rgb
) -> None:
    """A box with bevelled edges: half width, bottom, top, back and front, in metres."""
    half, bottom, top, back, front = box
    bevel = 0.10
    profile = [
        (-half, bottom),
        (-half, top - bevel),
        (-half + bevel, top),
        (half - bevel, top),
        (half, top - bevel),
        (half, bottom),
    ]
    for (x0, y0), (x1, y1) in pairwise(profile):
        mesh.face(
            [(x0, y0, front), (x1, y1, front), (x1, y1, back), (x0, y0, back)],
            color,
            label,
            gloss=0.45,
        )
    rear = [(x, y, back) for x, y in profile]
    mesh.face(rear, color, label, gloss=0.3)
    mesh.face([(x, y, front) for x, y in profile][::-1], color, label, gloss=0.4)
    mesh.face(
        [
            (-half, bottom, back),
            (half, bottom, back),
            (half, bottom, front),
            (-half, bottom, front),
        ],
        BLACK,
        label,
    )


def _side_windows(
    mesh: Mesh,
    label: int,
    half: float,
    rows: tuple[float, float],
    span: tuple[float, float],
    pitch: float,
) -> None:
    for side in (-1, 1):
        mesh.side_panel(
            side,
            half + 0.004,
            (span[0], rows[0] - 0.05, span[1], rows[1] + 0.05),
            BLACK,
            label,
            gloss=0.3,
        )
        for back in np.arange(span[0] + 0.06, span[1] - pitch + 0.1, pitch):
            mesh.side_panel(
                side,
                half + 0.006,
                (back, rows[0], back + pitch - 0.10, rows[1]),
                GLASS,
                label,
                layer=3,
                gloss=1.0,
            )


def _head_lamps(mesh: Mesh, label: int, half: float, height: float, front: float) -> None:
    white = (0.9, 0.9, 0.87)
    for side in (-1, 1):
        left, right = sorted((side * half * 0.62, side * half * 0.94))
        box = (left, height, right, height + 0.2)
        mesh.panel(1, front + 0.01, box, white, label, layer=3, gloss=1.0, glow=0.8)
    mesh.panel(1, front + 0.012, (-0.27, height - 0.12, 0.27, height), white, label, layer=4)


def _tail_lamps(mesh: Mesh, label: int, half: float, height: float, back: float) -> None:
    for side in (-1, 1):
        left, right = sorted((side * half * 0.72, side * half * 0.95))
        box = (left, height, right, height + 0.28)
        mesh.panel(-1, back - 0.01, box, (0.65, 0.06, 0.05), label, layer=3, glow=0.8)
    plate = (-0.27, height - 0.12, 0.27, height)
    mesh.panel(-1, back - 0.012, plate, (0.9, 0.9, 0.85), label, layer=4)


def truck_mesh(rng: np.random.Generator) -> Mesh:
    """A lorry with a box, a tarpaulin or a flat bed."""
    mesh = Mesh()
    cab, load = shared_color(rng), shared_color(rng)
    half, length = 1.24, rng.uniform(6.5, 10.0)
    front, back = length / 2, -length / 2
    top = rng.uniform(2.9, 3.7)
    cab_back = front - 1.9
    mesh.box((-half * 0.85, 0.45, back), (half * 0.85, 0.95, front - 0.2), BLACK, TRUCK, layer=0)
    kind = rng.random()
    if kind < 0.8:
        _shell(mesh, TRUCK, (half, 0.95, top, back, cab_back - 0.25), load)
        stripe = shared_color(rng)
        for side in (-1, 1):
            mesh.side_panel(
                side, half + 0.004, (back + 0.8, 1.5, cab_back - 1.0, 2.1), stripe, TRUCK
            )
            mesh.side_panel(
                side, half + 0.003, (back, 0.95, cab_back - 0.25, 1.07), (0.3, 0.3, 0.31), TRUCK
            )
        mesh.panel(-1, back - 0.004, (-0.02, 1.0, 0.02, top - 0.12), BLACK, TRUCK)
        for x in (-0.9, -0.35, 0.35, 0.9):
            mesh.panel(-1, back - 0.004, (x - 0.02, 1.0, x + 0.02, top - 0.12), CHROME, TRUCK)
    else:
        mesh.box((-half, 0.95, back), (half, 1.5, cab_back - 0.25), load, TRUCK)
        mesh.box(
            (-half * 0.8, 1.5, back + 0.6),
            (half * 0.8, 2.1, cab_back - 1.0),
            vary(rng, (0.45, 0.38, 0.3), 0.2),
            TRUCK,
            taper=0.7,
            layer=2,
        )
    _shell(mesh, TRUCK, (half * 0.96, 0.5, 2.65, cab_back, front), cab)
    mesh.panel(1, front + 0.006, (-half * 0.86, 1.55, half * 0.86, 2.4), GLASS, TRUCK, gloss=1.0)
    mesh.panel(1, front + 0.006, (-half * 0.7, 0.95, half * 0.7, 1.42), BLACK, TRUCK, gloss=0.2)
    for side in (-1, 1):
        mesh.side_panel(
            side,
            half * 0.96 + 0.006,
            (cab_back + 0.5, 1.55, front - 0.2, 2.3),
            GLASS,
            TRUCK,
            gloss=1.0,
        )
        inner, outer = sorted((side * half * 0.97, side * (half + 0.25)))
        mesh.box((inner, 1.6, front - 0.15), (outer, 2.2, front + 0.02), BLACK, TRUCK, layer=4)
    for at in (front - 1.1, back + 1.4, back + 2.5)[: 2 + int(rng.integers(2))]:
        wheel(mesh, TRUCK, half, 0.5, at)
    _head_lamps(mesh, TRUCK, half, 0.62, front)
    _tail_lamps(mesh, TRUCK, half, 0.62, back)
    return mesh


def bus_mesh(rng: np.random.Generator) -> Mesh:
    """A city bus, sometimes a coach."""
    mesh = Mesh()
    color, skirt = shared_color(rng), shared_color(rng)
    half, length, top = 1.27, rng.uniform(9.5, 12.5), rng.uniform(2.9, 3.4)
    front, back = length / 2, -length / 2
    _shell(mesh, BUS, (half, 0.32, top, back, front), color)
    for side in (-1, 1):
        mesh.side_panel(side, half + 0.003, (back, 0.32, front, 0.85), skirt, BUS, gloss=0.4)
    _side_windows(mesh, BUS, half, (1.25, 2.35), (back + 0.5, front - 0.2), 1.45)
    for at in (front - 1.5, back + length * 0.42):
        mesh.side_panel(
            1, half + 0.008, (at - 0.6, 0.4, at + 0.6, 2.35), GLASS, BUS, layer=4, gloss=0.9
        )
        mesh.side_panel(1, half + 0.009, (at - 0.03, 0.4, at + 0.03, 2.35), BLACK, BUS, layer=5)
    mesh.panel(
        1, front + 0.006, (-half * 0.94, 0.95, half * 0.94, top - 0.5), GLASS, BUS, gloss=1.0
    )
    mesh.panel(1, front + 0.008, (-half * 0.7, top - 0.46, half * 0.7, top - 0.14), BLACK, BUS)
    for x in np.arange(-0.6, 0.5, 0.16):
        mesh.panel(
            1,
            front + 0.01,
            (x, top - 0.40, x + 0.1, top - 0.2),
            (0.98, 0.65, 0.15),
            BUS,
            layer=4,
            glow=1.0,
        )
    mesh.panel(-1, back - 0.006, (-half * 0.85, 1.4, half * 0.85, top - 0.5), GLASS, BUS, gloss=1.0)
    mesh.panel(-1, back - 0.006, (-half * 0.6, 0.5, half * 0.6, 1.2), skirt, BUS)
    for at in (front - 2.6, back + 3.0):
        wheel(mesh, BUS, half, 0.48, at)
    _head_lamps(mesh, BUS, half, 0.58, front)
    _tail_lamps(mesh, BUS, half, 0.58, back)
    return mesh


def tram_mesh(rng: np.random.Generator) -> Mesh:
    """A tram of two or three cars."""
    mesh = Mesh()
    color, skirt = shared_color(rng), shared_color(rng)
    half, section, top = 1.25, 8.5, 3.35
    count = int(rng.integers(2, 4))
    length = count * section
    front = length / 2
    for i in range(count):
        high, low = front - i * section, front - (i + 1) * section
        _shell(mesh, TRAIN, (half, 0.28, top, low + 0.3, high - (0.3 if i else 0)), color)
        if i:
            _shell(mesh, TRAIN, (half * 0.86, 0.4, top - 0.2, high - 0.3, high + 0.3), BLACK)
        for side in (-1, 1):
            mesh.side_panel(
                side, half + 0.003, (low + 0.3, 0.28, high - 0.3, 0.9), skirt, TRAIN, gloss=0.4
            )
            at = low + section * 0.5
            mesh.side_panel(
                side,
                half + 0.008,
                (at - 0.65, 0.35, at + 0.65, 2.5),
                GLASS,
                TRAIN,
                layer=4,
                gloss=0.9,
            )
        _side_windows(mesh, TRAIN, half, (1.3, 2.4), (low + 0.6, high - 0.5), 1.55)
    mesh.panel(1, front + 0.006, (-half * 0.88, 1.15, half * 0.88, 2.6), GLASS, TRAIN, gloss=1.0)
    mesh.panel(-1, -front + 0.294, (-half * 0.88, 1.15, half * 0.88, 2.6), GLASS, TRAIN, gloss=1.0)
    mesh.panel(1, front + 0.007, (-0.7, 2.72, 0.7, 3.1), (0.95, 0.62, 0.15), TRAIN, glow=1.0)
    mesh.box((-0.6, top, -1.2), (0.6, top + 0.25, 1.2), (0.35, 0.35, 0.36), TRAIN)
    _head_lamps(mesh, TRAIN, half, 0.62, front)
    _tail_lamps(mesh, TRAIN, half, 0.62, -front + 0.3)
    return mesh


def caravan_mesh(rng: np.random.Generator) -> Mesh:
    """A caravan: pale, rounded and without a driver."""
    mesh = Mesh()
    color = vary(rng, (0.85, 0.83, 0.78), 0.06)
    half, length = 1.1, rng.uniform(4.5, 6.0)
    front, back = length / 2, -length / 2
    _shell(mesh, CARAVAN, (half, 0.5, 2.55, back, front), color)
    stripe = shared_color(rng)
    for side in (-1, 1):
        mesh.side_panel(side, half + 0.003, (back, 1.0, front, 1.22), stripe, CARAVAN)
        for at in (back + 1.2, front - 1.3):
            mesh.side_panel(
                side,
                half + 0.006,
                (at - 0.5, 1.4, at + 0.5, 2.05),
                GLASS,
                CARAVAN,
                layer=3,
                gloss=1.0,
            )
    for end, at in ((1, front), (-1, back)):
        mesh.panel(end, at + 0.006 * end, (-0.75, 1.35, 0.75, 2.1), GLASS, CARAVAN, gloss=1.0)
        mesh.panel(end, at + 0.004 * end, (-half, 1.0, half, 1.22), stripe, CARAVAN)
    mesh.box((-0.06, 0.4, front), (0.06, 0.5, front + 1.1), (0.3, 0.3, 0.3), CARAVAN)
    wheel(mesh, CARAVAN, half, 0.33, 0.0)
    _tail_lamps(mesh, CARAVAN, half, 0.6, back)
    return mesh


def trailer_mesh(rng: np.random.Generator) -> Mesh:
    """A small car trailer with a tarpaulin or an open load."""
    mesh = Mesh()
    half, length = 0.9, rng.uniform(2.4, 3.4)
    front, back = length / 2, -length / 2
    mesh.box(
        (-half, 0.5, back),
        (half, 0.95, front),
        vary(rng, (0.6, 0.6, 0.62), 0.1),
        TRAILER,
        gloss=0.2,
    )
    cover = shared_color(rng)
    mesh.box(
        (-half, 0.95, back),
        (half, rng.uniform(1.3, 1.9), front),
        cover,
        TRAILER,
        taper=0.95,
        layer=2,
    )
    mesh.box((-0.05, 0.42, front), (0.05, 0.5, front + 1.2), (0.3, 0.3, 0.3), TRAILER)
    wheel(mesh, TRAILER, half + 0.12, 0.3, -0.1)
    _tail_lamps(mesh, TRAILER, half, 0.55, back)
    return mesh
