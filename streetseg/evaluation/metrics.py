"""The metrics of an evaluation, beside the confusion matrix and the champion's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from streetseg.core.parallel import cores
from streetseg.data.dataset import PreparedDataset
from streetseg.data.sources import EVALUATED
from streetseg.evaluation.tta import AugmentedScores
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.benchmark import BenchmarkScore
from streetseg.metrics.boundary_iou import BoundaryIou
from streetseg.metrics.calibration import Calibration
from streetseg.metrics.metric import Metric, ScoredFrame
from streetseg.metrics.slices import SliceScores
from streetseg.monitoring.drift import Observation, Reference, observe


@dataclass(frozen=True)
class Subject:
    """What is evaluated on what."""

    model: Segmenter
    dataset: PreparedDataset
    index: pd.DataFrame
    """A row for each frame, in the order they are scored."""
    tta: Sequence[str]
    """Kinds of test-time augmentation to score beside the model."""


class Performance:
    """What an answer costs on this machine."""

    def __init__(self, model: Segmenter) -> None:
        """Start without frames."""
        self._model = model
        self._seconds: list[float] = []

    def add(self, frame: ScoredFrame) -> None:
        """Note the time of a frame."""
        self._seconds.append(frame.seconds)

    def result(self) -> dict[str, Any]:
        """``performance``: the median time from a prepared frame to its categories at native size,
        one frame at a time; the size of the whole artifact and of the graph alone, which is what a
        service loads (10^6 bytes); the cores of this machine and the device.
        """
        files = [path for path in self._model.artifact.rglob("*") if path.is_file()]
        return {
            "performance": {
                "latency_ms": round(float(np.median(self._seconds)) * 1000, 2),
                "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 2),
                "onnx_megabytes": round(self._model.graph.stat().st_size / 1e6, 2),
                "cores": cores(),
                "device": self._model.device,
            }
        }


class DriftReference:
    """What drift is measured against once the model serves."""

    def __init__(self, dataset: PreparedDataset) -> None:
        """Start without frames."""
        self._dataset = dataset
        self._observations: list[Observation] = []

    def add(self, frame: ScoredFrame) -> None:
        """Observe a frame as a service observes its images."""
        self._observations.append(observe(frame.image, frame.logits))

    def result(self) -> dict[str, Any]:
        """``reference``: a :class:`streetseg.monitoring.drift.Reference`."""
        names, version = self._dataset.labels.names, self._dataset.version
        return {"reference": Reference.of(self._observations, names, version, EVALUATED).to_dict()}


METRICS: dict[str, Callable[[Subject], Metric]] = {
    "boundary IoU": lambda subject: BoundaryIou(subject.dataset.labels),
    "calibration": lambda subject: Calibration(),
    "slices": lambda subject: SliceScores(subject.index),
    "benchmark": lambda subject: BenchmarkScore(subject.dataset.labels),
    "performance": lambda subject: Performance(subject.model),
    "test-time augmentation": lambda subject: AugmentedScores(subject.model, subject.tta),
    "drift reference": lambda subject: DriftReference(subject.dataset),
}


def join_results(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The entries of all metrics; those of one name, such as ``intervals``, are joined."""
    joined: dict[str, Any] = {}
    for result in results:
        for name, entry in result.items():
            joined[name] = joined[name] | entry if name in joined else entry
    return joined
