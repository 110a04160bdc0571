"""The result of running the network on one upload."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetseg.inference.upsampling import categories_at


@dataclass(frozen=True)
class Segmented:
    """An upload and the network's answer to it."""

    upload: bytes
    """The image file as it was sent."""
    resized: np.ndarray
    """The image at the network's size, RGB uint8[h, w, 3]."""
    logits: np.ndarray
    """float32[C, h, w]."""
    size: tuple[int, int]
    """(height, width) of the image."""

    def categories(self) -> np.ndarray:
        """Category ids uint8[H, W] at the image's size."""
        return categories_at(self.logits, self.size)
