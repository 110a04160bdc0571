"""The page that explains an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.evaluation.baseline import differences
from streetseg.evaluation.ranked_frames import RankedFrames, ShownFrame
from streetseg.metrics.bootstrap import RESAMPLES
from streetseg.metrics.confusion import shares_of_truth
from streetseg.reports.drawing import (
    errors_on,
    jpeg_address,
    overlay,
    png_address,
    shrink,
)
from streetseg.reports.html import write_page

if TYPE_CHECKING:
    from streetseg.evaluation.evaluate import Evaluation

EXTREMES, PICTURE_WIDTH = 3, 448
"""Frames shown at either end of the ranking, and how many pixels wide an image of them is."""


def write_report(
    evaluation: Evaluation, ranked: RankedFrames, confusion_png: Path, path: Path
) -> None:
    """Write the page.

    Args:
        evaluation: the scores.
        ranked: the frames that they are of, to show the worst and the best.
        confusion_png: the image of the confusion matrix.
        path: the HTML file to write.
    """
    confusion = evaluation.scores.category_confusion
    truth = confusion.sum(axis=1)
    labels, champion = evaluation.labels, evaluation.champion
    compared = None
    if champion and champion.model:
        compared = differences(evaluation.counts, champion.tally.counts)
    frames = len(evaluation.frames)
    worst = list(range(frames))[: -EXTREMES - 1 : -1]
    best = [place for place in range(min(EXTREMES, frames)) if place not in worst]
    write_page(
        path,
        "report.html.j2",
        evaluation=evaluation,
        scores=evaluation.scores,
        categories=labels.categories,
        confusion=png_address(confusion_png.read_bytes()),
        confusion_in_words=_in_words(confusion, labels),
        truth_shares=truth / max(1, truth.sum()),
        calibration=evaluation.calibration.to_dict(),
        champion=champion,
        differences=compared,
        worst=[_strip(ranked.show(place), place, labels) for place in worst],
        best=[_strip(ranked.show(place), place, labels) for place in best],
        resamples=RESAMPLES,
    )


def _in_words(confusion: np.ndarray, labels: LabelSpace) -> str:
    """How much of each category is found, and what it is most often taken for."""
    told = []
    for row, shares in enumerate(shares_of_truth(confusion)):
        if not confusion[row].any():
            continue
        text = f"{labels.names[row]} {shares[row] * 100:.1f} % found"
        wrong = np.where(np.arange(len(shares)) == row, 0, shares)
        if wrong.any():
            text += f", {wrong.max() * 100:.1f} % taken for {labels.names[wrong.argmax()]}"
        told.append(text)
    return "; ".join(told)


def _strip(frame: ShownFrame, place: int, labels: LabelSpace) -> tuple[int, ShownFrame, list[str]]:
    """The place of a frame, counted from 1, and its images: itself, truth, prediction, errors."""
    pictures = (
        frame.rgb,
        overlay(frame.rgb, frame.truth, labels),
        overlay(frame.rgb, frame.predicted, labels),
        errors_on(frame.rgb, frame.truth, frame.predicted),
    )
    return place + 1, frame, [jpeg_address(shrink(each, PICTURE_WIDTH)) for each in pictures]
