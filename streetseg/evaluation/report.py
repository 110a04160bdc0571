"""The HTML report of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.evaluation.baseline import differences
from streetseg.evaluation.ranked_frames import PredictedFrame, RankedFrames
from streetseg.evaluation.result import Evaluation
from streetseg.metrics.cityscapes import read_tables
from streetseg.metrics.confusion import row_normalized
from streetseg.metrics.jackknife import FEW_DRIVES
from streetseg.reports.drawing import (
    jpeg_address,
    mark_errors,
    overlay,
    png_address,
    shrink,
)
from streetseg.reports.html import write_page

N_EXTREMES = 3
"""Frames shown at either end of the ranking."""
IMAGE_WIDTH = 448
"""Pixels."""


def write_report(
    evaluation: Evaluation,
    ranked: RankedFrames,
    confusion_png: Path,
    path: Path,
) -> None:
    """Write the report as a self-contained HTML file."""
    confusion = evaluation.scores.category_confusion
    true_pixels = confusion.sum(axis=1)
    labels, champion = ranked.dataset.labels, evaluation.champion
    compared = None
    if champion and champion.counts is not None and evaluation.counts is not None:
        estimates = differences(evaluation.counts, champion.counts, evaluation.drives_of_frames)
        compared = [
            {"value": each.value, "interval": each.interval(lowest=-1)} for each in estimates
        ]
    n_frames = len(evaluation.frames)
    worst = list(range(n_frames))[: -N_EXTREMES - 1 : -1]
    best = [rank for rank in range(min(N_EXTREMES, n_frames)) if rank not in worst]
    write_page(
        path,
        "report.html.j2",
        evaluation=evaluation,
        source=ranked.dataset.origin,
        scores=evaluation.scores,
        metrics=evaluation.metrics,
        categories=labels.categories,
        confusion=png_address(confusion_png.read_bytes()),
        confusion_in_words=_describe_confusion(confusion, evaluation.scores.categories),
        truth_shares=true_pixels / max(1, true_pixels.sum()),
        champion=champion,
        differences=compared,
        worst=[(frame, frame_images(frame, labels)) for frame in map(ranked.predict, worst)],
        best=[(frame, frame_images(frame, labels)) for frame in map(ranked.predict, best)],
        few_drives=FEW_DRIVES,
        window_tables=read_tables((evaluation.metrics.get("windows") or {}).get("benchmark")),
    )


def _describe_confusion(confusion: np.ndarray, names: list[str]) -> str:
    """The recall of each category, and what it is most often mistaken for."""
    sentences = []
    for category, fractions in enumerate(row_normalized(confusion)):
        if not confusion[category].any():
            continue
        sentence = f"{names[category]} {fractions[category] * 100:.1f} % found"
        wrong = np.where(np.arange(len(fractions)) == category, 0, fractions)
        if wrong.any():
            sentence += f", {wrong.max() * 100:.1f} % taken for {names[wrong.argmax()]}"
        sentences.append(sentence)
    return "; ".join(sentences)


def frame_images(frame: PredictedFrame, labels: LabelSpace) -> list[str]:
    """``data:`` URLs of a frame, its truth, its prediction and its errors."""
    images = (
        frame.rgb,
        overlay(frame.rgb, frame.truth, labels),
        overlay(frame.rgb, frame.predicted, labels),
        mark_errors(frame.rgb, frame.truth, frame.predicted),
    )
    return [jpeg_address(shrink(image, IMAGE_WIDTH)) for image in images]
