"""The style of a city: what is typical of its streets, houses and weather."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from streetseg.synth.light import DUSK
from streetseg.synth.noise import SHARED_COLORS, Rgb, vary


@dataclass(frozen=True)
class CityStyle:
    """What the scenes of one city have in common."""

    facades: tuple[Rgb, ...]
    walls: tuple[str, ...]
    """Kinds of facade, as in ``textures.WALLS``; repeated kinds are likelier."""
    floors: float
    """Typical number of floors."""
    suburban: float
    """Fraction of streets with detached houses and front gardens."""
    trees: float
    """Trees for each 10 m of kerb."""
    leaves: Rgb
    """Typical colour of leaves."""
    trams: float
    """Fraction of streets with rails."""
    overcast: float
    """Fraction of grey days."""
    dusk: float
    """Fraction of scenes after sunset."""
    asphalt: Rgb
    paving: Rgb
    cobbles: float
    """Fraction of streets with cobbles."""
    camera_height: float
    focal: float
    bonnet: Rgb | None
    """Colour of the camera car's bonnet; None when the camera does not see it."""
    border: bool
    """Whether the image has the dark edge of a rectified stereo pair."""


LEAVES: tuple[Rgb, ...] = (
    (0.25, 0.37, 0.15),
    (0.32, 0.42, 0.17),
    (0.20, 0.31, 0.17),
    (0.50, 0.45, 0.17),
    (0.52, 0.33, 0.14),
)
WALL_KINDS = ("plaster", "plaster", "brick", "stone", "panels", "glass")


def random_style(rng: np.random.Generator) -> CityStyle:
    """The style of an invented city."""
    chosen = rng.permutation(len(SHARED_COLORS))[:7]
    grey = rng.uniform(0.30, 0.46)
    kinds = rng.choice(len(WALL_KINDS), 4)
    return CityStyle(
        facades=tuple(SHARED_COLORS[i] for i in chosen),
        walls=tuple(WALL_KINDS[i] for i in kinds),
        floors=rng.uniform(2.5, 5.0),
        suburban=rng.uniform(0.05, 0.4),
        trees=rng.uniform(0.25, 0.8),
        leaves=vary(rng, LEAVES[rng.choice(len(LEAVES), p=[0.32, 0.3, 0.2, 0.1, 0.08])], 0.08),
        trams=rng.uniform(0.05, 0.3),
        overcast=rng.uniform(0.15, 0.45),
        dusk=DUSK,
        asphalt=vary(rng, (grey, grey, grey * 1.02), 0.03),
        paving=vary(
            rng, ((0.55, 0.54, 0.52), (0.60, 0.55, 0.48), (0.5, 0.5, 0.52))[rng.integers(3)]
        ),
        cobbles=rng.uniform(0.05, 0.3),
        camera_height=rng.uniform(1.2, 1.55),
        focal=rng.uniform(0.92, 1.08),
        bonnet=vary(
            rng, ((0.10, 0.10, 0.12), (0.45, 0.46, 0.48), (0.14, 0.18, 0.28))[rng.integers(3)]
        )
        if rng.random() < 0.8
        else None,
        border=bool(rng.random() < 0.75),
    )


Region = Literal["temperate", "desert"]

SAND: tuple[Rgb, ...] = (
    (0.83, 0.70, 0.50),
    (0.76, 0.60, 0.40),
    (0.88, 0.80, 0.64),
    (0.70, 0.52, 0.36),
)


def desert_style(rng: np.random.Generator) -> CityStyle:
    """The style of an invented city of another region: low houses and roads of the colour of sand,
    palms' dull green, and mostly dusk."""
    sand = SAND[rng.integers(len(SAND))]
    return replace(
        random_style(rng),
        facades=SAND,
        walls=("plaster", "plaster", "stone"),
        floors=rng.uniform(1.5, 2.5),
        trees=rng.uniform(0.1, 0.3),
        leaves=vary(rng, (0.42, 0.44, 0.26), 0.05),
        trams=0.0,
        overcast=0.05,
        dusk=0.6,
        asphalt=vary(rng, (0.62, 0.54, 0.43), 0.03),
        paving=vary(rng, sand, 0.05),
        cobbles=0.5,
        camera_height=rng.uniform(1.9, 2.2),
        focal=rng.uniform(0.75, 0.85),
        bonnet=None,
        border=False,
    )


STYLES = {"temperate": random_style, "desert": desert_style}
"""By region, how the style of a city is drawn."""
