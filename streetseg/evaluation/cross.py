"""A model on several sources and conditions: one table, and the frames where it breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from streetseg.config.params import Params
from streetseg.core.atomic_files import write_new
from streetseg.data.dataset import PreparedDataset
from streetseg.data.splits import EVALUATED
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.other_data import prepare_for_model
from streetseg.evaluation.ranked_frames import RankedFrames
from streetseg.evaluation.report import frame_images
from streetseg.evaluation.result import Evaluation
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.confusion import category_iou
from streetseg.metrics.groups import Group, groups_of
from streetseg.reports.html import render_page

N_WEAK = 3
"""Categories of each group whose worst frame is shown."""
SHOWN_GROUPS = 8
"""Groups whose frames are not folded: of more, those with the lowest mean IoU."""
MIN_PIXELS = 100
"""Pixels of a category, in truth and prediction together, below which a frame is not shown."""


@dataclass(frozen=True)
class WorstFrame:
    """The frame of a group in which a category is worst."""

    category: str
    iou: float
    """Of the category in this frame, 0 to 1."""
    name: str
    images: list[str]
    """``data:`` URLs of the frame, its truth, its prediction and its errors."""


Worst = list[tuple[Group, list[WorstFrame]]]
"""The worst frames of each group that is shown."""


def cross_evaluate(
    artifact: Path, params: Params, destination: Path, split: str = EVALUATED
) -> Evaluation:
    """Score a model on each of ``params.data.sources``, and on each condition that they state.

    The frames are prepared for the model in ``destination/prepared``, which a second call takes up
    again. Written are ``destination/evaluation``, ``cross.csv`` and ``cross.html``.

    Raises:
        StreetsegError: as :func:`streetseg.evaluation.other_data.prepare_for_model` and
            :func:`streetseg.evaluation.evaluate.evaluate`, or a file cannot be written.
    """
    model = Segmenter(artifact)
    dataset = prepare_for_model(model, params, destination / "prepared", split)
    evaluation = evaluate(model, dataset, params, destination / "evaluation", split=split)
    table, page = destination / "cross.csv", destination / "cross.html"
    for path in (table, page):
        path.unlink(missing_ok=True)  # of the scores before
    write_cross(evaluation, worst_frames(model, dataset, evaluation), table, page)
    return evaluation


def write_cross(evaluation: Evaluation, worst: Worst, table: Path, page: Path) -> None:
    """Write the scores by group as CSV, and the page; StreetsegError if one cannot be written."""
    rows = scores_by_group(evaluation)
    scored = rows[rows["miou"].notna()]
    miou = dict(
        zip(zip(scored["source"], scored["condition"], strict=True), scored["miou"], strict=True)
    )
    html = render_page(
        "cross.html.j2",
        evaluation=evaluation,
        rows=rows.to_dict("records"),
        categories=evaluation.scores.categories,
        worst=sorted(worst, key=lambda each: miou.get(each[0], math.inf)),
        shown_groups=SHOWN_GROUPS,
    )
    write_new({table: rows.to_csv(index=False), page: html})


def scores_by_group(evaluation: Evaluation) -> pd.DataFrame:
    """A row for each source and condition, and a last one of all frames.

    Columns: ``source``, ``condition``, ``frames``, ``miou``, ``miou_official`` and each category's
    IoU, 0 to 1; NaN where a score does not exist.
    """
    scores = evaluation.scores
    everything = {
        "source": "all",
        "condition": "",
        "frames": len(evaluation.frames),
        "miou": scores.miou,
        "miou_official": scores.miou_official,
        "iou": scores.iou,
    }
    rows = []
    for group in [*(evaluation.metrics.get("groups") or []), everything]:
        iou = {name: group["iou"].get(name) for name in scores.categories}
        rows.append({key: value for key, value in group.items() if key != "iou"} | iou)
    return pd.DataFrame(rows).fillna(np.nan)


def worst_frames(model: Segmenter, dataset: PreparedDataset, evaluation: Evaluation) -> Worst:
    """The worst frame of the weakest categories of each group, the most specific groups."""
    counts = evaluation.counts
    assert counts is not None, "an evaluation made just now has counts"
    rows = dataset.rows(evaluation.split)
    index = dataset.index.iloc[rows]
    scores = {frame.name: frame for frame in evaluation.frames}
    frames = [scores[name] for name in index["frame"]]
    ranked = RankedFrames(model, dataset, rows, frames)
    of_frame = [groups[-1] for groups in groups_of(index)]
    ious = np.array([category_iou(matrix) for matrix in counts])
    pixels = counts.sum(axis=1) + counts.sum(axis=2)
    ious[pixels < MIN_PIXELS] = np.nan
    names, result = evaluation.scores.categories, []
    for group in sorted({*of_frame}):
        members = np.array([each == group for each in of_frame])
        together = category_iou(counts[members].sum(axis=0))
        shown = []
        for category in np.argsort(np.where(np.isnan(together), math.inf, together))[:N_WEAK]:
            column = np.where(members, ious[:, category], np.nan)
            if np.isnan(column).all():
                continue
            frame = int(np.nanargmin(column))
            images = frame_images(ranked.predict(frame), dataset.labels)
            worst = WorstFrame(
                names[category], float(column[frame]), str(index["frame"].iloc[frame]), images
            )
            shown.append(worst)
        result.append((group, shown))
    return result
