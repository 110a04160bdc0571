"""Sliding windows: large frames at their own size, in overlapping windows of one size.

Source: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017. The authors' code scores frames in
windows of the size of the training crop, a third of which overlaps; the last of a row ends at the
edge, and where windows overlap, the probabilities are averaged. MMSegmentation's "slide" mode is
the same, but averages logits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import softmax


class SlidingSegmenter:
    """A model that predicts large frames in windows, and others as it does without."""

    def __init__(self, whole: Segmenter, window: Segmenter, overlap: float) -> None:
        """Take the model twice: for covered frames, and with an input of the size of a window.

        Args:
            overlap: of neighbouring windows, as a fraction of their sides, 0 to below 1.
        """
        self.whole, self.window, self.overlap = whole, window, overlap

    @property
    def artifact(self) -> Path:
        """The folder of the model."""
        return self.whole.artifact

    @property
    def info(self) -> dict[str, Any]:
        """The ``config.json`` of the model."""
        return self.whole.info

    @property
    def labels(self) -> LabelSpace:
        """The label space of the model."""
        return self.whole.labels

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a window."""
        return self.window.size

    def covers(self, frame: tuple[int, int]) -> bool:
        """Whether one window covers a frame of (H, W)."""
        return frame[0] <= self.size[0] and frame[1] <= self.size[1]

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Category ids uint8[H, W] of an image uint8[H, W, 3], at the image's own size."""
        if self.covers((rgb.shape[0], rgb.shape[1])):
            return self.whole.predict(rgb)
        return self.probabilities(rgb).argmax(axis=0).astype(np.uint8)

    def probabilities(self, rgb: np.ndarray) -> np.ndarray:
        """Mean probabilities float32[C, H, W] of all windows of an image uint8[H, W, 3].

        A side that is shorter than the window is padded with black. A covered frame has the
        probabilities that it has without windows.
        """
        if self.covers((rgb.shape[0], rgb.shape[1])):
            return self.whole.probabilities(rgb)
        (height, width), window = rgb.shape[:2], self.size
        size = max(height, window[0]), max(width, window[1])
        frame = np.zeros((*size, 3), np.uint8)
        frame[:height, :width] = rgb
        total = np.zeros((len(self.labels.names), *size), np.float32)
        windows = np.zeros(size, np.float32)
        for top in starts(size[0], window[0], self.overlap):
            for left in starts(size[1], window[1], self.overlap):
                part = slice(top, top + window[0]), slice(left, left + window[1])
                total[:, *part] += softmax(self.window.logits(frame[part][None])[0])
                windows[part] += 1
        return (total / windows)[:, :height, :width]


def starts(length: int, window: int, overlap: float) -> list[int]:
    """The first pixels of windows that cover ``length`` pixels, at least ``window`` of them.

    Neighbours are ``window * (1 - overlap)`` pixels apart, rounded up; the last ends at the edge.
    """
    stride = max(1, math.ceil(window * (1 - overlap)))
    return [*range(0, length - window, stride), length - window]
