"""Rows of houses along the street, and the skyline at its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetseg.synth.canvas import Canvas
from streetseg.synth.facades import Facade, facade_texture, random_facade, wall_texture
from streetseg.synth.light import Light
from streetseg.synth.mesh import Mesh, Pose, draw_mesh
from streetseg.synth.noise import Rgb, pick_color, tinted, vary
from streetseg.synth.street import Side, Street
from streetseg.synth.styles import CityStyle

BUILDING = 11
ROOFS: tuple[Rgb, ...] = (
    (0.48, 0.24, 0.17),
    (0.55, 0.32, 0.22),
    (0.28, 0.28, 0.31),
    (0.36, 0.30, 0.27),
    (0.40, 0.45, 0.44),
)


@dataclass(frozen=True)
class Building:
    """A house whose front follows the street."""

    sign: int
    start: float
    end: float
    """Where its front begins and ends along the street, in metres."""
    across: float
    """Distance of its front from the middle of the road, signed, in metres."""
    height: float
    depth: float
    roof: float
    """Height of its pitched roof, in metres; 0 for a flat one."""
    roof_color: Rgb
    facade: Facade
    balconies: Rgb
    seed: int

    def base(self, street: Street) -> tuple[np.ndarray, np.ndarray]:
        """World points of the near and the far end of the foot of its front."""
        near, far = (street.at(along, self.across) for along in (self.start, self.end))
        return np.array([near[0], 0, near[1]]), np.array([far[0], 0, far[1]])


def plan_buildings(
    rng: np.random.Generator, style: CityStyle, street: Street, light: Light
) -> list[Building]:
    """Houses on both sides, with gaps at crossings and between detached houses."""
    houses = []
    lit = 0.45 if light.dark else 0.03
    for side in street.sides:
        along = rng.uniform(-6, 0)
        floors = max(1.0, rng.normal(1.9 if street.suburban else style.floors, 0.6))
        wall = style.walls[rng.integers(len(style.walls))]
        shop_street = not street.suburban and rng.random() < 0.55
        while along < street.length:
            length = rng.uniform(7, 13) if street.suburban else rng.uniform(9, 24)
            blocked = next(
                ((a, b) for a, b in street.crossings if along < b + 3 and along + length > a - 3),
                None,
            )
            if blocked is not None:
                if blocked[0] - 3 - along > 5:
                    length = blocked[0] - 3 - along
                else:
                    along = blocked[1] + 3
                    continue
            if rng.random() < 0.35:
                wall = style.walls[rng.integers(len(style.walls))]
            facade = random_facade(
                rng, wall, style.facades, shops=shop_street and rng.random() < 0.75, lit=lit
            )
            storeys = int(np.clip(round(floors + rng.normal(0, 0.8)), 1, 8))
            pitched = rng.random() < (0.9 if street.suburban else 0.55)
            houses.append(
                Building(
                    sign=side.sign,
                    start=along,
                    end=along + length,
                    across=side.sign * side.building,
                    height=storeys * facade.floor_height + rng.uniform(0.4, 1.2),
                    depth=rng.uniform(8, 13),
                    roof=rng.uniform(2.0, 4.5) if pitched else 0.0,
                    roof_color=pick_color(rng, ROOFS),
                    facade=facade,
                    balconies=vary(rng, (0.5, 0.5, 0.5), 0.3),
                    seed=int(rng.integers(2**31)),
                )
            )
            along += length
            if street.suburban or rng.random() < 0.07:
                along += rng.uniform(2.5, 9)
    return houses


def building_shade(houses: list[Building], street: Street, light: Light) -> list[np.ndarray]:
    """Polygons (world x and z) in the shadow of the houses."""
    polygons = []
    shift = light.shadow_offset
    for house in houses:
        near, far = (point[[0, 2]] for point in house.base(street))
        reach = shift * (house.height + 0.5 * house.roof)
        polygons.append(np.array([near, far, far + reach, near + reach]))
        back = np.array([house.sign * house.depth, 0.0])
        polygons.append(np.array([near, near + back, near + back + reach, near + reach]))
    return polygons


def draw_building(canvas: Canvas, house: Building, street: Street, light: Light) -> None:
    """Draw front, side, roof, balconies and chimney of one house."""
    near, far = house.base(street)
    outward = np.array([float(house.sign), 0.0, 0.0])
    reach = np.stack([near, far, far + outward * house.depth, near - outward])
    low, high = reach.min(0), reach.max(0)
    high[1] = house.height + house.roof + 1.5
    if not canvas.sees(low, high):
        return
    along = far - near
    length = float(np.linalg.norm(along))
    normal = np.array([-house.sign * along[2], 0.0, house.sign * along[0]]) / length
    camera = canvas.camera
    distance = max(4.0, house.start)
    scale = float(np.clip(camera.focal / distance * 0.5, 3.0, 44.0))
    up = np.array([0.0, house.height, 0.0])
    rng = np.random.default_rng(house.seed)

    front = facade_texture(house.facade, (length, house.height), scale, house.seed, light.horizon)
    front = tinted(front, light.tint(normal))
    _cast_on_front(front, house, street, light, normal, scale)
    canvas.plane(near + up, along, -up, front, BUILDING)

    side_scale = min(scale, 24.0)
    for foot, facing in ((near, -1.0), (far, 1.0)):
        end_normal = np.array([0.0, 0.0, facing])
        if (camera.position - foot) @ end_normal <= 0:
            continue
        size = (house.depth, house.height)
        if rng.random() < 0.5:
            end = wall_texture(house.facade.wall, house.facade.color, size, side_scale, house.seed)
        else:
            end = facade_texture(house.facade, size, side_scale, house.seed + 1, light.horizon)
        end = tinted(end, light.tint(end_normal))
        canvas.plane(foot + up, outward * house.depth, -up, end, BUILDING)
    if house.roof:
        _pitched_roof(canvas, house, near, far, light)
    else:
        _flat_roof(canvas, house, near, far, light, rng)
    if house.facade.balconies and house.height > 6:
        _balconies(canvas, house, near, along, light)


def _cast_on_front(
    front: np.ndarray,
    house: Building,
    street: Street,
    light: Light,
    normal: np.ndarray,
    scale: float,
) -> None:
    """Darken the foot of a front in the shadow of the houses across the street, in place."""
    facing = float(normal @ light.sun)
    if not light.casts_shadows or facing <= 0.02:
        return
    width = street.left.building + street.right.building
    shaded = 10.0 - width * light.sun[1] / abs(light.sun[0] + 1e-9)
    rows = round(shaded * scale)
    if rows > 0:
        ratio = light.tint(normal, 0.0) / light.tint(normal, 1.0)
        part = front[-rows:]
        part[:] = tinted(part, ratio)


def _pitched_roof(
    canvas: Canvas, house: Building, near: np.ndarray, far: np.ndarray, light: Light
) -> None:
    outward = np.array([float(house.sign), 0.0, 0.0])
    half = house.depth / 2
    eaves = np.array([-0.35 * house.sign, house.height - 0.1, 0.0])
    ridge = np.array([0.0, house.height + house.roof, 0.0]) + outward * half
    along = far - near
    slope = eaves - ridge
    normal = np.array([-house.sign * house.roof, half, 0.0])
    normal /= np.linalg.norm(normal)
    size = (float(np.linalg.norm(along)), float(np.linalg.norm(slope)))
    scale = float(np.clip(canvas.camera.focal / max(house.start, 5) * 0.4, 3, 24))
    tiles = tinted(
        wall_texture("tiles", house.roof_color, size, scale, house.seed), light.tint(normal)
    )
    canvas.plane(near + ridge, along, slope, tiles, BUILDING)
    gable = Mesh()
    for z, order in ((near[2], 1), (far[2], -1)):
        x = near[0] if order == 1 else far[0]
        corners = np.array(
            [
                (x, house.height, z),
                (x + house.sign * half, house.height + house.roof, z),
                (x + house.sign * house.depth, house.height, z),
            ]
        )
        gable.face(corners[:: order * house.sign], house.facade.color, BUILDING)
    chimney = near + along * 0.3 + outward * half * 0.9
    top = house.height + house.roof + 0.9
    low = (chimney[0] - 0.4, house.height + house.roof * 0.5, chimney[2] - 0.5)
    gable.box(low, (chimney[0] + 0.4, top, chimney[2] + 0.5), (0.42, 0.26, 0.21), BUILDING)
    draw_mesh(canvas, gable, Pose(0, 0), light, 1.0)


def _flat_roof(
    canvas: Canvas,
    house: Building,
    near: np.ndarray,
    far: np.ndarray,
    light: Light,
    rng: np.random.Generator,
) -> None:
    boxes = Mesh()
    along = far - near
    for _ in range(int(rng.integers(0, 3))):
        fraction, wide, rise = rng.uniform(0.15, 0.85), rng.uniform(0.8, 2.0), rng.uniform(0.8, 2.4)
        x, _, z = near + along * fraction
        low = (x + house.sign * 1.0 - 0.5, house.height - 0.2, z - wide)
        high = (x + house.sign * 3.0 + 0.5, house.height + rise, z + wide)
        boxes.box(low, high, vary(rng, (0.5, 0.5, 0.5), 0.2), BUILDING)
    if boxes.corners:
        draw_mesh(canvas, boxes, Pose(0, 0), light, 1.0)


def _balconies(
    canvas: Canvas, house: Building, near: np.ndarray, along: np.ndarray, light: Light
) -> None:
    """Slabs with a parapet in every other bay of the upper floors."""
    length = float(np.linalg.norm(along))
    bays = max(1, int((length - 0.6) / house.facade.bay))
    margin = (length - bays * house.facade.bay) / 2
    floors = int((house.height - 0.4) / house.facade.floor_height)
    mesh = Mesh()
    for floor in range(1, floors):
        for bay in range(house.seed % 2, bays, 2):
            fraction = (margin + (bay + 0.5) * house.facade.bay) / length
            x, _, z = near + along * fraction
            bottom = floor * house.facade.floor_height + 0.1
            left, right = sorted((x, x - house.sign * 1.0))
            half = house.facade.bay * 0.42
            mesh.box(
                (left, bottom, z - half),
                (right, bottom + 0.18, z + half),
                house.facade.trim,
                BUILDING,
            )
            mesh.box(
                (left, bottom + 0.18, z - half),
                (right, bottom + 1.05, z + half),
                house.balconies,
                BUILDING,
            )
    if mesh.corners:
        draw_mesh(canvas, mesh, Pose(0, 0), light, 0.8)


def draw_side_street(
    canvas: Canvas, side: Side, street: Street, light: Light, seed: int, style: CityStyle
) -> None:
    """Close the view into each side street with fronts that face it."""
    rng = np.random.default_rng(seed)
    for start, end in street.crossings:
        facade = random_facade(
            rng, style.walls[rng.integers(len(style.walls))], style.facades, shops=False, lit=0.05
        )
        height = facade.floor_height * int(rng.integers(2, 6)) + 0.6
        size, up = (46.0, height), np.array([0.0, height, 0.0])
        for depth, along in ((12.0, end + 3.0), (44.0, (start + end) / 2)):
            x, z = street.at(along, side.sign * (side.building + depth))
            scale = float(np.clip(canvas.camera.focal / max(along, 8.0) * 0.4, 3, 24))
            texture = facade_texture(facade, size, scale, seed, light.horizon)
            if depth < 40:
                origin, direction = np.array([x, height, z]), np.array([46.0 * side.sign, 0, 0])
                normal = np.array([0.0, 0.0, -1.0])
            else:
                origin, direction = np.array([x, height, z + 23]), np.array([0, 0, -46.0])
                normal = np.array([-side.sign, 0.0, 0.0])
            canvas.plane(origin, direction, -up, tinted(texture, light.tint(normal)), BUILDING)


def draw_skyline(canvas: Canvas, street: Street, light: Light, seed: int) -> None:
    """Far houses behind the end of the street."""
    rng = np.random.default_rng(seed)
    mesh = Mesh()
    for _ in range(40):
        x, z = rng.uniform(-260, 260), street.length + rng.uniform(90, 320)
        width, height = rng.uniform(10, 30), rng.uniform(6, 22)
        color = vary(rng, (0.5, 0.48, 0.46), 0.2)
        mesh.box((x - width / 2, 0, z), (x + width / 2, height, z + 12), color, BUILDING)
    draw_mesh(canvas, mesh, Pose(0, 0), light, 0.8)
