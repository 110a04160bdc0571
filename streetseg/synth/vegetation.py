"""Trees and hedges."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streetseg.synth.canvas import Canvas, Tile
from streetseg.synth.light import Light
from streetseg.synth.mesh import Pose
from streetseg.synth.noise import Rgb, noise_patch, noise_tile, tinted, to_bytes, vary

VEGETATION = 21


@dataclass(frozen=True)
class Tree:
    """Shape and colour of a tree; lengths in metres."""

    height: float
    spread: float
    """Radius of its crown."""
    clear: float
    """Height of its trunk below the crown."""
    conifer: bool
    leaves: Rgb
    bark: Rgb
    seed: int


def random_tree(seed: int, height: float, leaves: Rgb) -> Tree:
    """A broad-leaved tree or, now and then, a conifer, ``height`` metres tall."""
    rng = np.random.default_rng(seed)
    conifer = bool(rng.random() < 0.12)
    return Tree(
        height=height,
        spread=height * (rng.uniform(0.17, 0.22) if conifer else rng.uniform(0.26, 0.36)),
        clear=height * (0.06 if conifer else rng.uniform(0.24, 0.36)),
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
    reach = (tree.spread * 1.15 + 0.2) * scale
    box = np.array([(column - reach, row - (tree.height + 0.3) * scale), (column + reach, row)])
    tile = canvas.tile(box)
    if tile is None:
        return
    foot = (column, row)
    _draw_trunk(tile, tree, foot, scale, light, lit, 1.0 / float(base[2]))
    crown_depth = max(float(base[2]) - 0.8 * tree.spread, 1.5)
    _draw_crown(tile, tree, foot, scale, light, lit, 1.0 / crown_depth)
    canvas.merge(tile)


def _clumps(tree: Tree, count: int) -> np.ndarray:
    """Balls of leaves as float[count, 4]: x, y, towards the camera, and radius, in metres."""
    rng = np.random.default_rng([tree.seed, 1])
    share = rng.uniform(0, 1, (count, 1))
    if tree.conifer:
        rise = share[:, 0]
        reach = tree.spread * (1 - rise) * 0.95 + 0.1
        x, towards = rng.uniform(-1, 1, count) * reach, rng.uniform(0, 1, count) * reach
        y = tree.clear + rise * (tree.height - tree.clear) * 0.97
        radius = 0.12 * tree.spread + 0.25 * reach
    else:
        way = rng.normal(0, 1, (count, 3))
        way *= (0.35 + 0.65 * share) ** 0.6 / np.linalg.norm(way, axis=1, keepdims=True)
        radius = tree.spread * rng.uniform(0.18, 0.34, count)
        half = (tree.height - tree.clear) / 2
        x = way[:, 0] * (tree.spread - radius * 0.5)
        y = (tree.height + tree.clear) / 2 + way[:, 1] * (half - radius * 0.8)
        towards = np.abs(way[:, 2]) * (tree.spread - radius * 0.5)
    clumps = np.stack([x, y, towards, radius], axis=1)
    return np.asarray(clumps[np.argsort(towards)])


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
        outline = [(column + left, row), (column + left * 0.7, top),
                   (column + right * 0.7, top), (column + right, row)]  # fmt: skip
        color = to_bytes(np.asarray(tree.bark) * tint)
        tile.polygon(tile.corners(np.array(outline)), color, VEGETATION, inverse)
    shaded = to_bytes(np.asarray(tree.bark) * light.tint(np.array([0, 0, -1.0]), lit * 0.3))
    for _ in range(5):
        reach = rng.uniform(-0.7, 0.7) * tree.spread
        rise = rng.uniform(0.3, 0.7) * (tree.height - tree.clear)
        branch = np.array([(column, row - tree.clear * 0.85 * scale),
                           (column + reach * scale, row - (tree.clear + rise) * scale)])  # fmt: skip
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
    """Shade the clumps on a small picture, enlarge it, and break it up into leaves."""
    small = min(scale, 150 / tree.height)
    clumps = _clumps(tree, 70 if 1.0 / inverse < 45 else 28)
    wide = tree.spread * 1.15 + 0.2
    shape = (max(2, round((tree.height + 0.3) * small)), max(2, round(2 * wide * small)))
    tone, cover = np.full(shape, 0.4, np.float32), np.zeros(shape, np.float32)
    sun = light.sun * (1, 1, -1)
    normals = clumps[:, :3] - (0, clumps[:, 1].mean(), 0)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-6
    direct = float(light.casts_shadows) * lit * np.clip(normals @ sun, -0.35, 1)
    tones = 0.46 + 0.20 * normals[:, 1] + 0.10 * normals[:, 2] + 0.36 * direct
    lift = np.array([sun[0] * 0.9, -0.6])
    for (x, y, _, radius), bright in zip(clumps.tolist(), tones.tolist(), strict=True):
        size = max(radius * small, 0.7)
        at = np.array([(x + wide) * small, shape[0] - y * small])
        for share, gain in ((1.0, 0.74), (0.76, 0.98), (0.44, 1.20)):
            x_at, y_at = (at + lift * size * (1 - share)).tolist()
            center = (round(x_at * 8), round(y_at * 8))
            cv2.circle(tone, center, round(size * share * 8), bright * gain, -1, shift=3)
        cv2.circle(cover, (round(at[0] * 8), round(at[1] * 8)), round(size * 8), 1.0, -1, shift=3)
    soft = max(0.10 * small, 0.5)
    tone, cover = (cv2.GaussianBlur(part, (0, 0), soft) for part in (tone, cover))

    height, width = tile.ids.shape
    ratio = small / scale
    left, top = tile.left - foot[0], tile.top - foot[1]
    to_small = np.array(
        [[ratio, 0, left * ratio + wide * small], [0, ratio, top * ratio + shape[0]]]
    )
    tone, cover = (_sampled(part, to_small, (height, width)) for part in (tone, cover))
    leaves = sum(
        weight * _sampled(noise_tile(slope, 4), _tiling(per_metre, scale, left, top, tree.seed),
                          (height, width), wrap=True)
        for slope, per_metre, weight in ((0.9, 11.0, 0.62), (0.5, 30.0, 0.5))
    )  # fmt: skip
    leafy = cover + 0.17 * leaves > 0.5
    gain = tone * (1 + 0.24 * leaves)
    level = light.tint(np.array([0.0, 1.0, 0.0]), 0.5 * lit)
    hue = (np.asarray(tree.leaves) * level * 2.05).astype(np.float32)
    warm = np.array([0.20, 0.18, 0.02], np.float32) * np.float32(level.mean())
    rgb = gain[..., None] * hue + np.maximum(gain - 0.55, 0)[..., None] * warm
    mask = leafy.view(np.uint8)
    cv2.copyTo(np.clip(rgb * 255, 0, 255).astype(np.uint8), mask, tile.rgb)
    tile.ids[leafy] = VEGETATION
    tile.inverse_depth[leafy] = inverse


def _tiling(per_metre: float, scale: float, left: float, top: float, seed: int) -> np.ndarray:
    """The affine map from tile pixels to a noise tile that is fixed to the tree."""
    step = per_metre / scale
    return np.array([[step, 0, left * step + seed % 449], [0, step, top * step + seed % 337]])


def _sampled(
    picture: np.ndarray, to_picture: np.ndarray, shape: tuple[int, int], *, wrap: bool = False
) -> np.ndarray:
    """``picture`` seen through an affine map (float[2, 3]) from output to picture pixels."""
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (shape[1], shape[0])
    return np.asarray(cv2.warpAffine(picture, to_picture, size, flags=flags, borderMode=border))


def leaf_texture(
    color: Rgb, size: tuple[float, float], scale: float, seed: int, *, ragged: bool = True
) -> np.ndarray:
    """A clipped hedge seen from the side.

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
