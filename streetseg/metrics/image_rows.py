"""IoU by image row: in a street, lower rows are nearer to the camera."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.metrics.confusion import (
    category_iou,
    confusion_matrix,
    mean_iou,
    plain_number,
    plain_numbers,
)
from streetseg.metrics.metric import ScoredFrame

BANDS = 8
"""Bands of equal height, from the top of the frame to its bottom."""


class RowScores:
    """The confusion of each band of rows, int64[BANDS, C + 1, C + 1]; the last id is ignored."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames."""
        self.names = labels.names
        size = len(self.names) + 1
        self._counts = np.zeros((BANDS, size, size), np.int64)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame at native size."""
        size = len(self.names)
        truth, predicted = (
            np.where(ids == IGNORE, size, ids).astype(np.uint8)
            for ids in (frame.true_categories, frame.categories)
        )
        edges = np.linspace(0, len(truth), BANDS + 1).round().astype(int)
        for band, (top, end) in enumerate(itertools.pairwise(edges)):
            if end > top:
                matrix = confusion_matrix(truth[top:end], predicted[top:end], size + 1)
                self._counts[band] += matrix

    def result(self) -> dict[str, Any]:
        """``rows``: for each band ``top`` and ``bottom`` (0 to 1 of the height), ``pixels`` that
        are labelled, ``miou``, and ``iou`` of each category."""
        entries = []
        for band, counts in enumerate(self._counts):
            counted = counts.copy()
            counted[-1] = 0
            iou = category_iou(counted)[:-1]
            entries.append(
                {
                    "top": band / BANDS,
                    "bottom": (band + 1) / BANDS,
                    "pixels": int(counted.sum()),
                    "miou": plain_number(float(mean_iou(iou))),
                    "iou": plain_numbers(dict(zip(self.names, iou.tolist(), strict=True))),
                }
            )
        return {"rows": entries}
