"""The frames on the page of an evaluation: the worst by category and condition, and a table of all.

Pictures are a JPEG of the frame and PNGs with a palette for truth, prediction and errors, which the
browser lays over it: a third of the bytes of four JPEGs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.evaluation.ranked_frames import PredictedFrame, RankedFrames
from streetseg.evaluation.result import Evaluation
from streetseg.images.resize import resize_ids
from streetseg.metrics.confusion import category_iou
from streetseg.metrics.slices import MEASURES, terciles
from streetseg.reports.drawing import error_color, jpeg_address, palette_address, shrink

MAX_PICTURES_BYTES = 3_000_000
"""Of a page's pictures. With them and 5,000 frames a page stays below ``report.MAX_PAGE_BYTES``."""
MAX_FRAMES = 60
PICTURE_WIDTH = 640
"""Pixels."""
MIN_PIXELS = 100
"""True or predicted pixels of a category, below which a frame says nothing about it."""
N_WORST, N_BEST, MAX_CONDITIONS = 3, 2, 8


@dataclass(frozen=True)
class ShownFrame:
    """A frame of the gallery, with ``data:`` URLs of its pictures."""

    name: str
    miou: float
    place: int
    """1 for the best of all frames."""
    reasons: dict[str, str]
    """By the choice that shows it, such as ``person``, what it says below the frame."""
    rgb: str
    truth: str
    predicted: str
    errors: str

    @property
    def bytes(self) -> int:
        """Of its pictures on the page."""
        return len(self.rgb) + len(self.truth) + len(self.predicted) + len(self.errors)


def frame_table(evaluation: Evaluation, ranked: RankedFrames) -> pd.DataFrame:
    """A row for each frame, best first, as in ``frames.csv``.

    Columns: ``frame``, ``city``, perhaps ``source`` and ``condition``, ``miou``, ``accuracy`` (of
    pixels, 0 to 1), the ``worst`` category (of at least ``MIN_PIXELS`` pixels) and its
    ``worst_iou``, ``brightness`` and ``sharpness``.
    """
    index = ranked.dataset.index.iloc[ranked.rows].reset_index(drop=True)
    counts = _ranked_counts(evaluation, ranked)
    iou = _iou_by_frame(counts)
    lowest = np.where(np.isnan(iou), math.inf, iou).argmin(axis=1)
    worst_iou = iou[np.arange(len(iou)), lowest]
    names = np.array(evaluation.scores.categories)[lowest]
    columns = [name for name in ("city", "source", "condition") if name in index]
    table = pd.DataFrame({"frame": [score.name for score in ranked.scores]})
    return table.join(index[columns]).assign(
        miou=[round(score.miou, 4) for score in ranked.scores],
        accuracy=_fraction(counts.diagonal(axis1=1, axis2=2).sum(axis=1), counts.sum(axis=(1, 2))),
        worst=np.where(np.isnan(worst_iou), "", names),
        worst_iou=worst_iou.round(4),
        brightness=index["brightness"].round(1),
        sharpness=index["sharpness"].round(1),
    )


def shown_frames(evaluation: Evaluation, ranked: RankedFrames) -> list[ShownFrame]:
    """The frames to show: the worst of all, of each condition and of each category, and the best.

    The weakest categories come first. It ends at ``MAX_FRAMES`` frames or ``MAX_PICTURES_BYTES``.
    """
    chosen: dict[int, dict[str, str]] = {}
    for rank, key, text in _choices(evaluation, ranked):
        if rank in chosen or len(chosen) < MAX_FRAMES:
            chosen.setdefault(rank, {})[key] = text
    shown: list[ShownFrame] = []
    used = 0
    for rank, reasons in chosen.items():
        frame = _draw(ranked.predict(rank), reasons, ranked.dataset.labels)
        used += frame.bytes
        if used > MAX_PICTURES_BYTES:
            break
        shown.append(frame)
    return shown


def _choices(evaluation: Evaluation, ranked: RankedFrames) -> Iterator[tuple[int, str, str]]:
    """Ranks of frames, the choice that shows each, and what it says; the most telling first."""
    n_frames = len(ranked.rows)
    for rank in range(n_frames - 1, max(-1, n_frames - 1 - N_WORST), -1):
        yield rank, "worst of all", ""
    if n_frames > N_WORST:
        yield from _worst_by_condition(ranked)
    iou = _iou_by_frame(_ranked_counts(evaluation, ranked))
    scores = evaluation.scores.iou
    for column, (name, score) in sorted(
        enumerate(scores.items()), key=lambda each: (math.isnan(each[1][1]), each[1][1])
    ):
        if not math.isnan(score) and not np.isnan(iou[:, column]).all():
            rank = int(np.nanargmin(iou[:, column]))
            yield rank, name, f"{name}: IoU {iou[rank, column]:.3f}"
    for rank in range(min(N_BEST, n_frames - N_WORST)):
        yield rank, "best of all", ""


def _worst_by_condition(ranked: RankedFrames) -> Iterator[tuple[int, str, str]]:
    """The last rank of each condition (or else source), and of the dark and the bright third."""
    index = ranked.dataset.index.iloc[ranked.rows].reset_index(drop=True)
    groups = []
    for column in ("condition", "source"):
        if column in index and index[column].nunique() > 1:
            groups += [
                (str(name), index[column] == name) for name in index[column].unique() if name
            ]
    brightness = terciles(index["brightness"].to_numpy())
    names = MEASURES["brightness"]
    groups += [(f"{names[third]} frames", brightness == third) for third in (0, 2)]
    for name, members in groups[:MAX_CONDITIONS]:
        if np.any(members):
            yield int(np.flatnonzero(members)[-1]), name, f"worst of {name}"


def _draw(frame: PredictedFrame, reasons: dict[str, str], labels: LabelSpace) -> ShownFrame:
    rgb = shrink(frame.rgb, PICTURE_WIDTH)
    truth, predicted = (resize_ids(ids, rgb.shape[:2]) for ids in (frame.truth, frame.predicted))
    colors = [*map(tuple, np.array(labels.palette).tolist()), (255, 255, 255)]
    ignored = len(labels.names)
    wrong = ((truth != predicted) & (truth != IGNORE)).astype(np.uint8)
    return ShownFrame(
        name=frame.score.name,
        miou=frame.score.miou,
        place=frame.rank + 1,
        reasons=reasons,
        rgb=jpeg_address(rgb),
        truth=palette_address(np.where(truth == IGNORE, ignored, truth), colors, ignored),
        predicted=palette_address(predicted, colors, ignored),
        errors=palette_address(wrong, [(0, 0, 0), error_color(labels)], 0),
    )


def _ranked_counts(evaluation: Evaluation, ranked: RankedFrames) -> np.ndarray:
    """The category confusion of each frame, best first: int64[F, C, C]."""
    assert evaluation.counts is not None, "an evaluation made just now has counts"
    rows = ranked.dataset.rows(evaluation.split)
    position = {row: number for number, row in enumerate(rows.tolist())}
    return evaluation.counts[[position[row] for row in ranked.rows.tolist()]]


def _iou_by_frame(counts: np.ndarray) -> np.ndarray:
    """IoU of each category in each frame, NaN where it has too few pixels: float64[F, C]."""
    iou = category_iou(counts)
    iou[counts.sum(axis=1) + counts.sum(axis=2) < MIN_PIXELS] = np.nan
    return iou


def _fraction(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return (part / np.maximum(whole, 1)).round(4)
