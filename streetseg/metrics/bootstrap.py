"""The bootstrap over frames, as pixels of a frame are dependent (Efron and Tibshirani, 1993)."""

from __future__ import annotations

import math

import numpy as np

from streetseg.metrics.confusion import category_iou, plain_number

RESAMPLES = 2000

Interval = tuple[float, float]
"""(low, high)."""


def resampled_iou(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """IoU of each category on frames drawn with replacement.

    From int64[F, C, C] (truth, prediction) to float64[resamples, C], NaN where a category does not
    occur in the frames drawn. The same seed and F draw the same frames, so the samples of two
    models are paired.
    """
    n_frames, n_categories = counts.shape[:2]
    chances = np.full(n_frames, 1 / n_frames)
    weights = np.random.default_rng(seed).multinomial(n_frames, chances, resamples)
    sums = weights.astype(float) @ counts.reshape(n_frames, -1).astype(float)
    return category_iou(sums.reshape(resamples, n_categories, n_categories))


def mean_iou(iou: np.ndarray) -> np.ndarray:
    """Mean over the categories that occur: float64[resamples] of float64[resamples, C]."""
    occurs = ~np.isnan(iou)
    with np.errstate(invalid="ignore"):
        return np.where(occurs, iou, 0).sum(axis=1) / occurs.sum(axis=1)


def frames_showing(counts: np.ndarray) -> np.ndarray:
    """Number of frames that show each category: int64[C] of int64[F, C, C] (truth, prediction)."""
    return counts.any(axis=2).sum(axis=0)


def interval(samples: np.ndarray, frames: int, level: float = 0.95, lowest: float = 0) -> Interval:
    """The percentile interval of float64[resamples], widened for few frames.

    Resamples vary less than frames do, by ``sqrt((frames - 1) / frames)``, and a standard deviation
    estimated from few frames calls for Student's t in place of the normal distribution (Hesterberg,
    2015). Both ends are moved away from the median by these two factors. More extreme percentiles
    would fail on fewer than six frames: no resample lies outside the range of the single frames.

    NaN samples are left out. ``frames`` are those that affect the score, which lies between
    ``lowest`` and 1. Both ends are NaN on fewer than two frames.
    """
    from scipy.special import ndtri, stdtrit

    valid = samples[~np.isnan(samples)]
    if frames < 2 or not valid.size:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low, median, high = np.quantile(valid, [tail, 0.5, 1 - tail])
    widening = stdtrit(frames - 1, tail) / ndtri(tail) * np.sqrt(frames / (frames - 1))
    ends = median + widening * (np.array([low, high]) - median)
    low, high = ends.clip(lowest, 1).tolist()
    return low, high


def plain_interval(ends: Interval) -> list[float | None] | None:
    """An interval for JSON; None where it does not exist."""
    return None if math.isnan(ends[0]) else [plain_number(end) for end in ends]


def bootstrap_probability(holds: np.ndarray, frames: int) -> float:
    """The probability of a claim that holds in some resamples, bool[resamples].

    Resamples vary less than frames do, the more so the fewer frames there are: of two equally good
    models, one looks better at 95 % on 4 frames in one case of eight. So the fraction is read as
    Student's t with ``frames - 1`` degrees of freedom (the expanded percentile interval of
    Hesterberg, 2015). ``frames`` are those that affect the claim.

    The result is above 0 and below 1; 0.5 for fewer than two frames.
    """
    from scipy.special import ndtri, stdtr

    if frames < 2:
        return 0.5
    fraction = (holds.sum() + 0.5) / (holds.size + 1)
    return float(stdtr(frames - 1, ndtri(fraction) * np.sqrt((frames - 1) / frames)))
