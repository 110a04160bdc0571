"""Names of the metrics in MLflow.

MLflow's page of a run draws one section of charts for each prefix, and sorts sections and charts by
name. The names therefore begin with what an engineer looks at first: ``held-out/loss``, then the
IoU of each category, then ``train/loss``. Scores of an evaluation begin with its split.
"""

from __future__ import annotations

from collections.abc import Mapping

from streetseg.data.splits import EVALUATED

TRAIN_LOSS = "train/loss"
"""Mean over the batches of an epoch, by epoch, as all metrics of ``train`` and ``held-out``."""
LEARNING_RATE = "train/lr"
GRADIENT_NORM = "train/mean_gradient_norm"
GPU_MEMORY = "train/peak_gpu_memory_gib"
THROUGHPUT = "train/throughput_frames_per_s"
HELD_OUT_LOSS = "held-out/loss"
HELD_OUT_MIOU = "held-out/miou"
BEST_MIOU = "held-out/miou_best"
MIOU, MIOU_OFFICIAL = f"{EVALUATED}/miou", f"{EVALUATED}/miou_official"
MIOU_ON, CHAMPION_MIOU_ON = f"{EVALUATED}/miou_on/", f"{EVALUATED}/champion_miou_on/"
"""Beginnings of the mean IoU on one source, of the model and of the champion."""

FORMER = {
    TRAIN_LOSS: "loss",
    HELD_OUT_MIOU: "selection_miou",
    BEST_MIOU: "best_selection_miou",
    MIOU: "miou",
    MIOU_OFFICIAL: "miou_official",
}
"""What releases before 0.2.0 called a metric; the IoU of a category was ``iou_<category>``."""


def held_out_iou(category: str) -> str:
    """The metric of a category's IoU on the held-out frames."""
    return f"held-out/iou/{category}"


def evaluated_iou(category: str) -> str:
    """The metric of a category's IoU on the evaluation split."""
    return f"{EVALUATED}/iou/{category}"


def read_metric(metrics: Mapping[str, float], name: str) -> float | None:
    """A metric under its name or its former one; None if there is neither."""
    return metrics.get(name, metrics.get(FORMER.get(name, "")))


def read_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """``miou`` and ``miou_official`` on the evaluation split, as far as they are there."""
    scores = {FORMER[name]: read_metric(metrics, name) for name in (MIOU, MIOU_OFFICIAL)}
    return {name: value for name, value in scores.items() if value is not None}


def read_iou(metrics: Mapping[str, float]) -> dict[str, float]:
    """The IoU on the evaluation split by category, under today's names or the former ones."""
    prefix = evaluated_iou("")
    if not any(name.startswith(prefix) for name in metrics):
        prefix = "iou_"
    return {
        name.removeprefix(prefix): value
        for name, value in metrics.items()
        if name.startswith(prefix)
    }
