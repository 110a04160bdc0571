"""The interface of metrics; each has a line in :data:`streetseg.evaluation.metrics.METRICS`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.images.resize import WHOLE, Placement
from streetseg.metrics.confusion import category_confusion, confusion_of_categories


@dataclass(frozen=True)
class ScoredFrame:
    """A frame, its truth, and the prediction of the model."""

    labels: LabelSpace
    image: np.ndarray
    """The network's input, padding included: RGB uint8[height, width, 3]."""
    truth: np.ndarray
    """Label ids uint8[H, W], at native size, of the part of the frame that the network sees."""
    small_truth: np.ndarray
    """Category ids uint8[h, w] of that part, at its size in the network's input."""
    logits: np.ndarray
    """float32[C, h, w]."""
    probabilities: np.ndarray
    """float32[C, h, w], 0 to 1, summing to 1 over the categories."""
    categories: np.ndarray
    """Predicted category ids uint8[H, W], at native size."""
    seconds: float
    """From ``image`` to ``categories``."""
    drive: str = ""
    """The drive that it was recorded on; empty if that is not known."""
    placement: Placement = WHOLE
    """Where that part is in the frame and in the network's input."""
    instances: np.ndarray | None = None
    """Instance ids uint16[H, W] of ``truth``; None if they are not known."""

    @cached_property
    def true_categories(self) -> np.ndarray:
        """Category ids uint8[H, W] of the truth, ``IGNORE`` where a label has no category."""
        return self.labels.category_of[self.truth]

    @cached_property
    def confusion(self) -> np.ndarray:
        """Pixels by (true label id, id that represents the predicted category): int64[256, 256]."""
        return confusion_of_categories(self.truth, self.categories, self.labels)

    @cached_property
    def category_confusion(self) -> np.ndarray:
        """Pixels by (true category, predicted category): int64[C, C]."""
        return category_confusion(self.confusion, self.labels)


class Metric(Protocol):
    """A score that is accumulated over frames."""

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""

    def result(self) -> dict[str, Any]:
        """Entries of ``evaluation.json`` in plain data; a score that does not exist is None."""
        ...
