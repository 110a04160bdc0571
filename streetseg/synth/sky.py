"""The sky: a gradient with clouds."""

from __future__ import annotations

import cv2
import numpy as np

from streetseg.synth.canvas import Canvas
from streetseg.synth.light import Light
from streetseg.synth.noise import TILE, noise_tile

SKY = 23


def paint_sky(canvas: Canvas, light: Light, seed: int) -> None:
    """Fill the image with sky."""
    camera = canvas.camera
    step = max(1, camera.columns // 320)
    x, y, z = camera.rays(step=step)
    length = np.sqrt(x * x + y * y + z * z)
    up = np.clip(y / length, 0.0, 1.0)
    fraction = np.clip(up * 1.9, 0, 1)[..., None] ** np.float32(0.7)
    horizon, zenith = light.horizon.astype(np.float32), light.zenith.astype(np.float32)
    sky = horizon + (zenith - horizon) * fraction

    origin = np.random.default_rng(seed).uniform(0, TILE, 2).astype(np.float32)
    high = np.maximum(up, np.float32(0.03)) + np.float32(0.08)
    columns = x / length / high * 60 + origin[0]
    rows = z / length / high * 60 + origin[1]
    cloud = np.zeros_like(up)
    for slope, scale, weight in ((1.6, 1.0, 1.0), (1.1, 2.3, 0.35)):
        cloud += weight * cv2.remap(
            noise_tile(slope, 5),
            columns * np.float32(scale),
            rows * np.float32(scale),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
    cover = 1 / (1 + np.exp(-(cloud + 3.2 * light.clouds - 1.9) * 2.6))
    cover *= np.clip(up * 12, 0.15, 1)
    thickness = np.clip(cloud * 0.5 + 0.3, 0, 1)
    level = float(light.horizon.mean())
    white = np.array([1.04, 1.03, 1.02], np.float32) * min(level * 1.12, 1.0)
    grey = (light.horizon * 0.80).astype(np.float32)
    clouds = white + (grey - white) * (thickness * (0.35 + 0.45 * light.clouds))[..., None]
    sky = sky + (clouds - sky) * cover[..., None]

    glare = np.clip((x * light.sun[0] + y * light.sun[1] + z * light.sun[2]) / length, 0, 1)
    sky += (glare**40)[..., None] * (light.sun_rgb * 0.5).astype(np.float32)
    rgb = (np.clip(sky, 0, 1) * 255).astype(np.uint8)
    if step > 1:
        rgb = cv2.resize(rgb, (camera.columns, camera.rows), interpolation=cv2.INTER_LINEAR)
    canvas.rgb[:] = rgb
    canvas.ids[:] = SKY
