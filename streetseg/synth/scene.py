"""One street scene from a seed: plan it, paint it, and add the effects of the camera."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from streetseg.synth import structures
from streetseg.synth.buildings import (
    Building,
    building_shade,
    draw_building,
    draw_side_street,
    draw_skyline,
    plan_buildings,
)
from streetseg.synth.camera import Camera
from streetseg.synth.canvas import Canvas
from streetseg.synth.ground import paint_ground
from streetseg.synth.lens import add_border, add_haze, draw_bonnet, expose
from streetseg.synth.light import Light, random_light
from streetseg.synth.markings import paint_markings, paint_shadows
from streetseg.synth.noise import vary
from streetseg.synth.population import plan_things
from streetseg.synth.sky import paint_sky
from streetseg.synth.street import Side, Street, plan_street
from streetseg.synth.styles import CityStyle, random_style
from streetseg.synth.things import Thing
from streetseg.synth.vegetation import draw_hedge

UNLABELED = 0
DETAIL = 1280
"""Columns at which the scene of a narrower image is painted before it is scaled down."""


def render_scene(
    seed: int, height: int, width: int, style: CityStyle | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a street from the position of a camera in a car.

    Args:
        seed: of the scene; the size only changes how finely the same scene is sampled.
        height: of the image, in pixels.
        width: of the image, in pixels.
        style: of the city; by default one drawn from ``seed``.

    Returns:
        The image uint8[height, width, 3], RGB, and its Cityscapes label ids
        uint8[height, width].
    """
    rng = np.random.default_rng(seed)
    own_style = random_style(rng)
    style = style or own_style
    finer = max(1.0, min(3.0, DETAIL / width))
    camera = Camera.above_street(
        round(height * finer),
        round(width * finer),
        focal=style.focal * rng.uniform(0.97, 1.03),
        height=style.camera_height,
        yaw=rng.normal(0, 0.035),
        pitch=rng.normal(0.0, 0.012),
        roll=rng.normal(0, 0.008),
    )
    canvas = Canvas(camera)
    light = random_light(rng, style.overcast, style.dusk)
    street = plan_street(rng, style)
    special = rng.random()
    along = rng.uniform(38, 80)
    if special < 0.06:
        street = replace(street, length=along - 2, bend=0.0, crossings=())
    _paint(canvas, rng, style, light, street)
    structure_seed = int(rng.integers(2**31))
    if special < 0.06:
        structures.draw_tunnel(canvas, street, along, light, structure_seed)
    elif special < 0.16:
        structures.draw_bridge(canvas, street, along, light, structure_seed)
    add_haze(canvas, light)
    if style.bonnet is not None:
        draw_bonnet(canvas, style.bonnet, light, style.camera_height * 7 % 1)
    if style.border:
        add_border(canvas, rng)
    rgb = np.asarray(cv2.resize(canvas.rgb, (width, height), interpolation=cv2.INTER_AREA))
    rows, columns = (
        ((np.arange(wanted) + 0.5) * (painted / wanted)).astype(np.int64)
        for wanted, painted in zip((height, width), canvas.ids.shape, strict=True)
    )
    return expose(rgb, rng), canvas.ids[np.ix_(rows, columns)]


def _paint(
    canvas: Canvas, rng: np.random.Generator, style: CityStyle, light: Light, street: Street
) -> None:
    """Plan and paint everything except bridges, tunnels and effects of the camera."""
    seeds = rng.integers(2**31, size=6)
    houses = plan_buildings(rng, style, street, light)
    things = plan_things(rng, style, street)
    paint_sky(canvas, light, int(seeds[0]))
    paint_ground(canvas, street, light, int(seeds[1]))
    paint_markings(canvas, street, rng)
    shade = building_shade(houses, street, light)
    shadows = list(shade)
    contacts = []
    for thing in things:
        if thing.pose.z < 90:
            shadows += thing.shade(light)
            contacts.append((thing.footprint(1.12), 190 if thing.half_width > 0.6 else 120))
    paint_shadows(canvas, light, shadows, contacts)

    for house in sorted(houses, key=lambda house: house.start):
        draw_building(canvas, house, street, light)
    for side, seed in zip(street.sides, seeds[3:5], strict=True):
        draw_side_street(canvas, side, street, light, int(seed), style)
        _draw_edge(canvas, side, street, light, int(seed), style)
    _draw_passage(canvas, houses, street, int(seeds[5]))
    draw_skyline(canvas, street, light, int(seeds[2]))
    for thing in sorted(things, key=lambda thing: thing.pose.z):
        if thing.pose.z > 1.5 and thing.visible(canvas):
            thing.draw(canvas, thing.pose, light, _sunlight(thing, shade, light))


def _sunlight(thing: Thing, shade: list[np.ndarray], light: Light) -> float:
    """The fraction of the sun that reaches a thing among the shadows of houses."""
    if not light.casts_shadows:
        return 1.0
    point = (thing.pose.x, thing.pose.z)
    hidden = any(
        cv2.pointPolygonTest(polygon.astype(np.float32), point, False) >= 0 for polygon in shade
    )
    return 0.12 if hidden else 1.0


def _draw_edge(
    canvas: Canvas, side: Side, street: Street, light: Light, seed: int, style: CityStyle
) -> None:
    """Draw the edge of the pavement in pieces, along the bend and with gaps at crossings."""
    if side.edge in ("building", "plaza"):
        return
    rng = np.random.default_rng(seed)
    kind = side.edge
    if kind == "garden":
        kind = str(rng.choice(["hedge", "fence", "wall"]))
    elif kind == "green":
        kind = str(rng.choice(["rail", "rail", "none"]))
    across = side.sign * (side.kerb + 0.25 if kind == "rail" else side.walk_end + 0.15)
    height = {"hedge": rng.uniform(0.9, 2.1), "fence": rng.uniform(0.9, 2.0)}.get(
        kind, rng.uniform(0.8, 2.6)
    )
    color = vary(rng, style.leaves, 0.12)
    piece_seed = int(rng.integers(2**31))
    along = 3.0
    while along < min(street.length, 120):
        end = along + (rng.uniform(9, 16) if kind != "rail" else 12.0)
        if not street.in_crossing((along + end) / 2, (end - along) / 2 + 2):
            (x0, z0), (x1, z1) = street.at(along, across), street.at(end, across)
            near, far = np.array([x0, 0.0, z0]), np.array([x1, 0.0, z1])
            if kind == "hedge":
                draw_hedge(canvas, near, far, height, color, light, piece_seed)
            elif kind == "fence":
                structures.draw_fence(canvas, near, far, height, light, piece_seed)
            elif kind == "wall":
                structures.draw_wall(canvas, near, far, height, light, piece_seed)
            elif kind == "rail":
                structures.draw_guard_rail(canvas, near, far, light, piece_seed)
        along = end + (rng.uniform(1.2, 3.0) if street.suburban else 0.0)


def _draw_passage(canvas: Canvas, houses: list[Building], street: Street, seed: int) -> None:
    """Draw a dark gateway, which is unlabeled, into one of the house fronts."""
    rng = np.random.default_rng(seed)
    wanted = rng.random() < 0.3
    near_houses = [h for h in houses if 12 < h.start < 45 and h.end - h.start > 9]
    if not wanted or not near_houses:
        return
    house = near_houses[int(rng.integers(len(near_houses)))]
    near, far = house.base(street)
    direction = (far - near) / np.linalg.norm(far - near)
    foot = near + direction * rng.uniform(2.0, 5.0)
    foot[0] -= house.sign * 0.06
    top = rng.uniform(3.2, 4.0)
    shade = np.linspace(30, 8, 16).astype(np.uint8)
    texture = np.repeat(np.repeat(shade[:, None, None], 8, 1), 3, 2)
    angles = np.linspace(np.pi, 0, 9)
    arch = np.stack([0.5 + 0.5 * np.cos(angles), 0.3 - 0.3 * np.sin(angles)], axis=1)
    outline = np.concatenate([arch, [[1.0, 1.0], [0.0, 1.0]]])
    up = np.array([0.0, top, 0.0])
    canvas.plane(foot + up, direction * 3.2, -up, texture, UNLABELED, outline=outline)
