"""The ground: road, pavements, verges, their texture, markings and the shadows on them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from streetseg.synth.canvas import SHIFT, Canvas, fixed_point
from streetseg.synth.light import Light
from streetseg.synth.noise import TILE, noise_tile
from streetseg.synth.street import PARKING, RAILS, ROAD, SIDEWALK, Street

MATERIALS = ("asphalt", "cobbles", "slabs", "pavers", "grass", "concrete")
PATCH = 3.2
"""Side of a material's texture, in metres."""
LEVELS = 6
"""Ever smoother copies of each texture, for ever larger distances."""
REACH = 60.0
"""The profile across the street covers this far to both sides, in metres."""
STEP = 0.02
"""Resolution of that profile, in metres."""


@lru_cache(maxsize=1)
def material_atlas() -> np.ndarray:
    """Brightness (128 is neutral) of all materials at all levels, one below the other.

    Returns:
        uint8[len(MATERIALS) * LEVELS * TILE, TILE], read-only.
    """
    textures = []
    grain, cloud = noise_tile(0.3), noise_tile(1.0, 1)
    for name in MATERIALS:
        if name == "asphalt":
            gain = 1 + 0.07 * grain + 0.03 * cloud
        elif name == "grass":
            gain = 1 + 0.17 * noise_tile(0.55, 2) + 0.10 * cloud
        elif name == "concrete":
            gain = 1 + 0.03 * grain + 0.05 * cloud
            gain[: TILE // 100] *= 0.7
        else:
            rows, columns, joint = {
                "cobbles": (26, 20, 6),
                "slabs": (8, 6, 3),
                "pavers": (32, 16, 4),
            }[name]
            gain = _laid_stones(rows, columns, joint) * (1 + 0.04 * grain + 0.02 * cloud)
        textures.extend(
            cv2.GaussianBlur(np.tile(gain, (2, 2)), (0, 0), 0.6 * 2**level)[
                TILE // 2 : TILE // 2 + TILE, TILE // 2 : TILE // 2 + TILE
            ]
            if level
            else gain
            for level in range(LEVELS)
        )
    atlas = np.clip(np.concatenate(textures) * 128, 0, 255).astype(np.uint8)
    atlas.setflags(write=False)
    return atlas


def _laid_stones(rows: int, columns: int, joint: int) -> np.ndarray:
    """Brightness of stones in rows, each row shifted by half a stone: float32[TILE, TILE]."""
    rng = np.random.default_rng(rows)
    gain = np.ones((TILE, TILE), np.float32)
    for row in range(rows):
        top, bottom = row * TILE // rows, (row + 1) * TILE // rows
        shift = (row % 2) * TILE // (2 * columns)
        line = np.ones((bottom - top, TILE), np.float32)
        for column in range(columns):
            left, right = column * TILE // columns, (column + 1) * TILE // columns
            line[:, left:right] *= 1 + rng.normal(0, 0.06)
            line[:, left : left + joint // 2 + 1] *= 0.74
        line[: joint // 2 + 1] *= 0.74
        gain[top:bottom] = np.roll(line, shift, axis=1)
    return gain


def paint_ground(canvas: Canvas, street: Street, light: Light, seed: int) -> None:
    """Paint everything at ground level except markings and shadows."""
    camera = canvas.camera
    first = camera.horizon_row()
    x, y, z = camera.rays(first)
    height = np.float32(camera.position[1])
    below = y < -1e-4
    depth = height / np.where(below, -y, np.float32(1e-4))
    along = np.where(below, z * depth, np.float32(1e4))
    np.minimum(along, np.float32(2000), out=along)
    along_bend = np.minimum(along, np.float32(250))
    across = x * depth - np.asarray(street.middle(along_bend), np.float32)

    zone, gain = _profile(street)
    index = np.clip((across + REACH) / STEP, 0, len(zone) - 1).astype(np.int32)
    zones = zone[index]
    brightness = gain[index]
    labels = np.array([z.label for z in street.zones], np.uint8)
    materials = np.array([MATERIALS.index(z.material) for z in street.zones], np.float32)
    colors = np.array([z.color for z in street.zones], np.float32)
    _open_crossings(street, along, across, zones, brightness)

    level = np.clip(np.log2(np.maximum(depth * depth / (height * camera.focal) * 160, 1)), 0, 5.4)
    row = along * np.float32(TILE / PATCH)
    row -= np.floor(row / TILE) * TILE
    row = np.minimum(row, TILE - 1) + (materials[zones] * LEVELS + np.floor(level)) * TILE
    column = across * np.float32(TILE / PATCH)
    column -= np.floor(column / TILE) * TILE
    texture = cv2.remap(material_atlas(), column, row.astype(np.float32), cv2.INTER_NEAREST).astype(
        np.float32
    )
    origin = np.random.default_rng(seed).uniform(0, TILE, 2).astype(np.float32)
    stains = cv2.remap(
        noise_tile(1.3, 3),
        across * np.float32(18) + origin[0],
        along * np.float32(7) + origin[1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    brightness *= texture * np.float32(1 / 128)
    brightness *= 1 + 0.055 * stains
    tint = light.tint(np.array([0.0, 1.0, 0.0])).astype(np.float32)
    rgb = (colors * tint * 255)[zones] * brightness[..., None]
    target = slice(first, None)
    cv2.copyTo(np.clip(rgb, 0, 255).astype(np.uint8), below.view(np.uint8), canvas.rgb[target])
    cv2.copyTo(labels[zones], below.view(np.uint8), canvas.ids[target])
    canvas.inverse_depth[target][below] = 0.95 / depth[below]


def _profile(street: Street) -> tuple[np.ndarray, np.ndarray]:
    """Zone (uint8[n]) and brightness (float32[n]) for each ``STEP`` across the street."""
    across = np.arange(-REACH, REACH, STEP)
    starts = np.array([zone.start for zone in street.zones])
    zone = (np.searchsorted(starts, across, side="right") - 1).astype(np.uint8)
    gain = np.ones(len(across), np.float32)
    for lane in street.lanes:
        for wheel in (-0.75, 0.75):
            gain -= 0.06 * np.exp(-(((across - lane - wheel) / 0.3) ** 2))
        gain += 0.02 * np.exp(-(((across - lane) / 0.25) ** 2))
    for side in street.sides:
        distance = (across - side.sign * side.kerb) * side.sign
        gain[(distance > -0.05) & (distance < 0.0)] *= 0.5
        gain[(distance >= 0.0) & (distance < 0.14)] *= 1.22
        gain[(distance >= 0.14) & (distance < 0.16)] *= 0.7
        gain[(distance > -0.35) & (distance < -0.05)] *= 0.92
        wall = (side.building * side.sign - across) * side.sign
        gain *= np.where(wall > 0, 1 - 0.25 * np.exp(-np.abs(wall) / 0.5), 1)
    if street.rails:
        for rail in (-0.72, 0.72):
            gain[np.abs(across - rail) < 0.09] *= 0.55
            gain[np.abs(across - rail) < 0.035] *= 2.6
    return zone, gain.astype(np.float32)


def _open_crossings(
    street: Street, along: np.ndarray, across: np.ndarray, zones: np.ndarray, gain: np.ndarray
) -> None:
    """Lay side streets and their pavements over the strips along the street, in place."""
    labels = [zone.label for zone in street.zones]
    road, walk = labels.index(ROAD), labels.index(SIDEWALK)
    rails = np.array([label == RAILS for label in labels])
    for start, end in street.crossings:
        inside = (along > start) & (along < end)
        keep = rails[zones]
        zones[inside & ~keep] = road
        gain[inside & ~keep] = 1.0
        for side in street.sides:
            outward = across * side.sign
            for edge, direction in ((start, -1), (end, 1)):
                away = (along - edge) * direction
                corner = (away >= 0) & (away < 2.6) & (outward > side.kerb)
                zones[corner] = walk
                gain[corner & (away < 0.14)] = 1.22
                gain[(away < 0) & (away > -0.06) & (outward > side.kerb)] = 0.55


class Flat:
    """Draws shapes that lie on the ground into a mask of the whole picture."""

    def __init__(self, canvas: Canvas) -> None:
        """Start with an empty mask."""
        self.canvas = canvas
        self.mask = np.zeros(canvas.ids.shape, np.uint8)

    def fill(self, points: np.ndarray, value: int = 255) -> None:
        """Fill a polygon whose corners are world x and z, float[n, 2]."""
        world = np.stack([points[:, 0], np.zeros(len(points)), points[:, 1]], axis=1)
        pixels = self.canvas.camera.outline(world)
        if len(pixels) >= 3:
            cv2.fillPoly(self.mask, [fixed_point(pixels)], value, shift=SHIFT)


def paint_markings(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint lane lines, edge lines, zebra crossings, stop lines and arrows."""
    flat = Flat(canvas)
    yellow = rng.random() < 0.06
    solid_middle = rng.random() < 0.35 or street.rails
    dash, gap = rng.choice([(3.0, 6.0), (4.0, 4.0), (6.0, 6.0)])
    half = len(street.lanes) * street.lane_width / 2
    stops = [0.0, *(edge for pair in street.crossings for edge in pair), street.length]
    for begin, end in zip(stops[::2], stops[1::2], strict=True):
        for border in range(1, len(street.lanes)):
            across = -half + border * street.lane_width
            middle = abs(across) < 0.1
            if street.rails and abs(across) < 1.5:
                continue
            if middle and solid_middle:
                _line(flat, street, across, begin + 3, end - 3, 0.13)
                continue
            along = begin + 1.5
            while along < min(end - 3, 110):
                _line(flat, street, across, along, min(along + dash, end - 2), 0.13)
                along += dash + gap
        for side in street.sides:
            if side.parking and rng.random() < 0.6:
                _line(flat, street, side.sign * half, begin, end, 0.12)
                along = begin + 2.0
                while along < min(end - 2, 70):
                    across = np.sort([side.sign * half, side.sign * side.kerb])
                    _bar(flat, street, across[0], across[1], along, along + 0.12)
                    along += 5.5
    for start, end in street.crossings:
        zebra = rng.random() < 0.7
        for edge, direction in ((start, -1), (end, 1)):
            if zebra:
                near, far = sorted((edge + direction * 0.8, edge + direction * 3.8))
                for left in np.arange(-half + 0.3, half - 0.5, 1.0):
                    _bar(flat, street, left, left + 0.5, near, far)
        if rng.random() < 0.8:
            _bar(flat, street, 0.1, half - 0.2, start - 5.2, start - 4.8)
    if rng.random() < 0.5:
        _arrow(flat, street, street.own_lane, rng.uniform(8, 20))
    _blend(canvas, flat.mask, (232, 200, 90) if yellow else (232, 232, 228), rng)


def _line(
    flat: Flat, street: Street, across: float, start: float, end: float, width: float
) -> None:
    if end <= start:
        return
    along = np.linspace(start, end, max(2, int((end - start) / 4) + 2))
    middle = np.asarray(street.middle(along)) + across
    left = np.stack([middle - width / 2, along], axis=1)
    right = np.stack([middle + width / 2, along], axis=1)
    flat.fill(np.concatenate([left, right[::-1]]))


def _bar(flat: Flat, street: Street, left: float, right: float, start: float, end: float) -> None:
    corners = ((start, left), (start, right), (end, right), (end, left))
    flat.fill(np.array([street.at(along, across) for along, across in corners]))


def _arrow(flat: Flat, street: Street, lane: float, along: float) -> None:
    _bar(flat, street, lane - 0.08, lane + 0.08, along, along + 3.0)
    head = ((along + 2.6, lane - 0.4), (along + 4.6, lane), (along + 2.6, lane + 0.4))
    flat.fill(np.array([street.at(a, b) for a, b in head]))


def _blend(
    canvas: Canvas, mask: np.ndarray, paint: tuple[int, int, int], rng: np.random.Generator
) -> None:
    """Mix worn paint into the ground; brightness follows that of the ground below."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return
    span = slice(rows[0], rows[-1] + 1)
    painted = (mask[span] > 0) & np.isin(canvas.ids[span], (ROAD, PARKING, RAILS))
    ground = canvas.rgb[span][painted].astype(np.float32)
    wear = rng.uniform(0.55, 0.95)
    level = ground.mean(1, keepdims=True) / max(float(ground.mean()), 1.0) if len(ground) else 1
    bright = min(1.0, float(ground.mean()) / 80) if len(ground) else 1
    target = np.array(paint, np.float32) * (0.25 + 0.75 * level) * bright
    canvas.rgb[span][painted] = np.clip(ground + (target - ground) * wear, 0, 255)


def paint_shadows(canvas: Canvas, light: Light, sunless: list[np.ndarray], dents: list) -> None:
    """Darken the ground in the shade.

    Args:
        canvas: with only the ground painted.
        light: of the scene.
        sunless: polygons (world x and z, float[n, 2]) that the sun does not reach.
        dents: polygons close below things, with the opacity (0..255) of their contact shadow.
    """
    up = np.array([0.0, 1.0, 0.0])
    shade = light.tint(up, 0.0) / light.tint(up, 1.0)
    if light.casts_shadows:
        flat = Flat(canvas)
        for polygon in sunless:
            flat.fill(polygon)
        _darken(canvas, flat.mask, shade, 1.5)
    flat = Flat(canvas)
    for polygon, opacity in dents:
        flat.fill(polygon, opacity)
    _darken(canvas, flat.mask, np.array([0.35, 0.35, 0.37]), 5.0)


def _darken(canvas: Canvas, mask: np.ndarray, factor: np.ndarray, blur: float) -> None:
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return
    span = slice(max(rows[0] - 8, 0), rows[-1] + 9)
    sigma = blur * canvas.camera.columns / 2048
    soft = cv2.GaussianBlur(mask[span], (0, 0), max(sigma, 0.6)).astype(np.float32) / 255
    rgb = canvas.rgb[span]
    for channel in range(3):
        gain = 1 - soft * np.float32(1 - factor[channel])
        rgb[..., channel] = (rgb[..., channel] * gain).astype(np.uint8)
