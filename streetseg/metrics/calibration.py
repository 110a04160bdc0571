"""Calibration: whether a network that is 80 % confident is right 80 % of the time.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equations 2, 3 and 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streetseg.data.labels import IGNORE
from streetseg.metrics.confusion import plain_number
from streetseg.metrics.metric import ScoredFrame

BINS = 15


class Calibration:
    """Confidence and accuracy of the labelled pixels, in bins of confidence of equal width.

    ``pixels`` and ``correct`` are counts int64[BINS], ``confidence`` sums float64[BINS]. Bin m has
    the confidences above (m - 1) / BINS and up to m / BINS.
    """

    def __init__(self) -> None:
        """Start without frames."""
        self.pixels = np.zeros(BINS, np.int64)
        self.correct = np.zeros(BINS, np.int64)
        self.confidence = np.zeros(BINS)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame at the size of the network."""
        labelled = frame.small_truth != IGNORE
        confidence = frame.probabilities.max(axis=0)[labelled].astype(float)
        correct = (frame.probabilities.argmax(axis=0) == frame.small_truth)[labelled]
        bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self.correct += np.bincount(bins[correct], minlength=BINS)
        self.confidence += np.bincount(bins, confidence, minlength=BINS)

    @property
    def ece(self) -> float:
        """Expected calibration error: mean absolute gap of confidence and accuracy, 0 to 1."""
        gaps = np.abs(self.correct - self.confidence).sum()
        return float(gaps / total) if (total := self.pixels.sum()) else float("nan")

    def result(self) -> dict[str, Any]:
        """``calibration``: the ECE and the bins; an empty bin has no confidence and no accuracy."""
        with np.errstate(invalid="ignore"):
            confidence, accuracy = self.confidence / self.pixels, self.correct / self.pixels
        fractions = self.pixels / max(1, self.pixels.sum())
        bins = [
            dict(zip(("confidence", "accuracy", "share"), map(plain_number, values), strict=True))
            for values in zip(confidence, accuracy, fractions, strict=True)
        ]
        return {"calibration": {"ece": plain_number(self.ece), "bins": bins}}
