"""The result of running the network on one upload."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streetseg.images.resize import WHOLE, Placement, size_of
from streetseg.inference.upsampling import frame_categories, shown_part, softmax


@dataclass(frozen=True)
class Segmented:
    """An upload and the network's answer to it."""

    upload: bytes
    """The image file as it was sent."""
    network_input: np.ndarray
    """The image at the network's size, RGB uint8[h, w, 3]."""
    logits: np.ndarray
    """float32[C, h, w]."""
    size: tuple[int, int]
    """(height, width) of the image."""
    placement: Placement = WHOLE
    """Where the image is in the network's input."""

    def categories(self) -> np.ndarray:
        """Category ids uint8[H, W] at the image's size; 255 where the network did not see it."""
        return frame_categories(self.logits, self.size, self.placement)

    def confidence(self) -> np.ndarray:
        """The probability of the category of each pixel, 0 to 1: float32[H, W] at the image's size.

        It is computed at the network's size and interpolated bilinearly; 0 where the network did
        not see the image.
        """
        largest = softmax(shown_part(self.logits, self.placement)).max(axis=0)
        height, width = size_of(self.placement.source, self.size)
        probabilities = np.zeros(self.size, np.float32)
        probabilities[self.placement.source] = cv2.resize(largest, (width, height))
        return probabilities

    @property
    def shown(self) -> tuple[np.ndarray, np.ndarray]:
        """The network's input and the logits without padding: uint8[h, w, 3], float32[C, h, w]."""
        return (
            self.network_input[self.placement.target],
            shown_part(self.logits, self.placement),
        )
