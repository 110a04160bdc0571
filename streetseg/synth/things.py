"""What stands and moves in the street, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from streetseg.synth import cycles, furniture, heavy
from streetseg.synth.canvas import Canvas
from streetseg.synth.cars import BODIES, car_mesh
from streetseg.synth.figures import draw_figure
from streetseg.synth.light import Light
from streetseg.synth.mesh import Mesh, Pose, draw_mesh
from streetseg.synth.people import walker
from streetseg.synth.street import Side, Street
from streetseg.synth.styles import CityStyle
from streetseg.synth.vegetation import Tree, draw_tree, random_tree

Draw = Callable[[Canvas, Pose, Light, float], None]
"""Draws a thing; the last argument is the share of the sun that reaches it."""


@dataclass(frozen=True)
class Thing:
    """Something with a place, a shadow and a way to be drawn."""

    pose: Pose
    draw: Draw
    half_width: float
    half_length: float
    """Of its footprint, in metres."""
    height: float
    crown: float = 0.0
    """Radius of a tree's crown, in metres."""

    def visible(self, canvas: Canvas) -> bool:
        """Whether any of it may be seen behind what is already on the canvas."""
        reach = max(self.half_width, self.half_length, self.crown * 1.2) + 0.8
        center = np.array([self.pose.x, self.height / 2 + 0.3, self.pose.z])
        half = np.array([reach, self.height / 2 + 0.6, reach])
        return canvas.sees(center - half, center + half)

    def shade(self, light: Light) -> list[np.ndarray]:
        """Polygons (world x and z) that it keeps from the sun."""
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
            [(-x, 0, -z * cut), (-x * cut, 0, -z), (x * cut, 0, -z), (x, 0, -z * cut),
             (x, 0, z * cut), (x * cut, 0, z), (-x * cut, 0, z), (-x, 0, z * cut)]
        )  # fmt: skip
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
    """Collects things so that none stands in another."""

    def __init__(self, rng: np.random.Generator, street: Street) -> None:
        """An empty ``street``."""
        self.rng = rng
        self.street = street
        self.things: list[Thing] = []
        self.taken: list[tuple[float, float, float]] = []

    def free(self, x: float, z: float, radius: float) -> bool:
        """Whether nothing is within ``radius`` metres of a place (or of another's own radius)."""
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
        spots = [
            pose.to_world(np.array([0.0, 0.0, d]))
            for d in np.linspace(-1, 1, max(1, round(half_length / max(half_width, 0.3)))) * half_length
        ] if half_length > 1.2 * half_width else [np.array([x, 0.0, z])]  # fmt: skip
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
        if kind in BODIES:
            body = BODIES[kind]
            build = partial(car_mesh, kind=kind, braking=bool(self.rng.random() < 0.3))
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
            along, across, turn, partial(draw, seed=self.seed(), ridden=ridden),
            (0.35, 0.95, 1.7 if ridden else 1.0),
        )  # fmt: skip

    def fixed(self, draw: Callable[..., None], along: float, across: float, turn: float,
              size: tuple[float, float, float], **options: float) -> bool:  # fmt: skip
        """Add a piece of street furniture that ``draw`` draws from its own seed."""
        return self.add(along, across, turn, partial(draw, seed=self.seed(), **options), size)


def plan_things(
    rng: np.random.Generator, style: CityStyle, street: Street, light: Light
) -> list[Thing]:
    """Traffic, furniture, trees and people of a street."""
    crowd = Crowd(rng, street)
    _drive(crowd)
    for side in street.sides:
        _park(crowd, side)
        _furnish(crowd, side)
        _plant(crowd, side, style)
    _cross(crowd)
    _walk(crowd)
    _cycle(crowd)
    return crowd.things


def _car_kind(rng: np.random.Generator) -> str:
    kinds = list(BODIES)
    return str(rng.choice(kinds, p=[0.25, 0.2, 0.14, 0.14, 0.09, 0.1, 0.08]))


def _drive(crowd: Crowd) -> None:
    rng, street = crowd.rng, crowd.street
    if street.rails and rng.random() < 0.65:
        ahead = rng.random() < 0.5
        across = 0.0
        if abs(street.own_lane) > 2.3:
            crowd.vehicle("tram", rng.uniform(19, 55), across, 0.0 if ahead else np.pi)
    for lane in street.lanes:
        own = abs(lane - street.own_lane) < 0.1
        turn = 0.0 if lane > -0.1 else np.pi
        density = rng.uniform(0.15, 0.9)
        along = rng.uniform(8, 26) if own else rng.uniform(4, 22)
        while along < 130:
            if rng.random() < density:
                kind = _car_kind(rng)
                special = rng.random()
                if special < 0.30:
                    kind = str(rng.choice(["truck", "bus", "truck", "bus", "motor"]))
                if kind == "motor":
                    crowd.cycle(along, lane + rng.normal(0, 0.4), turn, ridden=True, motor=True)
                else:
                    space = {"truck": 5.5, "bus": 6.5}.get(kind, 2.5)
                    place = along + (space if own or along < 12 else 0)
                    done = crowd.vehicle(kind, place, lane + rng.normal(0, 0.12), turn)
                    if done and kind in ("saloon", "suv", "estate") and rng.random() < 0.22:
                        other = str(rng.choice(["caravan", "trailer"]))
                        gap = 5.0 if other == "caravan" else 4.2
                        sign = -1 if turn == 0 else 1
                        crowd.vehicle(other, place + sign * gap, lane, turn)
            along += rng.uniform(8, 26)


def _park(crowd: Crowd, side: Side) -> None:
    rng, street = crowd.rng, crowd.street
    turn = 0.0 if side.sign > 0 else np.pi
    if side.parking:
        across, fill = side.sign * (side.kerb - side.parking / 2), rng.uniform(0.35, 0.95)
    elif street.suburban and rng.random() < 0.5:
        across, fill = side.sign * (side.kerb - 0.9), rng.uniform(0.1, 0.4)
    else:
        return
    along = rng.uniform(2.0, 6.0)
    while along < 85:
        if rng.random() < fill and not street.in_crossing(along, 6.5):
            kind = _car_kind(rng)
            chance = rng.random()
            if chance < 0.05:
                kind = "caravan"
            elif chance < 0.10:
                kind = "trailer"
            elif chance < 0.14:
                crowd.cycle(along, across, turn + rng.normal(0, 0.3), ridden=False, motor=True)
                along += 2.0
                continue
            facing = turn if rng.random() < 0.9 else turn + np.pi
            crowd.vehicle(kind, along, across + rng.normal(0, 0.08), facing + rng.normal(0, 0.02))
        along += rng.uniform(5.4, 6.4)


def _furnish(crowd: Crowd, side: Side) -> None:
    rng, street = crowd.rng, crowd.street
    kerb = side.sign * (side.kerb + 0.45)
    inner = side.sign * (side.walk_end - 0.35)
    inward = 0.0 if side.sign < 0 else np.pi
    along, pitch = rng.uniform(6, 16), rng.uniform(18, 32)
    draw = furniture.draw_lamp if rng.random() < 0.75 else furniture.draw_wire_pole
    while along < 130:
        if not street.in_crossing(along):
            crowd.fixed(draw, along, kerb, inward, (0.12, 0.12, 6.0))
        along += pitch
    for start, end in street.crossings:
        if rng.random() < 0.6:
            arm = rng.uniform(2.5, 4.5) if rng.random() < 0.3 else 0.0
            across = kerb
            if side.sign > 0:
                crowd.fixed(furniture.draw_traffic_light, start - 1.2, across, 0.0,
                            (0.15, 0.15, 3.2), arm=-arm)  # fmt: skip
            else:
                crowd.fixed(furniture.draw_traffic_light, end + 1.2, across, 0.0,
                            (0.15, 0.15, 3.2), arm=arm)  # fmt: skip
        crowd.fixed(furniture.draw_sign, start - 1.9, kerb, rng.normal(0, 0.12), (0.1, 0.1, 2.6))
        del end
    for _ in range(int(rng.poisson(2.6))):
        along = 6 + 44 * rng.random() ** 1.4
        if not street.in_crossing(along):
            crowd.fixed(furniture.draw_sign, along, kerb, rng.normal(0, 0.15), (0.1, 0.1, 2.6))
    if rng.random() < 0.22:
        crowd.fixed(furniture.draw_pole_group, rng.uniform(9, 30), kerb, 0.0, (0.3, 0.1, 4.0))
    for _ in range(int(rng.poisson(2.2))):
        along = 5 + 40 * rng.random() ** 1.3
        across = kerb if rng.random() < 0.5 else inner
        if not street.in_crossing(along):
            crowd.fixed(furniture.draw_static, along, across, rng.choice([0, np.pi / 2]),
                        (0.4, 0.4, 1.0))  # fmt: skip
    for _ in range(int(rng.poisson(0.8))):
        along = 6 + 34 * rng.random() ** 1.2
        crowd.fixed(furniture.draw_dynamic, along, inner, rng.uniform(0, 6.28), (0.5, 0.5, 0.9))


def _plant(crowd: Crowd, side: Side, style: CityStyle) -> None:
    rng, street = crowd.rng, crowd.street
    row = rng.random() < style.trees
    along, pitch = rng.uniform(5, 14), rng.uniform(7, 14)
    size = rng.uniform(5.5, 11)
    wide = side.walk_end - side.kerb > 2.4
    while along < 140:
        if row and wide and not street.in_crossing(along, 3):
            _tree(
                crowd, along, side.sign * (side.kerb + 0.8), size * rng.uniform(0.85, 1.15), style
            )
        if side.building - side.walk_end > 2.5 and rng.random() < 0.7:
            across = rng.uniform(side.walk_end + 1.2, side.building - 0.8)
            if not street.in_crossing(along, 3):
                _tree(crowd, along + 3, side.sign * across, rng.uniform(3.5, 9), style)
        along += pitch
    for _ in range(14):
        along = street.length + rng.uniform(8, 70)
        across = side.sign * rng.uniform(side.walk_end + 2, 60)
        _tree(crowd, along, across, rng.uniform(7, 15), style)


def _tree(crowd: Crowd, along: float, across: float, height: float, style: CityStyle) -> None:
    tree = random_tree(crowd.seed(), height, style.leaves)
    draw = partial(_draw_tree, tree=tree)
    crowd.add(along, across, 0.0, draw, (0.2, 0.2, height), crown=tree.spread)


def _draw_tree(canvas: Canvas, pose: Pose, light: Light, lit: float, *, tree: Tree) -> None:
    draw_tree(canvas, pose, tree, light, max(lit, 0.6))


def _walk(crowd: Crowd) -> None:
    rng, street = crowd.rng, crowd.street
    busy = rng.uniform(0.25, 1.2) if not street.suburban else rng.uniform(0.1, 0.5)
    for side in street.sides:
        for _ in range(int(rng.poisson(8 * busy))):
            along = 5.5 + 50 * rng.random() ** 1.7
            across = side.sign * rng.uniform(side.walk_start + 0.5, side.walk_end - 0.3)
            turn = rng.choice([0, np.pi]) + rng.normal(0, 0.2)
            group = 1 + int(rng.random() < 0.35) + int(rng.random() < 0.12)
            standing = rng.random() < 0.25
            if standing:
                turn = rng.uniform(0, 2 * np.pi)
            for i in range(group):
                crowd.person(along + rng.normal(0, 0.2), across + 0.62 * i * -side.sign,
                             turn + rng.normal(0, 0.1), standing=standing)  # fmt: skip
    if rng.random() < 0.22:
        along = rng.uniform(9, 30)
        across = rng.uniform(-1, 1) * street.left.kerb
        crowd.person(along, across, rng.choice([-1, 1]) * np.pi / 2, standing=False)


def _cycle(crowd: Crowd) -> None:
    rng, street = crowd.rng, crowd.street
    for side in street.sides:
        half = street.lane_width * len(street.lanes) / 2
        for _ in range(int(rng.poisson(0.75))):
            along = 6.5 + 30 * rng.random() ** 1.4
            turn = (0.0 if side.sign > 0 else np.pi) + rng.normal(0, 0.08)
            crowd.cycle(along, side.sign * (half - 0.55), turn, ridden=True,
                        motor=bool(rng.random() < 0.2))  # fmt: skip
        if rng.random() < 0.55:
            along = rng.uniform(6, 26)
            turn = rng.choice([0.0, np.pi / 2, 0.6]) + rng.normal(0, 0.1)
            for i in range(int(rng.integers(1, 6))):
                across = side.sign * (side.walk_end - 0.5)
                crowd.cycle(along + 0.75 * i, across, turn, ridden=False,
                            motor=bool(rng.random() < 0.15))  # fmt: skip


def _cross(crowd: Crowd) -> None:
    rng, street = crowd.rng, crowd.street
    for start, end in street.crossings:
        if rng.random() < 0.5:
            sign = rng.choice([-1, 1])
            lane = (start + end) / 2 - sign * (end - start) / 4
            kind = _car_kind(rng) if rng.random() < 0.7 else str(rng.choice(["truck", "bus"]))
            crowd.vehicle(kind, lane, rng.uniform(-12, 12), sign * np.pi / 2)
        for _ in range(int(rng.poisson(2.0))):
            along = start - 2.3 + rng.normal(0, 0.8)
            across = rng.uniform(-street.left.kerb, street.right.kerb)
            crowd.person(along, across, rng.choice([-1, 1]) * np.pi / 2, standing=False)
