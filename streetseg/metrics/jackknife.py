"""How sure a score is: the jackknife over drives, as frames of a drive are alike.

Each drive is left out in turn. How much the score changes gives its standard error, whatever the
correlation of the frames within a drive (the estimator CV3 of MacKinnon, Nielsen and Webb, 2023).
With Student's t for few clusters (Cameron, Gelbach and Miller, 2008) the declared level holds from
two drives on, which drawing drives with replacement does not reach: ``benchmarks/gate.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streetseg.metrics.confusion import category_iou, mean_iou, plain_number

FEW_DRIVES = 10
"""Below so many drives the page says that they are few."""
MAX_PROBABILITY = 0.9999
"""Closer to 1 than this, the tail of Student's t says nothing about real frames."""

Interval = tuple[float, float]
"""(low, high)."""


@dataclass(frozen=True)
class Drives:
    """The drives of some frames.

    Attributes:
        of: the number of each frame's drive, int64[F].
        n_unknown: frames whose drive is not known; each counts as a drive of its own.
    """

    of: np.ndarray
    n_unknown: int = 0

    @classmethod
    def of_names(cls, names: np.ndarray) -> Drives:
        """From the name of each frame's drive, str[F], empty where it is not known."""
        unknown = names == ""
        known, of = np.unique(names, return_inverse=True)
        of[unknown] = len(known) + np.arange(unknown.sum())
        return cls(np.unique(of, return_inverse=True)[1], int(unknown.sum()))

    @property
    def frames(self) -> np.ndarray:
        """Frames of each drive: int64[D]."""
        return np.bincount(self.of)

    def sum(self, counts: np.ndarray) -> np.ndarray:
        """The sum over each drive: int64[D, ...] of int64[F, ...]."""
        sums = np.zeros((len(self.frames), *counts.shape[1:]), np.int64)
        np.add.at(sums, self.of, counts)
        return sums


@dataclass(frozen=True)
class Estimate:
    """A score, and how much it would vary with other drives."""

    value: float
    error: float
    """Standard error; NaN on fewer than two drives."""
    drives: int
    effective_drives: float
    """As many drives of equal size weigh as much: (sum of frames)^2 / sum of frames^2 (Kish,
    1965)."""

    @classmethod
    def of(cls, value: float, without: np.ndarray, frames: np.ndarray) -> Estimate:
        """From the score without each drive, float64[D], and the frames that show it, int64[D]."""
        drives = int(np.count_nonzero(frames))
        effective = float(frames.sum() ** 2 / max(1, (frames**2).sum()))
        if drives < 2 or math.isnan(value):
            return cls(value, math.nan, drives, effective)
        squares = math.fsum(np.square(without[~np.isnan(without)] - value).tolist())
        return cls(value, math.sqrt((drives - 1) / drives * squares), drives, effective)

    def interval(self, lowest: float = 0, level: float = 0.95) -> Interval:
        """The confidence interval, within ``lowest`` and 1; NaN on fewer than two drives."""
        from scipy.special import stdtrit

        if math.isnan(self.error):
            return math.nan, math.nan
        margin = stdtrit(self.effective_drives - 1, (1 + level) / 2) * self.error
        low, high = np.clip([self.value - margin, self.value + margin], lowest, 1).tolist()
        return low, high

    def probability_above(self, bound: float) -> float | None:
        """The probability that the score is above a bound, 0.0001 to 0.9999.

        One minus the p-value of the one-sided test; None on fewer than two drives.
        """
        from scipy.special import stdtr

        if math.isnan(self.error):
            return None
        above = self.value - bound
        if self.error > 1e-12:
            probability = float(stdtr(self.effective_drives - 1, above / self.error))
        else:
            probability = float(above > 0)
        return min(max(probability, 1 - MAX_PROBABILITY), MAX_PROBABILITY)


class Jackknife:
    """IoU on all drives and without each of them, of one model or of two.

    A category that does not occur in the truth of the drives left has no IoU there and is in no
    mean, so that two models are compared over the same categories.
    """

    def __init__(
        self,
        counts: np.ndarray,
        drives: Drives,
        minus: np.ndarray | None = None,
        iou: Callable[[np.ndarray], np.ndarray] = category_iou,
    ) -> None:
        """Count frames, int64[F, C, C] by (truth, prediction).

        ``minus`` are the counts of another model on the same frames: the scores are then the
        differences to its scores. ``iou`` maps [..., C, C] to float64[..., C].
        """
        self.drives = drives
        self._frames = drives.frames
        self._showing = drives.sum((counts.sum(axis=2) > 0).astype(np.int64))
        self._iou = [_with_and_without(counts, drives, iou)]
        if minus is not None:
            self._iou.append(_with_and_without(minus, drives, iou))

    @property
    def totals(self) -> list[np.ndarray]:
        """The IoU of each category on all drives, float64[C], of each model."""
        return [total for total, _ in self._iou]

    def mean(self) -> Estimate:
        """The mean IoU."""
        value, without = self._difference([(mean_iou(a), mean_iou(b)) for a, b in self._iou])
        return Estimate.of(float(value), without, self._frames)

    def category(self, column: int) -> Estimate:
        """The IoU of a category; the drives are those that show it."""
        value, without = self._difference([(a[column], b[:, column]) for a, b in self._iou])
        return Estimate.of(float(value), without, self._showing[:, column])

    def frames_showing(self, column: int) -> int:
        """The number of frames that show a category."""
        return int(self._showing[:, column].sum())

    @staticmethod
    def _difference(
        scores: list[tuple[np.ndarray, np.ndarray]],
    ) -> tuple[np.ndarray, np.ndarray]:
        value, without = scores[0]
        for other, other_without in scores[1:]:
            value, without = value - other, without - other_without
        return value, without


def _with_and_without(
    counts: np.ndarray, drives: Drives, iou: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """IoU on all drives, float64[C], and without each of them, float64[D, C]."""
    sums = drives.sum(counts)
    total = sums.sum(axis=0)
    return iou(total), iou(total - sums)


def correlation(counts: np.ndarray, drives: Drives) -> float | None:
    """The intra-class correlation of the frames of a drive in the mean IoU, 0 to 1.

    From the design effect ``1 + (m - 1) * correlation`` (Donner and Klar, 2000), with ``m`` frames
    in the drive of the average frame: the variance by drives over that by frames. None if no drive
    has several frames, or there is one drive only.
    """
    frames = drives.frames
    size = float((frames**2).sum() / frames.sum())
    by_drive = Jackknife(counts, drives).mean().error
    by_frame = Jackknife(counts, Drives(np.arange(len(counts)))).mean().error
    if size == 1 or not by_frame > 0 or math.isnan(by_drive):
        return None
    return min(max(((by_drive / by_frame) ** 2 - 1) / (size - 1), 0.0), 1.0)


def plain_interval(ends: Interval) -> list[float | None] | None:
    """An interval for JSON; None where it does not exist."""
    return None if math.isnan(ends[0]) else [plain_number(end) for end in ends]
