"""Things that stand and move in the street, and how they are placed without collisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from streetseg.synth import cycles, heavy
from streetseg.synth.canvas import Canvas
from streetseg.synth.cars import BODIES, car_mesh
from streetseg.synth.figures import draw_figure
from streetseg.synth.light import Light
from streetseg.synth.mesh import Mesh, Pose, draw_mesh
from streetseg.synth.people import walker
from streetseg.synth.street import Street

Draw = Callable[[Canvas, Pose, Light, float], None]
"""Draws a thing; the last argument is the fraction of the sun that reaches it."""


FAR = 30.0
"""Distance beyond which cars are built more coarsely, in metres."""


@dataclass(frozen=True)
class Thing:
    """A thing with a position, a shadow and a function that draws it."""

    pose: Pose
    draw: Draw
    half_width: float
    half_length: float
    """Of its footprint, in metres."""
    height: float
    crown: float = 0.0
    """Radius of a tree's crown, in metres."""

    def visible(self, canvas: Canvas) -> bool:
        """Whether any of it may be visible behind what is already on the canvas."""
        reach = max(self.half_width, self.half_length, self.crown * 1.2) + 0.8
        center = np.array([self.pose.x, self.height / 2 + 0.3, self.pose.z])
        half = np.array([reach, self.height / 2 + 0.6, reach])
        return canvas.sees(center - half, center + half)

    def shade(self, light: Light) -> list[np.ndarray]:
        """Polygons (world x and z) in its shadow."""
        shift = light.shadow_offset
        foot = self.footprint(1.0)
        if not self.crown:
            return [_hull(np.concatenate([foot, foot + shift * self.height]))]
        rng = np.random.default_rng(int(self.height * 1e6))
        here = np.array([self.pose.x, self.pose.z])
        turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        shapes = [_hull(np.concatenate([foot, foot + shift * self.height * 0.5]))]
        for _ in range(9):
            at = here + shift * self.height * rng.uniform(0.38, 0.95)
            at = at + rng.normal(0, 0.42, 2) * self.crown
            shapes.append(at + circle * self.crown * rng.uniform(0.25, 0.6))
        return shapes

    def footprint(self, grown: float) -> np.ndarray:
        """Corners (world x and z) of the ground below it, ``grown`` times as wide and long."""
        x, z = self.half_width * grown, self.half_length * grown
        cut = 0.7
        corners = np.array(
            [
                (-x, 0, -z * cut),
                (-x * cut, 0, -z),
                (x * cut, 0, -z),
                (x, 0, -z * cut),
                (x, 0, z * cut),
                (x * cut, 0, z),
                (-x * cut, 0, z),
                (-x, 0, z * cut),
            ]
        )
        return self.pose.to_world(corners)[:, [0, 2]]


def _hull(points: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], float)


def _draw_vehicle(
    canvas: Canvas,
    pose: Pose,
    light: Light,
    lit: float,
    *,
    build: Callable[[np.random.Generator], Mesh],
    seed: int,
) -> None:
    draw_mesh(canvas, build(np.random.default_rng(seed)), pose, light, lit)


def _draw_person(
    canvas: Canvas, pose: Pose, light: Light, lit: float, *, standing: bool, seed: int
) -> None:
    figure = walker(np.random.default_rng(seed), standing=standing)
    draw_figure(canvas, figure, pose, light, lit)


class Crowd:
    """A collection of things that do not overlap."""

    def __init__(self, rng: np.random.Generator, street: Street) -> None:
        """An empty ``street``."""
        self.rng = rng
        self.street = street
        self.things: list[Thing] = []
        self.taken: list[tuple[float, float, float]] = [(0.0, z, 1.3) for z in (-1.0, 1.5, 4.0)]

    def free(self, x: float, z: float, radius: float) -> bool:
        """Whether no thing is within ``radius`` metres of a position, or within its own radius."""
        return all((x - a) ** 2 + (z - b) ** 2 > (radius + r) ** 2 for a, b, r in self.taken)

    def seed(self) -> int:
        """A fresh seed for one thing."""
        return int(self.rng.integers(2**31))

    def add(
        self,
        along: float,
        across: float,
        turn: float,
        draw: Draw,
        size: tuple[float, float, float],
        *,
        crown: float = 0.0,
    ) -> bool:
        """Add a thing of half width, half length and height ``size`` unless it would collide.

        ``turn`` is its heading relative to the street. Returns whether there was room.
        """
        x, z = self.street.at(along, across)
        pose = Pose(x, z, self.street.heading(along) + turn)
        half_width, half_length, height = size
        spots = (
            [
                pose.to_world(np.array([0.0, 0.0, d]))
                for d in np.linspace(-1, 1, max(1, round(half_length / max(half_width, 0.3))))
                * half_length
            ]
            if half_length > 1.2 * half_width
            else [np.array([x, 0.0, z])]
        )
        radius = half_width * 0.95
        if not all(self.free(float(spot[0]), float(spot[2]), radius) for spot in spots):
            return False
        self.taken += [(float(spot[0]), float(spot[2]), radius) for spot in spots]
        self.things.append(Thing(pose, draw, half_width, half_length, height, crown))
        return True

    def vehicle(self, kind: str, along: float, across: float, turn: float) -> bool:
        """Add a motor vehicle of a ``kind``: a car body, truck, bus, caravan or trailer."""
        builders: dict[
            str, tuple[Callable[[np.random.Generator], Mesh], tuple[float, float, float]]
        ]
        builders = {
            "truck": (heavy.truck_mesh, (1.35, 4.6, 3.4)),
            "bus": (heavy.bus_mesh, (1.35, 5.8, 3.1)),
            "tram": (heavy.tram_mesh, (1.3, 12.0, 3.4)),
            "caravan": (heavy.caravan_mesh, (1.15, 2.8, 2.5)),
            "trailer": (heavy.trailer_mesh, (1.05, 1.6, 1.6)),
        }
        build: Callable[[np.random.Generator], Mesh]
        if kind in BODIES:
            body = BODIES[kind]
            braking = bool(self.rng.random() < 0.3)
            build = partial(car_mesh, kind=kind, braking=braking, far=along > FAR)
            size = (body.width / 2, body.length / 2, body.height)
        else:
            build, size = builders[kind]
        draw = partial(_draw_vehicle, build=build, seed=self.seed())
        return self.add(along, across, turn, draw, size)

    def person(self, along: float, across: float, turn: float, *, standing: bool) -> bool:
        """Add a person on foot."""
        draw = partial(_draw_person, standing=standing, seed=self.seed())
        return self.add(along, across, turn, draw, (0.27, 0.27, 1.7))

    def cycle(self, along: float, across: float, turn: float, *, ridden: bool, motor: bool) -> bool:
        """Add a bicycle or a motorcycle."""
        draw = cycles.draw_motorcycle if motor else cycles.draw_bicycle
        return self.add(
            along,
            across,
            turn,
            partial(draw, seed=self.seed(), ridden=ridden),
            (0.35, 0.95, 1.7 if ridden else 1.0),
        )

    def fixed(
        self,
        draw: Callable[..., None],
        along: float,
        across: float,
        turn: float,
        size: tuple[float, float, float],
        **options: float,
    ) -> bool:
        """Add a piece of street furniture that ``draw`` draws from its own seed."""
        return self.add(along, across, turn, partial(draw, seed=self.seed(), **options), size)
