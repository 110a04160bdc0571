"""People on foot: their build, posture and clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetseg.synth.figures import Figure
from streetseg.synth.noise import Rgb, pick_color, shared_color, vary

PERSON, RIDER = 24, 25
SKIN: tuple[Rgb, ...] = (
    (0.86, 0.66, 0.55),
    (0.72, 0.52, 0.40),
    (0.50, 0.34, 0.25),
    (0.34, 0.23, 0.17),
)
HAIR: tuple[Rgb, ...] = (
    (0.12, 0.09, 0.08),
    (0.30, 0.20, 0.12),
    (0.62, 0.48, 0.28),
    (0.6, 0.6, 0.6),
)
TROUSERS: tuple[Rgb, ...] = (
    (0.13, 0.15, 0.22),
    (0.22, 0.27, 0.38),
    (0.10, 0.10, 0.11),
    (0.45, 0.42, 0.36),
    (0.32, 0.32, 0.33),
)

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Clothes:
    """What a person wears."""

    top: Rgb
    bottom: Rgb
    skin: Rgb
    hair: Rgb
    shoes: Rgb
    kind: str
    """trousers, shorts, skirt or coat."""


def random_clothes(rng: np.random.Generator) -> Clothes:
    """Clothes in any colour."""
    return Clothes(
        top=shared_color(rng),
        bottom=pick_color(rng, TROUSERS) if rng.random() < 0.7 else shared_color(rng),
        skin=pick_color(rng, SKIN),
        hair=pick_color(rng, HAIR),
        shoes=vary(rng, (0.12, 0.11, 0.10), 0.3),
        kind=str(rng.choice(["trousers", "shorts", "skirt", "coat"], p=[0.6, 0.1, 0.12, 0.18])),
    )


def walker(rng: np.random.Generator, *, standing: bool) -> Figure:
    """A person on foot, walking towards +z or ``standing``."""
    height = rng.normal(1.73, 0.09) if rng.random() < 0.88 else rng.uniform(1.05, 1.4)
    clothes = random_clothes(rng)
    stride = rng.uniform(-0.06, 0.06) if standing else rng.uniform(0.25, 0.45) * rng.choice([-1, 1])
    unit = height / 1.75
    build = rng.uniform(0.9, 1.2)
    figure = Figure()
    _legs(figure, clothes, unit, build, stride)
    _torso(figure, clothes, unit, build)
    for side in (-1, 1):
        _arm(figure, clothes, unit, build, side, -side * stride * 0.8, rng.uniform(0.05, 0.3))
    _head(figure, clothes, (0.0, 1.62 * unit, 0.03), unit, rng)
    _luggage(figure, rng, unit)
    return figure


def _legs(figure: Figure, clothes: Clothes, unit: float, build: float, stride: float) -> None:
    bare = clothes.kind in ("shorts", "skirt")
    for side in (-1, 1):
        swing = side * stride
        hip = (side * 0.09 * unit, 0.92 * unit, 0.0)
        knee = (side * 0.10 * unit, 0.49 * unit, swing * 0.55 * unit + 0.03)
        ankle = (side * 0.10 * unit, 0.09 * unit, (swing * 1.0 - 0.05 * abs(swing)) * unit)
        toe = (ankle[0] * 1.2, 0.045 * unit, ankle[2] + 0.15 * unit)
        thigh, calf = 0.085 * unit * build, 0.062 * unit * build
        figure.part([hip, knee], [thigh, calf], clothes.bottom, PERSON)
        shin = clothes.skin if bare else clothes.bottom
        figure.part([knee, ankle], [calf, 0.045 * unit], shin, PERSON)
        figure.part([ankle, toe], 0.045 * unit, clothes.shoes, PERSON)
    if clothes.kind in ("skirt", "coat"):
        low = 0.52 * unit
        color = clothes.bottom if clothes.kind == "skirt" else clothes.top
        figure.part(
            [
                (-0.10 * unit, 0.95 * unit, 0),
                (0.10 * unit, 0.95 * unit, 0),
                (-0.15 * unit, low, 0.05),
                (0.15 * unit, low, 0.05),
                (0, low, -0.05),
            ],
            0.07 * unit * build,
            color,
            PERSON,
            bias=0.02,
        )


def _torso(figure: Figure, clothes: Clothes, unit: float, build: float) -> None:
    figure.part(
        [
            (-0.15 * unit, 1.38 * unit, 0),
            (0.15 * unit, 1.38 * unit, 0),
            (-0.10 * unit, 0.98 * unit, 0),
            (0.10 * unit, 0.98 * unit, 0),
        ],
        [0.075 * build * unit, 0.075 * build * unit, 0.085 * build * unit, 0.085 * build * unit],
        clothes.top,
        PERSON,
        bias=0.03,
    )


def _arm(
    figure: Figure,
    clothes: Clothes,
    unit: float,
    build: float,
    side: int,
    swing: float,
    bend: float,
) -> None:
    shoulder = (side * 0.20 * unit, 1.38 * unit, 0.0)
    elbow = (side * 0.25 * unit, 1.10 * unit, swing * 0.4 * unit - 0.02)
    hand = (side * 0.24 * unit, 0.86 * unit, (swing * 0.8 + bend * 0.6) * unit)
    figure.part([shoulder, elbow], 0.052 * unit * build, clothes.top, PERSON)
    figure.part([elbow, hand], [0.045 * unit * build, 0.036 * unit], clothes.top, PERSON)
    figure.part([hand], 0.045 * unit, clothes.skin, PERSON)


def _head(
    figure: Figure, clothes: Clothes, at: Point, unit: float, rng: np.random.Generator
) -> None:
    x, y, z = at
    figure.part([(x, y - 0.16 * unit, z - 0.02)], 0.055 * unit, clothes.skin, PERSON)
    figure.part(
        [(x, y + 0.02, z + 0.01), (x, y - 0.05 * unit, z + 0.03)],
        [0.098 * unit, 0.075 * unit],
        clothes.skin,
        PERSON,
        bias=0.02,
    )
    long = rng.random() < 0.4
    back = [(x, y + 0.055 * unit, z - 0.035)]
    if long:
        back.append((x, y - 0.12 * unit, z - 0.07))
    hat = rng.random() < 0.15
    color = shared_color(rng) if hat else clothes.hair
    figure.part(back, 0.098 * unit, color, PERSON, bias=0.0)
    figure.part([(x, y + 0.075 * unit, z - 0.01)], 0.085 * unit, color, PERSON, bias=0.06)


def _luggage(figure: Figure, rng: np.random.Generator, unit: float) -> None:
    kind = rng.random()
    color = shared_color(rng)
    if kind < 0.22:
        figure.part(
            [
                (-0.09, 1.32 * unit, -0.17),
                (0.09, 1.32 * unit, -0.17),
                (-0.09, 1.08 * unit, -0.18),
                (0.09, 1.08 * unit, -0.18),
            ],
            0.075,
            color,
            PERSON,
        )
    elif kind < 0.42:
        side = 1 if rng.random() < 0.5 else -1
        figure.part(
            [
                (side * 0.28, 0.72 * unit, -0.08),
                (side * 0.28, 0.72 * unit, 0.08),
                (side * 0.28, 0.55 * unit, -0.1),
                (side * 0.28, 0.55 * unit, 0.1),
            ],
            0.05,
            color,
            PERSON,
        )


def seated(
    figure: Figure, rng: np.random.Generator, seat: Point, hands: Point, feet: Point, label: int
) -> None:
    """Add a rider who sits on ``seat``, holds ``hands`` and has ``feet``, all mirrored in x."""
    clothes = random_clothes(rng)
    lean = float(np.clip((hands[2] - seat[2]) * 0.45, 0.05, 0.35))
    shoulder_y, shoulder_z = seat[1] + 0.52, seat[2] + lean
    phase = rng.uniform(-0.13, 0.13)
    for side in (-1, 1):
        foot = (side * feet[0], feet[1] + side * phase, feet[2] + side * phase * 0.6)
        knee = (side * 0.13, (seat[1] + foot[1]) / 2 + 0.10, max(seat[2], foot[2]) + 0.22)
        hip = (side * 0.10, seat[1] + 0.04, seat[2])
        figure.part([hip, knee], [0.10, 0.07], clothes.bottom, label)
        figure.part([knee, foot], [0.065, 0.05], clothes.bottom, label)
        figure.part([foot, (foot[0], foot[1] - 0.03, foot[2] + 0.14)], 0.05, clothes.shoes, label)
        shoulder = (side * 0.19, shoulder_y, shoulder_z)
        elbow = (side * 0.27, (shoulder_y + hands[1]) / 2 - 0.04, (shoulder_z + hands[2]) / 2)
        hand = (side * hands[0], hands[1], hands[2])
        figure.part([shoulder, elbow], 0.058, clothes.top, label)
        figure.part([elbow, hand], [0.05, 0.042], clothes.top, label)
        figure.part([hand], 0.045, clothes.skin, label)
    figure.part(
        [
            (-0.15, shoulder_y, shoulder_z),
            (0.15, shoulder_y, shoulder_z),
            (-0.10, seat[1] + 0.10, seat[2]),
            (0.10, seat[1] + 0.10, seat[2]),
        ],
        0.095,
        clothes.top,
        label,
        bias=0.03,
    )
    head = (0.0, shoulder_y + 0.26, shoulder_z + 0.08)
    figure.part([(0.0, shoulder_y + 0.10, shoulder_z + 0.02)], 0.06, clothes.skin, label)
    figure.part(
        [head, (0, head[1] - 0.06, head[2] + 0.02)], [0.10, 0.08], clothes.skin, label, bias=0.02
    )
    helmet = shared_color(rng) if rng.random() < 0.6 else clothes.hair
    figure.part(
        [(0, head[1] + 0.05, head[2] - 0.02), (0, head[1] + 0.04, head[2] + 0.03)],
        0.105,
        helmet,
        label,
        bias=0.05,
    )
