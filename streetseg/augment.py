"""Random changes of training frames.

Geometry is changed where frames are loaded (albumentations, uint8). Colours are only *drawn* there,
as a matrix for each frame; the pixels are multiplied on the device that trains.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np

from streetseg.labels import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

    from streetseg.config import Augment

GRAY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""
YIQ = np.array([GRAY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luma and the two axes of chroma (NTSC), in which a turn changes the hue alone."""


class RandomZoom(A.DualTransform):
    """Zoom at a random place: a part is enlarged, or the whole is shrunk into a border.

    The border is black, and ``IGNORE`` in the mask. Only the part that is seen is resized, which
    takes a third of the time of warping the frame.
    """

    def __init__(self, scale: tuple[float, float]) -> None:
        """Draw the zoom from ``scale`` (smallest, largest), as often above 1 as its range is."""
        super().__init__(p=0.0 if scale == (1, 1) else 1.0)
        self.scale = scale

    def get_params(self) -> dict[str, Any]:
        """A zoom, and a place as shares of the room there is."""
        return {
            "zoom": self.py_random.uniform(*self.scale),
            "place": (self.py_random.random(), self.py_random.random()),
        }

    def apply(
        self,
        img: np.ndarray,
        zoom: float,
        place: tuple[float, float],
        interpolation: int = cv2.INTER_LINEAR,
        fill: int = 0,
        **_: Any,
    ) -> np.ndarray:
        """The zoomed picture, of the same shape."""
        height, width = img.shape[:2]
        factor = 1 / zoom if zoom >= 1 else zoom
        part = max(1, round(height * factor)), max(1, round(width * factor))
        top, left = round(place[0] * (height - part[0])), round(place[1] * (width - part[1]))
        window = np.s_[top : top + part[0], left : left + part[1]]
        if zoom >= 1:
            return cv2.resize(img[window], (width, height), interpolation=interpolation)
        whole = np.full_like(img, fill)
        whole[window] = cv2.resize(img, part[::-1], interpolation=interpolation)
        return whole

    def apply_to_mask(self, mask: np.ndarray, **params: Any) -> np.ndarray:
        """The zoomed mask: ids are never mixed."""
        return self.apply(mask, **params, interpolation=cv2.INTER_NEAREST, fill=IGNORE)


def build_geometry(params: Augment) -> A.Compose:
    """The changes made where frames are loaded.

    It maps ``image`` uint8[H, W, 3] and ``mask`` uint8[H, W] to the same shapes.
    """
    return A.Compose(
        [
            A.HorizontalFlip(p=params.flip),
            RandomZoom(params.scale),
            A.GaussianBlur(sigma_limit=(0.3, 1.2), blur_limit=0, p=params.blur),
            A.GaussNoise(std_range=(0.01, 0.04), p=params.noise),
        ]
    )


def draw_color(params: Augment, random: np.random.Generator) -> np.ndarray:
    """A random change of colours: float32[3, 4], a matrix on RGB 0..255 and an offset.

    Brightness scales, contrast stretches about mid-grey, saturation mixes with the grey of the
    pixel (ITU-R BT.601), hue turns the chroma plane of YIQ.
    """
    brightness, contrast, saturation = (
        1 + random.uniform(-most, most)
        for most in (params.brightness, params.contrast, params.saturation)
    )
    angle = 2 * np.pi * random.uniform(-params.hue, params.hue)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    mixed = saturation * np.eye(3) + (1 - saturation) * np.tile(GRAY, (3, 1))
    matrix = contrast * brightness * np.linalg.inv(YIQ) @ turn @ YIQ @ mixed
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return np.hstack([matrix, offset]).astype(np.float32)


def recolor(images: Tensor, colors: Tensor) -> Tensor:
    """Change the colours of uint8[N, H, W, 3] as float32[N, 3, 4] says: float32 on 0..255."""
    pixels = images.flatten(1, 2).float()
    changed = pixels @ colors[:, :, :3].mT + colors[:, None, :, 3]
    return changed.clamp_(0, 255).view(images.shape)
