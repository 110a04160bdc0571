"""Positions of the traffic, furniture, trees and people of a street."""

from __future__ import annotations

from functools import partial

import numpy as np

from streetseg.synth import furniture
from streetseg.synth.canvas import Canvas
from streetseg.synth.cars import BODIES
from streetseg.synth.light import Light
from streetseg.synth.mesh import Pose
from streetseg.synth.street import Side, Street
from streetseg.synth.styles import CityStyle
from streetseg.synth.things import Crowd, Thing
from streetseg.synth.vegetation import Tree, draw_tree, random_tree


def plan_things(rng: np.random.Generator, style: CityStyle, street: Street) -> list[Thing]:
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
                    position = along + (space if own or along < 12 else 0)
                    done = crowd.vehicle(kind, position, lane + rng.normal(0, 0.12), turn)
                    if done and kind in ("saloon", "suv", "estate") and rng.random() < 0.22:
                        other = str(rng.choice(["caravan", "trailer"]))
                        gap = 5.0 if other == "caravan" else 4.2
                        sign = -1 if turn == 0 else 1
                        crowd.vehicle(other, position + sign * gap, lane, turn)
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
    along = rng.uniform(6.0, 10.0)
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
                crowd.fixed(
                    furniture.draw_traffic_light,
                    start - 1.2,
                    across,
                    0.0,
                    (0.15, 0.15, 3.2),
                    arm=-arm,
                )
            else:
                crowd.fixed(
                    furniture.draw_traffic_light, end + 1.2, across, 0.0, (0.15, 0.15, 3.2), arm=arm
                )
        crowd.fixed(furniture.draw_sign, start - 1.9, kerb, rng.normal(0, 0.12), (0.5, 0.5, 2.6))
    for _ in range(int(rng.poisson(2.3))):
        along = 6 + 44 * rng.random() ** 1.4
        if not street.in_crossing(along):
            crowd.fixed(furniture.draw_sign, along, kerb, rng.normal(0, 0.15), (0.5, 0.5, 2.6))
    if rng.random() < 0.22:
        crowd.fixed(furniture.draw_pole_group, rng.uniform(9, 30), kerb, 0.0, (0.3, 0.1, 4.0))
    for _ in range(int(rng.poisson(2.2))):
        along = 5 + 40 * rng.random() ** 1.3
        across = kerb if rng.random() < 0.5 else inner
        if not street.in_crossing(along):
            crowd.fixed(
                furniture.draw_static, along, across, rng.choice([0, np.pi / 2]), (0.4, 0.4, 1.0)
            )
    for _ in range(int(rng.poisson(0.8))):
        along = 6 + 34 * rng.random() ** 1.2
        crowd.fixed(
            furniture.draw_dynamic,
            along,
            inner - 0.45 * side.sign,
            rng.uniform(0, 6.28),
            (0.5, 0.5, 0.9),
        )


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
        for _ in range(int(rng.poisson(10 * busy))):
            along = 5.5 + 45 * rng.random() ** 1.9
            across = side.sign * rng.uniform(side.walk_start + 0.5, side.walk_end - 0.3)
            turn = rng.choice([0, np.pi]) + rng.normal(0, 0.2)
            group = 1 + int(rng.random() < 0.35) + int(rng.random() < 0.12)
            standing = rng.random() < 0.25
            if standing:
                turn = rng.uniform(0, 2 * np.pi)
            for i in range(group):
                crowd.person(
                    along + rng.normal(0, 0.2),
                    across + 0.62 * i * -side.sign,
                    turn + rng.normal(0, 0.1),
                    standing=standing,
                )
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
            crowd.cycle(
                along, side.sign * (half - 0.55), turn, ridden=True, motor=bool(rng.random() < 0.2)
            )
        if rng.random() < 0.55:
            along = rng.uniform(6, 26)
            turn = rng.choice([0.0, np.pi / 2, 0.6]) + rng.normal(0, 0.1)
            for i in range(int(rng.integers(1, 6))):
                across = side.sign * (side.walk_end - 0.5)
                crowd.cycle(
                    along + 0.75 * i, across, turn, ridden=False, motor=bool(rng.random() < 0.15)
                )


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
