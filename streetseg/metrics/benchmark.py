"""The metric that a data set's own benchmark ranks by, where it has one beside the official score.

Cityscapes' iIoU is not among them: it needs instance ids, which are not prepared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streetseg.data.labels import LabelSpace
from streetseg.metrics.accumulator import ConfusionAccumulator
from streetseg.metrics.confusion import plain_number, plain_numbers
from streetseg.metrics.metric import Metric, ScoredFrame
from streetseg.metrics.road_f1 import RoadF1


class DrivableIou:
    """The score of BDD100K's drivable areas.

    BDD100K's toolkit (``evaluate_drivable``) averages the IoU of direct and alternative where the
    truth is not background: the official score of that label space.
    """

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames."""
        self._confusion = ConfusionAccumulator(labels)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        self._confusion.add(frame)

    def result(self) -> dict[str, Any]:
        """The mean IoU and the IoU of each area."""
        scores = self._confusion.scores
        return {
            "name": "BDD100K drivable area",
            "miou": plain_number(scores.miou_official),
            "iou": plain_numbers(scores.iou_official),
        }


BENCHMARKS: dict[str, Callable[[LabelSpace], Metric]] = {
    "kitti-road": RoadF1,
    "bdd100k-drivable": DrivableIou,
    "bdd100k-drivable-2018": DrivableIou,
}
"""By label space."""


class BenchmarkScore:
    """The benchmark's metric of a label space, if it has one."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames."""
        make = BENCHMARKS.get(labels.name)
        self._metric = make(labels) if make else None

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        if self._metric:
            self._metric.add(frame)

    def result(self) -> dict[str, Any]:
        """``benchmark``: its name and its scores; None if the label space has none."""
        return {"benchmark": self._metric.result() if self._metric else None}
