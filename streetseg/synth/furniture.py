"""Street furniture: lamps, signs, traffic lights, bins, benches and other small things."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streetseg.synth.canvas import Canvas
from streetseg.synth.figures import Figure, draw_figure
from streetseg.synth.light import Light
from streetseg.synth.mesh import Mesh, Pose, draw_mesh
from streetseg.synth.noise import Rgb, shared_color, vary

STATIC, DYNAMIC, POLE, POLEGROUP, TRAFFIC_LIGHT, TRAFFIC_SIGN = 4, 5, 17, 18, 19, 20
WHITE: Rgb = (0.90, 0.90, 0.88)
RED: Rgb = (0.75, 0.10, 0.10)
BLUE: Rgb = (0.12, 0.28, 0.62)
YELLOW: Rgb = (0.93, 0.78, 0.15)
GREY: Rgb = (0.52, 0.53, 0.55)


def pole_color(rng: np.random.Generator) -> Rgb:
    """Galvanised, dark green, black or painted."""
    kind = rng.random()
    if kind < 0.5:
        return vary(rng, (0.48, 0.49, 0.50), 0.12)
    return vary(rng, (0.12, 0.14, 0.13) if kind < 0.8 else (0.16, 0.27, 0.20), 0.1)


def draw_lamp(canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int) -> None:
    """Draw a street lamp whose arm reaches towards its +x."""
    rng = np.random.default_rng(seed)
    color, height = pole_color(rng), rng.uniform(5.5, 9.0)
    figure = Figure()
    figure.part([(0, 0, 0), (0, height, 0)], [0.12, 0.08], color, POLE)
    figure.part([(0, 0, 0), (0, 0.9, 0)], 0.14, color, POLE, bias=0.01)
    bright = (1.0, 0.95, 0.75) if light.dark else (0.8, 0.8, 0.78)
    if rng.random() < 0.25:
        figure.part([(0, height, 0)], 0.26, bright, POLE)
        figure.part([(0, height + 0.25, 0)], 0.12, color, POLE)
    else:
        reach = rng.uniform(1.0, 2.2)
        figure.part([(0, height, 0), (reach, height + 0.45, 0)], 0.055, color, POLE)
        figure.part([(reach, height + 0.45, 0), (reach + 0.7, height + 0.42, 0)], 0.13, color, POLE)
        figure.part(
            [(reach + 0.1, height + 0.36, 0), (reach + 0.6, height + 0.34, 0)],
            0.09,
            bright,
            POLE,
            bias=0.05,
        )
    draw_figure(canvas, figure, pose, light, lit)


def draw_wire_pole(canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int) -> None:
    """Draw a plain tall pole, as for overhead wires."""
    rng = np.random.default_rng(seed)
    figure = Figure()
    figure.part([(0, 0, 0), (0, rng.uniform(6, 8.5), 0)], [0.15, 0.10], pole_color(rng), POLE)
    draw_figure(canvas, figure, pose, light, lit)


def draw_pole_group(canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int) -> None:
    """Draw several poles so close together that they count as one group."""
    rng = np.random.default_rng(seed)
    color = pole_color(rng)
    figure = Figure()
    for x in np.arange(3) * 0.30 - 0.3:
        height = rng.uniform(2.8, 6.5)
        figure.part([(x, 0, 0), (x, height, 0)], 0.10, color, POLEGROUP)
    figure.part([(-0.3, 1.4, 0), (0.3, 1.4, 0)], 0.05, color, POLEGROUP)
    figure.part([(-0.3, 2.5, 0), (0.3, 2.5, 0)], 0.05, color, POLEGROUP)
    draw_figure(canvas, figure, pose, light, lit)


def draw_traffic_light(
    canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int, *, arm: float
) -> None:
    """Draw a traffic light facing -z; with ``arm`` > 0 a second one hangs that far along +x."""
    rng = np.random.default_rng(seed)
    color = pole_color(rng)
    mast = 5.8 if arm else 3.3
    figure = Figure()
    figure.part([(0, 0, 0), (0, mast, 0)], [0.12, 0.10], color, POLE)
    if arm:
        figure.part([(0, mast, 0), (arm, mast + 0.2, 0)], 0.08, color, POLE)
    draw_figure(canvas, figure, pose, light, lit)
    state = int(rng.integers(3))
    case = (0.05, 0.06, 0.055) if rng.random() < 0.8 else (0.12, 0.20, 0.16)
    mesh = Mesh()
    heads = [(0.0, 2.3)] + ([(arm, mast - 0.75)] if arm else [])
    for x, bottom in heads:
        mesh.box((x - 0.21, bottom, -0.40), (x + 0.21, bottom + 1.15, -0.13), case, TRAFFIC_LIGHT)
        for i, lamp in enumerate(((0.1, 0.85, 0.35), (0.98, 0.7, 0.1), (0.98, 0.12, 0.1))):
            on = i == state
            tone = lamp if on else (lamp[0] * 0.22, lamp[1] * 0.22, lamp[2] * 0.22)
            center = np.array([x, bottom + 0.21 + 0.365 * i, -0.41])
            angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
            ring = center + 0.135 * np.stack(
                [-np.cos(angles), np.sin(angles), np.zeros(12)], axis=1
            )
            mesh.face(ring, tone, TRAFFIC_LIGHT, layer=2, glow=1.0 if on else 0.0)
    draw_mesh(canvas, mesh, pose, light, lit)


def draw_sign(canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int) -> None:
    """Draw one or two traffic signs facing -z on a pole."""
    rng = np.random.default_rng(seed)
    plates = 1 + int(rng.random() < 0.35)
    height = rng.uniform(2.3, 2.8) + 0.7 * plates - 0.4
    back = rng.random() < 0.12
    mesh = Mesh()
    top = height
    for _ in range(plates):
        top -= _sign_plate(mesh, rng, top, back)
    figure = Figure()
    figure.part([(0, 0, 0), (0, height, 0)], 0.07, pole_color(rng), POLE)
    draw_figure(canvas, figure, pose, light, lit)
    draw_mesh(canvas, mesh, pose, light, lit)


def _regular(corners: int, radius: float, turn: float) -> np.ndarray:
    """Corners of a polygon seen from the front, clockwise: float[n, 2]."""
    angles = turn - np.arange(corners) * 2 * np.pi / corners
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _sign_plate(mesh: Mesh, rng: np.random.Generator, top: float, back: bool) -> float:
    """Add a plate whose upper edge is at ``top``; return its height."""
    size = rng.uniform(0.36, 0.50)
    kind = str(
        rng.choice(
            ["ban", "order", "triangle", "stop", "priority", "yield", "board", "plate"],
            p=[0.2, 0.15, 0.12, 0.06, 0.1, 0.09, 0.16, 0.12],
        )
    )
    shapes = {
        "triangle": _regular(3, size * 1.1, np.pi / 2),
        "yield": _regular(3, size * 1.1, -np.pi / 2),
        "stop": _regular(8, size, np.pi / 8),
        "priority": _regular(4, size * 1.1, np.pi / 2),
    }
    wide = size * (2.2 if kind == "board" else 0.85)
    high = size * (0.8 if kind == "board" else 0.95)
    rectangle = np.array([(-wide, -high), (-wide, high), (wide, high), (wide, -high)])
    shape = shapes.get(kind, _regular(12, size, 0.0))
    if kind in ("board", "plate"):
        shape = rectangle
    rim, inner = {
        "ban": (RED, WHITE),
        "order": (WHITE, BLUE),
        "triangle": (RED, WHITE),
        "stop": (WHITE, RED),
        "priority": (WHITE, YELLOW),
        "yield": (RED, WHITE),
    }.get(kind, (WHITE, (BLUE, YELLOW, shared_color(rng), (0.1, 0.42, 0.25))[rng.integers(4)]))
    middle = top - shape[:, 1].max()

    def add(outline: np.ndarray, color: Rgb, layer: int) -> None:
        flat = np.full(len(outline), -0.09 - 0.004 * layer)
        corners = np.stack([outline[:, 0], outline[:, 1] + middle, flat], axis=1)
        mesh.face(
            corners, GREY if back else vary(rng, color, 0.04), TRAFFIC_SIGN, layer=layer, gloss=0.15
        )

    add(shape, rim, 2)
    if not back:
        add(shape * (0.72 if kind in ("ban", "triangle", "yield") else 0.90), inner, 3)
        ink = (0.08, 0.08, 0.08) if inner in (WHITE, YELLOW) else WHITE
        if kind != "priority" and kind != "yield":
            _symbol(add, rng, size, wide if kind == "board" else size * 0.45, ink)
    return float(np.ptp(shape[:, 1])) + 0.06


def _symbol(
    add: Callable[[np.ndarray, Rgb, int], None],
    rng: np.random.Generator,
    size: float,
    wide: float,
    ink: Rgb,
) -> None:
    """Add a few strokes that read as writing, digits or an arrow."""
    if rng.random() < 0.4:
        stem = np.array([(-0.06, -0.4), (-0.06, 0.2), (0.06, 0.2), (0.06, -0.4)]) * size
        head = np.array([(-0.22, 0.15), (0.0, 0.48), (0.22, 0.15)]) * size
        add(stem, ink, 4)
        add(head, ink, 4)
        return
    for row in (-0.22, 0.22) if rng.random() < 0.5 else (0.0,):
        left = -wide * 0.75
        while left < wide * 0.6:
            right = left + rng.uniform(0.12, 0.3) * size
            low, high = (row - 0.13) * size, (row + 0.13) * size
            add(np.array([(left, low), (left, high), (right, high), (right, low)]), ink, 4)
            left = right + 0.1 * size


def draw_static(canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int) -> None:
    """Draw a static thing: bin, bollard, bench, cabinet, table or planter."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(
        ["bin", "bollard", "bench", "cabinet", "column", "parasol"],
        p=[0.26, 0.2, 0.16, 0.2, 0.1, 0.08],
    )
    color = shared_color(rng)
    mesh, figure = Mesh(), Figure()
    if kind == "bin":
        figure.part([(0, 0.3, 0), (0, 0.95, 0)], [0.24, 0.27], color, STATIC)
        figure.part([(0, 1.02, 0)], 0.24, (0.15, 0.15, 0.15), STATIC)
    elif kind == "bollard":
        for z in (-1.5, 0.0, 1.5):
            figure.part([(0, 0, z), (0, 0.95, z)], 0.13, color, STATIC)
            figure.part([(0, 0.82, z)], 0.135, WHITE, STATIC, bias=0.02)
    elif kind == "bench":
        for x in (-0.7, 0.7):
            mesh.box((x - 0.05, 0, -0.25), (x + 0.05, 0.42, 0.25), (0.2, 0.2, 0.2), STATIC)
        wood = vary(rng, (0.45, 0.30, 0.18), 0.15)
        mesh.box((-0.95, 0.42, -0.28), (0.95, 0.50, 0.28), wood, STATIC)
        mesh.box((-0.95, 0.60, 0.22), (0.95, 0.92, 0.30), wood, STATIC)
    elif kind == "cabinet":
        mesh.box((-0.55, 0, -0.22), (0.55, 1.25, 0.22), vary(rng, (0.55, 0.56, 0.54), 0.15), STATIC)
        mesh.panel(-1, -0.225, (-0.02, 0.08, 0.02, 1.15), (0.2, 0.2, 0.2), STATIC)
    elif kind == "column":
        figure.part([(0, 0, 0), (0, 2.9, 0)], 0.62, color, STATIC)
        figure.part([(0, 3.1, 0)], 0.5, (0.25, 0.25, 0.25), STATIC)
        for low, wide in ((0.6, 0.34), (1.7, 0.30)):
            figure.part(
                [
                    (-0.2, low, -0.5),
                    (-0.2, low + 0.7, -0.5),
                    (0.2, low, -0.5),
                    (0.2, low + 0.7, -0.5),
                ],
                wide * 0.5,
                shared_color(rng),
                STATIC,
            )
    else:
        figure.part([(0, 0, 0), (0, 2.3, 0)], 0.04, GREY, STATIC)
        figure.part(
            [(-1.2, 2.1, 0), (1.2, 2.1, 0), (0, 2.1, -1.2), (0, 2.1, 1.2), (0, 2.65, 0)],
            0.05,
            color,
            STATIC,
            bias=0.5,
        )
        figure.part([(-0.4, 0.72, 0), (0.4, 0.72, 0)], 0.06, GREY, STATIC)
    if mesh.corners:
        draw_mesh(canvas, mesh, pose, light, lit)
    if figure.centers:
        draw_figure(canvas, figure, pose, light, lit)


def draw_dynamic(canvas: Canvas, pose: Pose, light: Light, lit: float, seed: int) -> None:
    """Draw a movable thing: pushchair, wheeled bin, dog, trolley or sacks."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["pushchair", "wheeled bin", "dog", "sacks"], p=[0.25, 0.45, 0.15, 0.15])
    color = shared_color(rng)
    dark = (0.08, 0.08, 0.08)
    mesh, figure = Mesh(), Figure()
    if kind == "pushchair":
        figure.part([(0, 0.55, 0.2), (0, 0.75, -0.25), (0, 0.95, -0.05)], 0.20, color, DYNAMIC)
        figure.part([(-0.22, 1.02, -0.55), (0.22, 1.02, -0.55)], 0.03, dark, DYNAMIC)
        for x in (-0.24, 0.24):
            figure.part([(x, 0.12, 0.35), (x, 1.0, -0.52)], 0.03, dark, DYNAMIC)
            for z in (-0.35, 0.35):
                figure.part([(x, 0.12, z)], 0.12, dark, DYNAMIC)
    elif kind == "wheeled bin":
        for i in range(int(rng.integers(1, 4))):
            x = i * 0.75
            mesh.box((x - 0.29, 0.06, -0.34), (x + 0.29, 1.0, 0.34), color, DYNAMIC, taper=1.12)
            lid = shared_color(rng)
            mesh.box((x - 0.34, 1.0, -0.40), (x + 0.34, 1.09, 0.40), lid, DYNAMIC, layer=2)
    elif kind == "dog":
        figure.part(
            [(0, 0.48, -0.25), (0, 0.50, 0.25)], 0.13, vary(rng, (0.45, 0.33, 0.22), 0.3), DYNAMIC
        )
        figure.part([(0, 0.68, 0.42), (0, 0.64, 0.55)], [0.10, 0.06], dark, DYNAMIC)
        for x, z in ((-0.08, -0.25), (0.08, -0.25), (-0.08, 0.25), (0.08, 0.25)):
            figure.part([(x, 0.45, z), (x, 0.04, z + 0.03)], 0.04, dark, DYNAMIC)
        figure.part([(0, 0.55, -0.35), (0, 0.75, -0.5)], 0.03, dark, DYNAMIC)
    else:
        for i in range(4):
            x, z = rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3)
            figure.part(
                [(x, 0.25, z), (x, 0.5, z)], [0.28, 0.12], color if i % 2 else dark, DYNAMIC
            )
    if mesh.corners:
        draw_mesh(canvas, mesh, pose, light, lit)
    if figure.centers:
        draw_figure(canvas, figure, pose, light, lit)
