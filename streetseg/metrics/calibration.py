"""Calibration: whether a network that is 80 % sure is right 80 % of the time.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equations 2, 3 and 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streetseg.data.labels import IGNORE
from streetseg.metrics.confusion import plain_number

BINS = 15


class Calibration:
    """How sure a network was and how often it was right, in bins of equal width.

    Attributes:
        pixels: int64[BINS]; bin m holds what was surer than (m - 1) / BINS, and at most m / BINS.
        right: int64[BINS], those that were right.
        sureness: float64[BINS], the sum of the confidence of each.
    """

    def __init__(self) -> None:
        """With nothing counted yet."""
        self.pixels = np.zeros(BINS, np.int64)
        self.right = np.zeros(BINS, np.int64)
        self.sureness = np.zeros(BINS)

    def add(self, probabilities: np.ndarray, truth: np.ndarray) -> None:
        """Count a frame.

        Args:
            probabilities: float32[C, H, W], 0 to 1, summing to 1 over the categories.
            truth: category ids uint8[H, W]; where they are ``IGNORE``, nothing is counted.
        """
        known = truth != IGNORE
        confidence = probabilities.max(axis=0)[known].astype(float)
        right = (probabilities.argmax(axis=0) == truth)[known]
        bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self.right += np.bincount(bins[right], minlength=BINS)
        self.sureness += np.bincount(bins, confidence, minlength=BINS)

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of confidence and accuracy, 0 to 1."""
        gaps = np.abs(self.right - self.sureness).sum()
        return float(gaps / total) if (total := self.pixels.sum()) else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an empty bin has no confidence and no accuracy."""
        with np.errstate(invalid="ignore"):
            confidence, accuracy = self.sureness / self.pixels, self.right / self.pixels
        shares = self.pixels / max(1, self.pixels.sum())
        return {
            "ece": plain_number(self.ece),
            "bins": [
                {
                    "confidence": plain_number(confidence[place]),
                    "accuracy": plain_number(accuracy[place]),
                    "share": plain_number(shares[place]),
                }
                for place in range(BINS)
            ],
        }
