"""Effects of air, car and camera: haze, bonnet, borders, blur, exposure and noise."""

from __future__ import annotations

import cv2
import numpy as np

from streetseg.synth.canvas import Canvas
from streetseg.synth.light import Light
from streetseg.synth.noise import Rgb, to_bytes

EGO_VEHICLE, RECTIFICATION_BORDER, OUT_OF_ROI = 1, 2, 3


def add_haze(canvas: Canvas, light: Light) -> None:
    """Fade distant things to the colour of the horizon; the sky stays as it is."""
    inverse = canvas.inverse_depth
    index = np.clip(inverse * 4000, 0, 255).astype(np.uint8)
    depth = 4000.0 / np.maximum(np.arange(256), 1)
    fraction = np.exp(-depth / light.visibility)
    fraction[0] = 1.0
    keep = cv2.LUT(index, (fraction * 255).astype(np.uint8))
    keep[inverse <= 0] = 255
    far = keep < 250
    rows = np.flatnonzero(far.any(1))
    if not len(rows):
        return
    span = slice(rows[0], rows[-1] + 1)
    haze = to_bytes(light.horizon * 0.94)
    rgb = canvas.rgb[span]
    for channel in range(3):
        kept = cv2.multiply(rgb[..., channel], keep[span], scale=1 / 255)
        gone = cv2.LUT(keep[span], ((255 - np.arange(256)) * haze[channel] / 255).astype(np.uint8))
        rgb[..., channel] = cv2.add(kept, gone)


def draw_bonnet(canvas: Canvas, color: Rgb, light: Light, shape: float) -> None:
    """Cover the bottom with the camera car's bonnet, which mirrors the street, and its star.

    ``shape``, 0..1, is how much of the bonnet shows.
    """
    rows, columns = canvas.ids.shape
    height = 0.075 + 0.06 * shape
    x = np.linspace(-1, 1, 65)
    edge = rows * (1 - height * (1 - 0.42 * np.abs(x) ** 2.6 - 0.35 * np.abs(x) ** 12))
    outline = np.stack([(x + 1) / 2 * columns, edge], axis=1)
    outline = np.concatenate([outline, [[columns, rows + 9], [0, rows + 9]]])
    mask = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    top = int(edge.min())
    strip = rows - top
    mirrored = canvas.rgb[max(top - 4 * strip, 0) : top][::-1]
    coarse = cv2.resize(mirrored, (64, 32), interpolation=cv2.INTER_AREA)
    mirror_image = cv2.resize(coarse, (columns, strip), interpolation=cv2.INTER_LINEAR)
    base = np.asarray(color) * light.tint(np.array([0.0, 1.0, 0.0]), 0.5) * 255
    fade = np.linspace(0.55, 0.14, strip, dtype=np.float32)[:, None, None]
    painted = base.astype(np.float32) * (1 - 0.5 * fade) + mirror_image * fade
    crease = np.abs(np.abs(np.linspace(-1, 1, columns)) - 0.55) < 0.004
    painted[:, crease] *= 1.18
    inside = mask[top:] > 0
    canvas.rgb[top:][inside] = np.clip(painted, 0, 255).astype(np.uint8)[inside]
    canvas.ids[top:][inside] = EGO_VEHICLE
    _star(canvas, (columns / 2, float(edge.min())), rows * 0.017, light)


def _star(canvas: Canvas, foot: tuple[float, float], radius: float, light: Light) -> None:
    tint = float(light.tint(np.array([0.0, 0.5, -0.86]), 0.6).mean())
    color = to_bytes(np.array([0.78, 0.79, 0.82]) * tint)
    center = np.array([foot[0], foot[1] - radius * 1.05])
    width = max(1, round(radius * 0.16))
    for array, value in ((canvas.rgb, color), (canvas.ids, EGO_VEHICLE)):
        at = (round(center[0]), round(center[1]))
        cv2.circle(array, at, round(radius), value, width)
        for angle in (-np.pi / 2, np.pi / 6, 5 * np.pi / 6):
            tip = center + radius * np.array([np.cos(angle), np.sin(angle)])
            cv2.line(array, at, (round(tip[0]), round(tip[1])), value, width)
        below = (round(foot[0]), round(foot[1] + radius * 0.4))
        cv2.line(array, (at[0], round(foot[1])), below, value, width + 1)


def add_border(canvas: Canvas, rng: np.random.Generator) -> None:
    """Blacken the edges, as after the rectification of a stereo pair."""
    rows, columns = canvas.ids.shape
    thin = max(1, round(rows * 0.006))
    wide = rows * rng.uniform(0.006, 0.022)
    lean = rows * rng.uniform(-0.012, 0.012)
    for left in (True, False):
        near, far = max(wide + lean, thin), max(wide - lean, thin)
        edge = np.array([[0, 0], [near, 0], [far, rows], [0, rows]])
        if not left:
            edge = np.array(
                [[columns, 0], [columns - far, 0], [columns - near, rows], [columns, rows]]
            )
        points = [np.round(edge).astype(np.int32)]
        cv2.fillPoly(canvas.ids, points, RECTIFICATION_BORDER)
        cv2.fillPoly(canvas.rgb, points, (5, 5, 6))
    for band in (np.s_[:thin], np.s_[-thin:]):
        canvas.ids[band] = OUT_OF_ROI
        canvas.rgb[band] = (10, 10, 11)


def expose(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a camera's blur, vignette, white balance, contrast and noise to uint8[H, W, 3]."""
    rows, columns = rgb.shape[:2]
    blur = rng.uniform(0.3, 0.75) * columns / 2048
    wanted = rng.uniform(100, 132)
    gain = 1 + rng.normal(0, 0.02, 3)
    contrast, lift = rng.uniform(0.98, 1.14), rng.uniform(0, 9)
    noise = rng.uniform(0.8, 2.6)
    dark = rng.uniform(0.04, 0.20)
    offset = rng.integers(0, 2**31)
    if blur > 0.25:
        rgb = cv2.GaussianBlur(rgb, (0, 0), blur)
    mean = max(float(rgb[::8, ::8].mean()), 20.0)
    level = np.clip(np.arange(256) / 255.0 * np.clip((wanted / mean) ** 0.7, 0.75, 1.7), 0, None)
    level = np.where(level > 0.75, 1 - 0.25 * np.exp(-(level - 0.75) / 0.25), level)
    curve = np.clip(0.5 + (level - 0.5) * contrast, 0, 1)
    table = np.stack([curve * (255 - lift) * g + lift for g in gain], axis=1)
    rgb = cv2.LUT(rgb, np.clip(table, 0, 255).astype(np.uint8).reshape(256, 1, 3))
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    vignette = 1 - np.float32(dark) * (x * x + y * y) ** 1.3
    grain = np.random.default_rng(offset).standard_normal((256, 1024, 1), np.float32)
    grain = np.concatenate([grain, np.roll(grain, 77, 1), np.roll(grain, 191, 0)], axis=2)
    grain = np.tile(grain, (rows // 256 + 1, columns // 1024 + 1, 1))[:rows, :columns]
    out = rgb * vignette[..., None]
    out += grain * np.float32(noise)
    return np.asarray(np.clip(out, 0, 255).astype(np.uint8))
