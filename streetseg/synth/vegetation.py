"""Trees and hedges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from streetseg.synth.canvas import Canvas, Tile
from streetseg.synth.light import Light
from streetseg.synth.mesh import Pose
from streetseg.synth.noise import Rgb, colored, noise_patch, noise_tile, tinted, to_bytes, vary

VEGETATION = 21


SHAPES = 5
"""How many crowns of each kind there are; trees differ by size, colour and leaves as well."""

CROWN_ROWS = 160
"""Height of the image of a crown, in pixels."""


@dataclass(frozen=True)
class Tree:
    """Size and colour of a tree; lengths in metres."""

    height: float
    spread: float
    """Radius of its crown."""
    conifer: bool
    leaves: Rgb
    bark: Rgb
    seed: int

    @property
    def clear(self) -> float:
        """Height of its trunk below the crown."""
        return self.height * (0.06 if self.conifer else 0.30)


def random_tree(seed: int, height: float, leaves: Rgb) -> Tree:
    """A broad-leaved tree or, now and then, a conifer, ``height`` metres tall."""
    rng = np.random.default_rng(seed)
    conifer = bool(rng.random() < 0.12)
    return Tree(
        height=height,
        spread=height * (rng.uniform(0.17, 0.22) if conifer else rng.uniform(0.26, 0.36)),
        conifer=conifer,
        leaves=vary(rng, leaves, 0.10),
        bark=vary(rng, (0.30, 0.25, 0.20), 0.15),
        seed=seed,
    )


def draw_tree(canvas: Canvas, pose: Pose, tree: Tree, light: Light, lit: float) -> None:
    """Draw a tree."""
    camera = canvas.camera
    base = camera.to_camera(np.array([pose.x, pose.y, pose.z]))
    if base[2] < 2.5:
        return
    scale = camera.focal / float(base[2])
    column, row = (float(value) for value in camera.to_pixels(base))
    reach = tree.spread * 1.2 * scale
    box = np.array([(column - reach, row - tree.height * 1.04 * scale), (column + reach, row)])
    tile = canvas.tile(box)
    if tile is None:
        return
    foot = (column, row)
    _draw_trunk(tile, tree, foot, scale, light, lit, 1.0 / float(base[2]))
    crown_depth = max(float(base[2]) - 0.8 * tree.spread, 1.5)
    _draw_crown(tile, tree, foot, scale, light, lit, 1.0 / crown_depth)
    canvas.merge(tile)


def _clumps(shape: int, conifer: bool) -> np.ndarray:
    """Balls of leaves as float[n, 4]: x and towards the camera as fractions of the spread, y of the
    height, and radius of the spread."""
    rng = np.random.default_rng([shape, conifer])
    count = 52
    fraction = rng.uniform(0, 1, (count, 1))
    if conifer:
        rise = fraction[:, 0]
        reach = (1 - rise) * 0.95 + 0.05
        x, towards = rng.uniform(-1, 1, count) * reach, rng.uniform(0, 1, count) * reach
        y = 0.06 + rise * 0.9
        radius = 0.12 + 0.25 * reach
    else:
        way = rng.normal(0, 1, (count, 3))
        way *= (0.35 + 0.65 * fraction) ** 0.6 / np.linalg.norm(way, axis=1, keepdims=True)
        radius = rng.uniform(0.20, 0.35, count)
        x = way[:, 0] * (1 - radius * 0.5)
        y = 0.65 + way[:, 1] * (0.35 - radius * 0.25)
        towards = np.abs(way[:, 2]) * (1 - radius * 0.5)
    clumps = np.stack([x, y, towards, radius], axis=1)
    return np.asarray(clumps[np.argsort(towards)])


@lru_cache(maxsize=64)
def _crown_image(
    shape: int, conifer: bool, sun: tuple[float, float, float], direct: float
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and cover (float32[CROWN_ROWS, n]) of a crown.

    The image reaches 1.2 spreads to both sides and from the foot to 1.04 of the height. ``sun``
    points to the sun and ``direct`` is the strength of its light.
    """
    clumps = _clumps(shape, conifer)
    spread = 0.20 if conifer else 0.31
    rows = CROWN_ROWS / 1.04
    tone = np.full((CROWN_ROWS, round(2.4 * spread * rows)), 0.4, np.float32)
    cover = np.zeros_like(tone)
    normals = (clumps[:, :3] - (0, clumps[:, 1].mean(), 0)) * (1, 2.4, 1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-6
    lit = direct * np.clip(normals @ (np.array(sun) * (1, 1, -1)), -0.35, 1)
    tones = 0.46 + 0.20 * normals[:, 1] + 0.10 * normals[:, 2] + 0.36 * lit
    lift = np.array([sun[0] * 0.9, -0.6])
    for (x, y, _, radius), bright in zip(clumps.tolist(), tones.tolist(), strict=True):
        size = radius * spread * rows
        at = np.array([(x + 1.2) * spread * rows, CROWN_ROWS - y * rows])
        for fraction, gain in ((1.0, 0.74), (0.76, 0.98), (0.44, 1.20)):
            x_at, y_at = (at + lift * size * (1 - fraction)).tolist()
            center = (round(x_at * 8), round(y_at * 8))
            cv2.circle(tone, center, round(size * fraction * 8), bright * gain, -1, shift=3)
        cv2.circle(cover, (round(at[0] * 8), round(at[1] * 8)), round(size * 8), 1.0, -1, shift=3)
    return cv2.GaussianBlur(tone, (0, 0), 1.6), cv2.GaussianBlur(cover, (0, 0), 1.6)


def _draw_trunk(
    tile: Tile,
    tree: Tree,
    foot: tuple[float, float],
    scale: float,
    light: Light,
    lit: float,
    inverse: float,
) -> None:
    rng = np.random.default_rng([tree.seed, 2])
    column, row = foot
    radius = max(0.10, tree.height * 0.018) * scale
    top = row - (tree.clear + 0.8) * scale
    sunny = 1.0 if light.sun[0] > 0 else -1.0
    for low, high, turn in ((-1.0, 1.0, -1.0), (-0.2, 1.0, 0.2), (0.4, 1.0, 1.0)):
        normal = np.array([turn * sunny, 0.2, -0.5])
        tint = light.tint(normal / np.linalg.norm(normal), lit)
        left, right = low * radius * sunny, high * radius * sunny
        outline = [
            (column + left, row),
            (column + left * 0.7, top),
            (column + right * 0.7, top),
            (column + right, row),
        ]
        color = to_bytes(np.asarray(tree.bark) * tint)
        tile.polygon(tile.corners(np.array(outline)), color, VEGETATION, inverse)
    shaded = to_bytes(np.asarray(tree.bark) * light.tint(np.array([0, 0, -1.0]), lit * 0.3))
    for _ in range(5):
        reach = rng.uniform(-0.7, 0.7) * tree.spread
        rise = rng.uniform(0.3, 0.7) * (tree.height - tree.clear)
        branch = np.array(
            [
                (column, row - tree.clear * 0.85 * scale),
                (column + reach * scale, row - (tree.clear + rise) * scale),
            ]
        )
        tile.line(branch, shaded, VEGETATION, inverse, thickness=radius * 0.7)


def _draw_crown(
    tile: Tile,
    tree: Tree,
    foot: tuple[float, float],
    scale: float,
    light: Light,
    lit: float,
    inverse: float,
) -> None:
    """Enlarge the image of a crown and break it up into leaves."""
    sun = (float(light.sun[0]), float(light.sun[1]), float(light.sun[2]))
    direct = round(float(light.casts_shadows) * lit, 1)
    tone, cover = _crown_image(tree.seed % SHAPES, tree.conifer, sun, direct)
    height, width = tile.ids.shape
    left, top = tile.left - foot[0], tile.top - foot[1]
    down = CROWN_ROWS / (1.04 * tree.height * scale)
    across = tone.shape[1] / (2.4 * tree.spread * scale)
    if tree.seed // SHAPES % 2 and not light.casts_shadows:
        across = -across
    to_image = np.array(
        [[across, 0, left * across + tone.shape[1] / 2], [0, down, top * down + CROWN_ROWS]]
    )
    tone, cover = (_sampled(part, to_image, (height, width)) for part in (tone, cover))
    step = 24.0 / scale
    to_noise = np.array(
        [[step, 0, left * step + tree.seed % 449], [0, step, top * step + tree.seed % 337]]
    )
    leaves = _sampled(noise_tile(0.75, 4), to_noise, (height, width), wrap=True)
    leafy = (cv2.scaleAdd(leaves, 0.17, cover) > 0.5).view(np.uint8)
    leaves *= 0.26
    leaves += 1
    leaves *= tone
    level = light.tint(np.array([0.0, 1.0, 0.0]), 0.5 * lit)
    steps = np.linspace(0, 2.0, 256)[:, None]
    warm = np.array([0.20, 0.18, 0.02]) * level.mean() * np.maximum(steps - 0.55, 0)
    ramp = steps * np.asarray(tree.leaves) * level * 2.05 + warm
    cv2.copyTo(colored(leaves, ramp, 2.0), leafy, tile.rgb)
    cv2.copyTo(np.full_like(leafy, VEGETATION), leafy, tile.ids)
    cv2.copyTo(np.full_like(tone, inverse), leafy, tile.inverse_depth)


def _sampled(
    image: np.ndarray, to_image: np.ndarray, shape: tuple[int, int], *, wrap: bool = False
) -> np.ndarray:
    """``image`` warped by an affine map (float[2, 3]) from output to image pixels."""
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (shape[1], shape[0])
    return np.asarray(cv2.warpAffine(image, to_image, size, flags=flags, borderMode=border))


def leaf_texture(
    color: Rgb, size: tuple[float, float], scale: float, seed: int, *, ragged: bool = True
) -> np.ndarray:
    """The texture of a clipped hedge from the side.

    Args:
        color: of the leaves.
        size: width and height, in metres.
        scale: pixels per metre.
        seed: of its leaves.
        ragged: leave holes along the upper edge.

    Returns:
        uint8[h, w, 4], the last channel opacity.
    """
    width, height = (max(4, round(side * scale)) for side in size)
    step = 26.0 / scale
    fine = noise_patch(0.55, (height, width), step, (seed % 449, seed % 337))
    coarse = noise_patch(1.0, (height, width), step * 0.5, (seed % 337, seed % 449))
    above = (np.arange(height, dtype=np.float32)[::-1] / max(height, 1))[:, None]
    gain = (0.62 + 0.45 * above) * (1 + 0.22 * fine + 0.14 * coarse)
    rgb = np.clip(gain[..., None] * np.asarray(color, np.float32) * 255 * 1.1, 0, 255)
    opacity = np.full((height, width, 1), 255, np.uint8)
    if ragged:
        edge = (1 - above) * size[1] < 0.10 * (1 + fine)
        opacity[edge] = 0
    return np.concatenate([rgb.astype(np.uint8), opacity], axis=2)


def draw_hedge(
    canvas: Canvas,
    near: np.ndarray,
    far: np.ndarray,
    height: float,
    color: Rgb,
    light: Light,
    seed: int,
) -> None:
    """Draw a hedge from the foot ``near`` to the foot ``far`` (float[3])."""
    along, up = far - near, np.array([0.0, height, 0.0])
    length = float(np.linalg.norm(along))
    inward = -np.sign(near[0]) or 1.0
    scale = float(np.clip(canvas.camera.focal / max(near[2], 4) * 0.5, 4, 40))
    side = leaf_texture(color, (length, height), scale, seed)
    front = tinted(side[..., :3], light.tint(np.array([inward, 0.0, 0.0])))
    front = np.concatenate([front, side[..., 3:]], axis=2)
    end = leaf_texture(color, (0.8, height), scale, seed + 1)
    rgb = tinted(end[..., :3], light.tint(np.array([0.0, 0.0, -1.0])))
    end = np.concatenate([rgb, end[..., 3:]], axis=2)
    canvas.plane(near + up, np.array([-inward * 0.8, 0, 0]), -up, end, VEGETATION)
    canvas.plane(near + up, along, -up, front, VEGETATION)
