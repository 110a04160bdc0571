"""The score of BDD100K's drivable areas.

BDD100K's toolkit (``evaluate_drivable``) averages the IoU of direct and alternative where the truth
is not background: the official score of that label space.
"""

from __future__ import annotations

from typing import Any

from streetseg.metrics.accumulator import ConfusionAccumulator
from streetseg.metrics.confusion import plain_number, plain_numbers


class DrivableIou(ConfusionAccumulator):
    """The confusion matrix of drivable areas, as a benchmark."""

    def result(self) -> dict[str, Any]:
        """``benchmark``: the mean IoU and the IoU of each area."""
        scores = self.scores
        return {
            "benchmark": {
                "name": "BDD100K drivable area",
                "miou": plain_number(scores.miou_official),
                "iou": plain_numbers(scores.iou_official),
            }
        }
