"""A batch of training frames on its way from the loader to the device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Frames, and the changes that ``augmentation.augment_on_device`` will make to them."""

    images: Tensor
    """uint8[N, H, W, 3]."""
    categories: Tensor
    """uint8[N, H, W]."""
    colors: Tensor
    """float32[N, 3, 4], see :func:`streetseg.training.augmentation.draw_color`."""
    flips: Tensor
    """bool[N]: which frames to mirror left to right."""
