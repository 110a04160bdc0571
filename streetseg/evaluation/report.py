"""The HTML report of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streetseg.data.labels import Category, LabelSpace
from streetseg.evaluation.baseline import differences
from streetseg.evaluation.curves import HEIGHT, WIDTH, Curves
from streetseg.evaluation.frames_shown import frame_table, shown_frames
from streetseg.evaluation.ranked_frames import PredictedFrame, RankedFrames
from streetseg.evaluation.result import Evaluation
from streetseg.metrics.cityscapes import read_tables, tables_of
from streetseg.metrics.confusion import row_normalized
from streetseg.metrics.jackknife import FEW_DRIVES
from streetseg.reports.drawing import (
    error_color,
    jpeg_address,
    mark_errors,
    overlay,
    png_address,
    shrink,
)
from streetseg.reports.html import write_page

MAX_PAGE_BYTES = 5_000_000
"""Of a page with 5,000 frames: base64 of it passes mail gateways that stop at 10 MB, and Kubeflow's
UI, which copies a page into a frame as a string, shows it within a second."""
FRAMES_CSV = "frames.csv"
MIN_DRIVES = 5
"""Below so many, the page shows no interval: on three drives it spans most of the scale."""
N_CONFUSIONS = 12
MIN_CONFUSION = 0.005
"""Fraction of a category below which a confusion is not named."""
SHOWN_CATEGORIES = 20
"""Categories that are not folded: of more, those with the lowest IoU."""
SHOWN_SLICES = 8
"""Slices of a column that are not folded."""
IMAGE_WIDTH = 448
"""Pixels of a picture of :func:`frame_images`."""


def write_report(
    evaluation: Evaluation,
    ranked: RankedFrames,
    confusion_png: Path,
    folder: Path,
    curves: Curves | None = None,
) -> None:
    """Write ``report.html``, a self-contained page, and ``frames.csv`` to a folder."""
    confusion = evaluation.scores.category_confusion
    dataset, champion = ranked.dataset, evaluation.champion
    frames = frame_table(evaluation, ranked)
    frames.to_csv(folder / FRAMES_CSV, index=False)
    write_page(
        folder / "report.html",
        "report.html.j2",
        evaluation=evaluation,
        source=dataset.origin,
        place="city" if dataset.cities_are_places else "sequence",
        scores=evaluation.scores,
        metrics=evaluation.metrics,
        intervals=shown_intervals(evaluation),
        min_drives=MIN_DRIVES,
        of_cityscapes=bool(tables_of(dataset.labels, by_category=False)),
        categories=dataset.labels.categories,
        confusion=png_address(confusion_png.read_bytes()),
        confusion_in_words=_describe_confusion(confusion, evaluation.scores.categories),
        confusions=top_confusions(confusion, evaluation.scores.categories),
        shares=_shares(evaluation, dataset.labels),
        shown_categories=SHOWN_CATEGORIES,
        champion=champion,
        differences=_compared(evaluation),
        shown=shown_frames(evaluation, ranked),
        error_color=error_color(dataset.labels),
        frames=frames.where(frames.notna(), None).to_dict("split"),
        frames_csv=FRAMES_CSV,
        shown_slices=SHOWN_SLICES,
        curves=curves.lines if curves else [],
        plot=(WIDTH, HEIGHT),
        few_drives=FEW_DRIVES,
        window_tables=read_tables((evaluation.metrics.get("windows") or {}).get("benchmark")),
    )


def shown_intervals(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation's ``intervals`` that rest on at least ``MIN_DRIVES`` drives."""
    drives = evaluation.drives_of_frames
    frames = drives.frames
    if frames.sum() ** 2 / max(1, (frames**2).sum()) < MIN_DRIVES - 0.5:
        return {"iou": {}}
    intervals = evaluation.intervals
    by_category = intervals.get("iou", {})
    if evaluation.counts is not None:
        showing = drives.sum((evaluation.counts.sum(axis=2) > 0).astype(int)) > 0
        n_drives = dict(zip(evaluation.scores.categories, showing.sum(axis=0), strict=True))
        by_category = {
            name: ends for name, ends in by_category.items() if n_drives[name] >= MIN_DRIVES
        }
    return {**intervals, "iou": by_category}


def top_confusions(confusion: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """The largest fractions of a true category that are predicted as another, largest first.

    Each has ``true``, ``predicted`` (numbers of categories), ``fraction`` (0 to 1), ``pixels``, and
    ``words``, such as ``person taken for pole: 3.1 % of person``.
    """
    fractions = row_normalized(confusion)
    np.fill_diagonal(fractions, 0)
    found = []
    for cell in np.argsort(-fractions, axis=None, kind="stable")[:N_CONFUSIONS]:
        true, predicted = divmod(int(cell), len(names))
        fraction = float(fractions[true, predicted])
        if fraction >= MIN_CONFUSION:
            text = f"{names[true]} taken for {names[predicted]}"
            words = f"{text}: {fraction * 100:.1f} % of {names[true]}"
            pixels = int(confusion[true, predicted])
            found.append(
                {
                    "true": true,
                    "predicted": predicted,
                    "fraction": fraction,
                    "pixels": pixels,
                    "words": words,
                }
            )
    return found


def _shares(evaluation: Evaluation, labels: LabelSpace) -> list[tuple[Category, float]]:
    """Each category with its fraction of the true pixels; many begin with the lowest IoU."""
    pixels = evaluation.scores.category_confusion.sum(axis=1)
    shares = (pixels / max(1, pixels.sum())).tolist()
    rows = list(zip(labels.categories, shares, strict=True))
    if len(rows) > SHOWN_CATEGORIES:
        iou = evaluation.scores.iou
        rows.sort(key=lambda row: np.nan_to_num(iou[row[0].name], nan=np.inf))
    return rows


def _compared(evaluation: Evaluation) -> list[dict[str, Any]] | None:
    """The differences to the champion, of the mean and of each category; None without one."""
    champion = evaluation.champion
    if champion is None or champion.counts is None or evaluation.counts is None:
        return None
    estimates = differences(evaluation.counts, champion.counts, evaluation.drives_of_frames)
    return [
        {"value": each.value, "interval": each.interval(lowest=-1), "drives": each.drives}
        for each in estimates
    ]


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
        mark_errors(frame.rgb, frame.truth, frame.predicted, labels),
    )
    return [jpeg_address(shrink(image, IMAGE_WIDTH)) for image in images]
