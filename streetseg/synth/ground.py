"""The ground: road, pavements, verges, their texture, markings and the shadows on them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from streetseg.synth.canvas import Canvas
from streetseg.synth.light import Light
from streetseg.synth.noise import TILE, noise_tile
from streetseg.synth.street import RAILS, ROAD, SIDEWALK, Street

MATERIALS = ("asphalt", "cobbles", "slabs", "pavers", "grass", "concrete")
PATCH = 3.2
"""Side of a material's texture, in metres."""
LEVELS = 6
"""Smoothed copies of each texture, each for a larger distance than the one before."""
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
    textures: list[np.ndarray] = []
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
        for level in range(LEVELS):
            side = TILE >> level
            small = cv2.resize(gain, (side, side), interpolation=cv2.INTER_AREA)
            textures.append(cv2.resize(small, (TILE, TILE), interpolation=cv2.INTER_LINEAR))
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
    np.minimum(column, TILE - 1, out=column)
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
        gain[(distance > -0.08) & (distance < 0.0)] *= 0.58
        gain[(distance >= 0.0) & (distance < 0.15)] *= 1.20
        gain[(distance >= 0.15) & (distance < 0.20)] *= 0.82
        gain[(distance > -0.38) & (distance < -0.08)] *= 0.92
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
    """Draw side streets and their pavements over the strips along the street, in place."""
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
