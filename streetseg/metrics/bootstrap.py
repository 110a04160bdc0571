"""How sure a score is: the bootstrap over frames (Efron and Tibshirani, 1993).

Frames are drawn with replacement, for pixels of one frame depend on each other and frames do not.
"""

from __future__ import annotations

import numpy as np

from streetseg.metrics.confusion import category_iou

RESAMPLES = 2000


def resampled_iou(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """IoU of each category on frames drawn with replacement.

    The same seed and number of frames draw the same frames, so that the samples of two models on
    the same frames are pairs.

    Args:
        counts: int64[F, C, C], the confusion matrix (truth, prediction) of each frame.
        resamples: how often F frames are drawn.
        seed: fixes the draws.

    Returns:
        float64[resamples, C], NaN where a category does not occur in the frames drawn.
    """
    frames, categories = counts.shape[:2]
    chance = np.full(frames, 1 / frames)
    times = np.random.default_rng(seed).multinomial(frames, chance, resamples)
    drawn = (times.astype(float) @ counts.reshape(frames, -1).astype(float)).reshape(
        resamples, categories, categories
    )
    return category_iou(drawn)


def mean_iou(iou: np.ndarray) -> np.ndarray:
    """Mean over the categories that occur: float64[resamples] of float64[resamples, C]."""
    there = ~np.isnan(iou)
    with np.errstate(invalid="ignore"):
        return np.where(there, iou, 0).sum(axis=1) / there.sum(axis=1)


def frames_showing(counts: np.ndarray) -> np.ndarray:
    """In how many frames each category occurs: int64[C] of int64[F, C, C] (truth, prediction)."""
    return counts.any(axis=2).sum(axis=0)


def interval(
    samples: np.ndarray, frames: int, level: float = 0.95, lowest: float = 0
) -> tuple[float, float]:
    """The percentile interval, widened where frames are few; NaN where nothing is known.

    Resamples vary less than frames do, by ``sqrt((frames - 1) / frames)``, and a spread that is
    itself taken from few frames asks for Student's t in place of the normal distribution
    (Hesterberg, 2015). Both ends are moved away from the median by these two factors. More extreme
    percentiles in place of that cannot do on fewer than six frames, for no resample lies outside of
    what the frames are one by one.

    Args:
        samples: float64[resamples]; those that are NaN are left out.
        frames: how many frames tell anything about the score.
        level: how often the interval is to hold the truth.
        lowest: that the score can be; 1 is the highest.

    Returns:
        (low, high), both NaN on fewer than two frames.
    """
    from scipy.special import ndtri, stdtrit

    known = samples[~np.isnan(samples)]
    if frames < 2 or not known.size:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, median, high = np.quantile(known, [tail, 0.5, 1 - tail])
    wider = stdtrit(frames - 1, tail) / ndtri(tail) * np.sqrt(frames / (frames - 1))
    ends = median + wider * (np.array([low, high]) - median)
    low, high = ends.clip(lowest, 1).tolist()
    return low, high


def bootstrap_probability(held: np.ndarray, frames: int) -> float:
    """The probability of a claim, from the resamples in which it held.

    Resamples vary less than frames do, the more so the fewer there are: of models that are alike,
    one looks better at 95 % on 4 frames in one of eight cases. So the share is read as Student's t
    of ``frames - 1`` degrees of freedom (the expanded percentile interval of Hesterberg, 2015).

    Args:
        held: bool[resamples].
        frames: how many frames tell anything about the claim.

    Returns:
        Between 0 and 1, never quite either; 0.5 if there are fewer than two frames.
    """
    from scipy.special import ndtri, stdtr

    if frames < 2:
        return 0.5
    share = (held.sum() + 0.5) / (held.size + 1)
    return float(stdtr(frames - 1, ndtri(share) * np.sqrt((frames - 1) / frames)))
