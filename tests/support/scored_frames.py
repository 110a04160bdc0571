"""Frames with an answer, for a metric to count."""

from __future__ import annotations

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.metrics.metric import ScoredFrame

EMPTY = np.zeros((0, 0), np.uint8)


def scored_frame(
    labels: LabelSpace,
    *,
    truth: np.ndarray = EMPTY,
    small_truth: np.ndarray = EMPTY,
    probabilities: np.ndarray = EMPTY,
    categories: np.ndarray = EMPTY,
) -> ScoredFrame:
    """A frame with what one metric looks at."""
    return ScoredFrame(
        labels=labels,
        image=EMPTY,
        truth=truth,
        small_truth=small_truth,
        logits=EMPTY,
        probabilities=probabilities,
        categories=categories,
        seconds=0,
    )
