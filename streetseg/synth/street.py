"""The plan of a street: its cross-section, bends and crossings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetseg.synth.noise import Rgb, vary
from streetseg.synth.styles import CityStyle

ROAD, SIDEWALK, PARKING, RAILS, GROUND, TERRAIN = 7, 8, 9, 10, 6, 22


@dataclass(frozen=True)
class Zone:
    """A strip along the street."""

    start: float
    """Distance of its left edge from the middle of the road, in metres, positive to the right."""
    label: int
    material: str
    """As in ``ground.MATERIALS``."""
    color: Rgb


@dataclass(frozen=True)
class Side:
    """Half of the street, from the edge of the road outwards. Distances from the middle, metres."""

    sign: int
    """-1 left, +1 right."""
    kerb: float
    """Where the carriageway ends, parking strip included."""
    parking: float
    """Width of the parking strip; 0 without one."""
    walk_start: float
    walk_end: float
    building: float
    """Distance of the building line."""
    edge: str
    """What bounds the pavement: building, garden, hedge, fence, wall, plaza or green."""


@dataclass(frozen=True)
class Street:
    """The plan of a street, on which its furniture and traffic are placed."""

    zones: tuple[Zone, ...]
    left: Side
    right: Side
    lanes: tuple[float, ...]
    """Middles of the lanes, from left to right; the camera drives in the last one."""
    lane_width: float
    own_lane: float
    bend: float
    """Curvature, 1 / metres, positive to the right."""
    crossings: tuple[tuple[float, float], ...]
    """Start and end of side streets, as distances along the street."""
    length: float
    """Where houses end, in metres."""
    suburban: bool
    rails: bool

    def middle(self, along: float | np.ndarray) -> float | np.ndarray:
        """World x of the middle of the road at distance(s) ``along`` the street."""
        return 0.5 * self.bend * along * along - self.own_lane

    def heading(self, along: float) -> float:
        """Direction of the street at a distance along it, in radians, 0 straight ahead."""
        return float(np.arctan(self.bend * along))

    def at(self, along: float, across: float) -> tuple[float, float]:
        """World x and z of a point ``across`` metres right of the middle."""
        return float(self.middle(along)) + across, along

    def in_crossing(self, along: float, margin: float = 0.0) -> bool:
        """Whether a side street joins within ``margin`` metres of a distance along the street."""
        return any(a - margin <= along <= b + margin for a, b in self.crossings)

    @property
    def sides(self) -> tuple[Side, Side]:
        """Left and right."""
        return self.left, self.right


def plan_street(rng: np.random.Generator, style: CityStyle) -> Street:
    """A random street of a city."""
    suburban = rng.random() < style.suburban
    lane_width = rng.uniform(2.9, 3.5)
    count = int(rng.choice([2, 3, 4], p=[0.62, 0.13, 0.25])) if not suburban else 2
    rails = not suburban and rng.random() < style.trams
    lanes = tuple((i - (count - 1) / 2) * lane_width for i in range(count))
    half = count * lane_width / 2
    left, right = (_plan_side(rng, sign, half, suburban) for sign in (-1, 1))
    crossings: tuple[tuple[float, float], ...] = ()
    if rng.random() < 0.55:
        start = rng.uniform(13, 55)
        crossings = ((start, start + rng.uniform(7, 13)),)
        if rng.random() < 0.5:
            start += rng.uniform(35, 60)
            crossings += ((start, start + rng.uniform(7, 12)),)
    return Street(
        zones=_zones(rng, style, left, right, half, rails),
        left=left,
        right=right,
        lanes=lanes,
        lane_width=lane_width,
        own_lane=lanes[-1] if rng.random() < 0.8 else lanes[max(len(lanes) - 2, 1)],
        bend=rng.normal(0, 1 / 500) if rng.random() < 0.6 else 0.0,
        crossings=crossings,
        length=rng.uniform(90, 190),
        suburban=suburban,
        rails=rails,
    )


def _plan_side(rng: np.random.Generator, sign: int, half: float, suburban: bool) -> Side:
    parking = rng.uniform(2.0, 2.4) if rng.random() < 0.6 else 0.0
    kerb = half + parking
    walk_start = kerb + (rng.uniform(1.2, 2.2) if rng.random() < 0.25 else 0.0)
    walk_end = walk_start + rng.uniform(2.0, 4.2)
    if suburban:
        edge = str(rng.choice(["garden", "hedge", "fence", "wall"]))
        building = walk_end + rng.uniform(3.0, 7.0)
    else:
        edge = str(
            rng.choice(
                ["building", "plaza", "green", "wall", "fence"], p=[0.7, 0.1, 0.09, 0.06, 0.05]
            )
        )
        setback = {"building": 0.0, "plaza": rng.uniform(5, 10)}.get(edge, rng.uniform(6, 12))
        building = walk_end + setback
    return Side(sign, kerb, parking, walk_start, walk_end, building, edge)


def _zones(
    rng: np.random.Generator,
    style: CityStyle,
    left: Side,
    right: Side,
    half: float,
    rails: bool,
) -> tuple[Zone, ...]:
    asphalt = vary(rng, style.asphalt, 0.06)
    road = "cobbles" if rng.random() < style.cobbles else "asphalt"
    grass = vary(rng, (0.36, 0.42, 0.20), 0.10)
    walk_material = str(rng.choice(["slabs", "pavers", "asphalt"], p=[0.45, 0.4, 0.15]))
    paving = vary(rng, style.paving, 0.06)
    bounds: list[tuple[float, int, str, Rgb]] = []
    for side in (left, right):
        beyond = (TERRAIN, "grass", grass)
        if side.edge == "building":
            beyond = (SIDEWALK, walk_material, paving)
        elif side.edge == "plaza":
            beyond = (GROUND, "slabs", vary(rng, (0.62, 0.56, 0.50), 0.08))
        strip = (PARKING, "pavers" if rng.random() < 0.6 else "asphalt", vary(rng, asphalt, 0.08))
        verge = (TERRAIN, "grass", vary(rng, grass, 0.05))
        walk = (SIDEWALK, walk_material, paving)
        bounds += [
            (side.sign * half, *strip),
            (side.sign * side.kerb, *verge),
            (side.sign * side.walk_start, *walk),
            (side.sign * side.walk_end, *beyond),
        ]
    lower, upper = bounds[:4], bounds[4:]
    zones = [Zone(-1e3, *lower[3][1:])]
    zones += [Zone(lower[i][0], *lower[i - 1][1:]) for i in (3, 2, 1)]
    zones += [Zone(lower[0][0], ROAD, road, asphalt)]
    if rails:
        bed = "grass" if rng.random() < 0.25 else "concrete"
        color = grass if bed == "grass" else vary(rng, asphalt, 0.1)
        zones += [Zone(-1.5, RAILS, bed, color), Zone(1.5, ROAD, road, asphalt)]
    zones += [Zone(*bound) for bound in upper]
    return tuple(zones)
