"""Evaluations of models that do not exist."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from streetseg.evaluation.result import ChampionScores, Evaluation, FrameScore
from streetseg.metrics.confusion import Scores, category_iou, category_miou

CATEGORIES = ["road", "human", "vehicle"]


def scores_of(confusion: np.ndarray, categories: list[str] = CATEGORIES) -> Scores:
    """Scores of int64[C, C], of which the official ones equal the plain ones."""
    iou = dict(zip(categories, category_iou(confusion).tolist(), strict=True))
    miou = category_miou(confusion)
    return Scores(miou, miou, iou, iou, iou, iou, iou, miou, confusion)


def evaluation_of(
    counts: np.ndarray,
    categories: list[str] = CATEGORIES,
    champion: ChampionScores | None = None,
    **changes: object,
) -> Evaluation:
    """The evaluation of a model with these confusion matrices: int64[F, C, C]."""
    fields: dict = {
        "data_version": "1234.dir",
        "split": "val",
        "run_id": "new",
        "label_space": "streets",
        "scores": scores_of(counts.sum(axis=0), categories),
        "frames": [FrameScore(str(number), math.nan) for number in range(len(counts))],
        "n_seen_in_training": None,
        "champion": champion,
        "metrics": {},
        "counts": counts,
    }
    return Evaluation(**fields | changes)


def champion_of(counts: np.ndarray, **changes: object) -> ChampionScores:
    """The champion, version 3, with these confusion matrices: int64[F, C, C]."""
    miou = category_miou(counts.sum(axis=0))
    fields: dict = {
        "version": "3",
        "run_id": "old",
        "data_version": "1234.dir",
        "label_space": "streets",
        "categories": CATEGORIES,
        "n_seen_in_training": 0,
        "miou": miou,
        "miou_official": miou,
        "counts": counts,
    }
    return ChampionScores(**fields | changes)


def evaluation_with(run_id: str, **headline: float) -> Evaluation:
    """An evaluation of a run with a headline: ``miou``, ``miou_official``, ``iou_<category>``."""
    empty = evaluation_of(np.zeros((1, 3, 3), np.int64), run_id=run_id)
    iou = {key[4:]: value for key, value in headline.items() if key.startswith("iou_")}
    miou, official = (headline.get(key, math.nan) for key in ("miou", "miou_official"))
    scores = replace(empty.scores, miou=miou, miou_official=official, iou=iou)
    return replace(empty, scores=scores)
