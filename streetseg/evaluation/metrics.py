"""The metrics of an evaluation, beside the confusion matrix and the champion's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from streetseg.core.parallel import cores
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.cost import network_cost
from streetseg.evaluation.tta import AugmentedScores
from streetseg.evaluation.windows import WindowScores
from streetseg.inference.artifact import GRAPHS
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.boundary_iou import BoundaryIou
from streetseg.metrics.calibration import Calibration
from streetseg.metrics.cityscapes import CityscapesScores, has_classes
from streetseg.metrics.confusion import plain_number
from streetseg.metrics.drivable_iou import DrivableIou
from streetseg.metrics.groups import GroupScores
from streetseg.metrics.image_rows import RowScores
from streetseg.metrics.metric import Metric, ScoredFrame
from streetseg.metrics.object_size import ObjectSizeScores
from streetseg.metrics.road_f1 import RoadF1
from streetseg.metrics.slices import SliceScores
from streetseg.monitoring.drift import Observation, Reference, observe


@dataclass(frozen=True)
class Subject:
    """A model and the frames that it is scored on."""

    model: Segmenter
    dataset: PreparedDataset
    index: pd.DataFrame
    """A row for each frame, in the order they are scored."""
    tta: Sequence[str]
    """Kinds of test-time augmentation to score beside the model."""
    windows: WindowScores | None = None
    """Its scores in sliding windows, if they are asked for."""


@dataclass
class Performance:
    """Time per frame, and size, of the model on this machine."""

    model: Segmenter
    seconds: list[float] = field(default_factory=list)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        self.seconds.append(frame.seconds)

    def result(self) -> dict[str, Any]:
        """``performance``; a megabyte is 10^6 bytes, and a service loads the graph alone.

        ``parameters`` and ``gmacs`` are those of :func:`network_cost`.
        """
        parameters, gmacs = network_cost(self.model.artifact / GRAPHS["float32"])
        files = [path for path in self.model.artifact.rglob("*") if path.is_file()]
        return {
            "performance": {
                "latency_ms": round(float(np.median(self.seconds)) * 1000, 2),
                "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 2),
                "onnx_megabytes": round(self.model.graph.stat().st_size / 1e6, 2),
                "parameters": parameters,
                "gmacs": plain_number(gmacs),
                "cores": cores(),
                "device": self.model.device,
            }
        }


@dataclass
class DriftReference:
    """The observations that a service compares its images with, to detect drift."""

    dataset: PreparedDataset
    split: str
    observations: list[Observation] = field(default_factory=list)

    def add(self, frame: ScoredFrame) -> None:
        """Observe a frame as a service observes its images."""
        self.observations.append(observe(frame.image[frame.placement.target], frame.logits))

    def result(self) -> dict[str, Any]:
        """``reference``: a :class:`streetseg.monitoring.drift.Reference`."""
        names, version = self.dataset.labels.names, self.dataset.version
        return {"reference": Reference.of(self.observations, names, version, self.split).to_dict()}


BENCHMARKS: dict[str, Callable[[LabelSpace], Metric]] = {
    "kitti-road": RoadF1,
    "bdd100k-drivable": DrivableIou,
    "bdd100k-drivable-2018": DrivableIou,
}
"""By label space, the metric of the data set's own benchmark; see also :func:`benchmark`."""

METRICS: dict[str, Callable[[Subject], Metric | None]] = {
    "boundary_iou": lambda subject: BoundaryIou(subject.dataset.labels),
    "calibration": lambda subject: Calibration(),
    "slices": lambda subject: SliceScores(subject.index),
    "rows": lambda subject: RowScores(subject.dataset.labels),
    "object_sizes": lambda subject: ObjectSizeScores(subject.dataset.labels),
    "groups": lambda subject: group_scores(subject.index, subject.dataset.labels),
    "benchmark": lambda subject: benchmark(subject.dataset.labels),
    "performance": lambda subject: Performance(subject.model),
    "augmented": lambda subject: AugmentedScores(subject.model, subject.tta),
    "windows": lambda subject: subject.windows,
    "reference": lambda subject: DriftReference(subject.dataset, subject.index["split"].iloc[0]),
}
"""By entry of ``evaluation.json``; None where a metric does not apply."""


def benchmark(labels: LabelSpace) -> Metric | None:
    """The metric of the benchmark of a label space, if it has one."""
    if has_classes(labels):
        return CityscapesScores()
    make = BENCHMARKS.get(labels.name)
    return make(labels) if make else None


def group_scores(index: pd.DataFrame, labels: LabelSpace) -> Metric | None:
    """The scores by source and condition, if the data have either."""
    return GroupScores(index, labels) if {"source", "condition"} & {*index.columns} else None


def join_results(metrics: Iterable[Metric]) -> dict[str, Any]:
    """The entries of all metrics; those of the same name, such as ``intervals``, are merged."""
    entries: dict[str, Any] = dict.fromkeys(METRICS)
    for metric in metrics:
        for name, entry in metric.result().items():
            entries[name] = entries[name] | entry if entries.get(name) else entry
    return entries
