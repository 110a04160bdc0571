"""Random changes of training frames (albumentations)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2

from streetseg.labels import IGNORE

if TYPE_CHECKING:
    from streetseg.config import Augment


def build_augmentation(params: Augment) -> A.Compose:
    """The augmentation that the params describe.

    It maps ``image`` uint8[H, W, 3] and ``mask`` uint8[H, W] to the same shapes; where a smaller
    picture leaves a border, the mask is ``IGNORE``.
    """
    smallest, largest = params.scale
    return A.Compose(
        [
            A.HorizontalFlip(p=params.flip),
            A.Affine(
                scale=(smallest, largest),
                translate_percent=(-0.1, 0.1),
                keep_ratio=True,
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                fill_mask=IGNORE,
                p=1.0 if (smallest, largest) != (1, 1) else 0.0,
            ),
            A.ColorJitter(
                brightness=(1 - params.brightness, 1 + params.brightness),
                contrast=(1 - params.contrast, 1 + params.contrast),
                saturation=(1 - params.saturation, 1 + params.saturation),
                hue=(-params.hue, params.hue),
                p=0.8,
            ),
            A.GaussianBlur(sigma_limit=(0.3, 1.2), blur_limit=0, p=params.blur),
            A.GaussNoise(std_range=(0.01, 0.04), p=params.noise),
        ]
    )
