"""A batch of training frames, as the loader gives it to the device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Frames, and the flips and colours for ``augmentation.augment_on_device``."""

    images: Tensor
    """uint8[N, H, W, 3]."""
    categories: Tensor
    """uint8[N, H, W]."""
    colors: Tensor
    """float32[N, 3, 4], see :func:`streetseg.training.augmentation.draw_color`."""
    flips: Tensor
    """bool[N]: which frames to mirror left to right."""
