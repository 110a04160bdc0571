"""Which of many items to look at."""

from __future__ import annotations

import numpy as np


def evenly_spaced(count: int, limit: int) -> np.ndarray:
    """The numbers of at most ``limit`` of ``count`` items, the first and last too: int64[n]."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(int)
