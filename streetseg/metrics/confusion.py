"""Scores of a segmentation, all from one confusion matrix of ids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streetseg.data.labels import IGNORE, LabelSpace


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, size: int = 256) -> np.ndarray:
    """Count pixels by (true id, predicted id): int64[size, size] of uint8 ids below ``size``."""
    truth, predicted = truth.ravel(), predicted.ravel()
    # Masks are made of long runs of one id: to count by runs takes a fifth of the time.
    changes = truth[1:] != truth[:-1]
    changes |= predicted[1:] != predicted[:-1]
    starts = np.append(0, np.flatnonzero(changes) + 1)
    lengths = np.diff(starts, append=truth.size)
    pairs = truth[starts].astype(np.intp) * size + predicted[starts]
    return np.bincount(pairs, lengths, size * size).astype(np.int64).reshape(size, size)


def confusion_of_categories(
    truth: np.ndarray, categories: np.ndarray, space: LabelSpace
) -> np.ndarray:
    """Count pixels by (true label id, id that represents the predicted category): int64[256, 256].

    ``truth`` are label ids, ``categories`` category ids, both uint8 of the same shape.
    """
    represented = space.representative_ids
    counts = np.zeros((256, 256), np.int64)
    counts[:, represented] = confusion_matrix(truth, categories)[:, : len(represented)]
    return counts


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix; NaN where a category does not occur. Means leave NaN out.

    The *plain* scores treat every category alike, void included. A category that no pixel of the
    truth shows has none: a pixel mistaken for it is a miss of its true category, and the mean of
    every model is over the same categories. A predicted label without a category is a miss too.
    The *official* score is that of the Cityscapes benchmark (``getIouScoreForCategory`` of
    cityscapesScripts, for ``cityscapes-19`` ``getIouScoreForLabel``): pixels whose true id is
    ignored are dropped, a void prediction elsewhere is a miss, void itself has no score, and a
    category that is predicted but does not occur scores 0. The two are not comparable.
    """

    miou: float
    miou_official: float
    iou: dict[str, float]
    dice: dict[str, float]
    precision: dict[str, float]
    """TP / (TP + FP); NaN where a category is never predicted."""
    recall: dict[str, float]
    """TP / (TP + FN); NaN where a category does not occur in the truth."""
    iou_official: dict[str, float]
    pixel_accuracy: float
    category_confusion: np.ndarray
    """int64[categories, categories] by (truth, prediction)."""

    @property
    def categories(self) -> list[str]:
        """Names, in order of category id."""
        return [*self.iou]

    @property
    def extent(self) -> str:
        """What the mean IoU is over: ``8 categories``, or ``7 of 8 categories`` if one does
        not occur."""
        n_scored = sum(not math.isnan(value) for value in self.iou.values())
        scored = "" if n_scored == len(self.iou) else f"{n_scored} of "
        return f"{scored}{len(self.iou)} {'category' if len(self.iou) == 1 else 'categories'}"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scores:
        """Read what :meth:`to_dict` wrote; early releases wrote no precision and no recall."""
        by_category = {
            name: read_numbers(content.get(name) or {})
            for name in ("iou", "dice", "precision", "recall", "iou_official")
        }
        return cls(
            miou=read_number(content["miou"]),
            miou_official=read_number(content["miou_official"]),
            **by_category,
            pixel_accuracy=read_number(content.get("pixel_accuracy")),
            category_confusion=np.array(content["confusion"], np.int64),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that does not exist is null."""
        return {
            "miou": plain_number(self.miou),
            "miou_official": plain_number(self.miou_official),
            "pixel_accuracy": plain_number(self.pixel_accuracy),
            "iou": plain_numbers(self.iou),
            "dice": plain_numbers(self.dice),
            "precision": plain_numbers(self.precision),
            "recall": plain_numbers(self.recall),
            "iou_official": plain_numbers(self.iou_official),
            "categories": self.categories,
            "confusion": self.category_confusion.tolist(),
        }


def score(confusion: np.ndarray, space: LabelSpace) -> Scores:
    """Score a confusion matrix of label ids (int64[256, 256], truth by prediction)."""
    counts = _with_others(confusion, space.category_of, len(space.names))
    official = official_iou(official_confusion(confusion, space))
    iou = category_iou(counts)[:-1]
    true_positive, true, predicted = (margin[:-1] for margin in _margins(counts))

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(space.names, values.tolist(), strict=True))

    with np.errstate(invalid="ignore", divide="ignore"):
        dice = np.where(true > 0, 2 * true_positive / (true + predicted), np.nan)
        precision, recall = true_positive / predicted, true_positive / true
    evaluated = {label.category for label in space.labels if not label.ignore_in_eval}
    total = counts.sum()
    return Scores(
        miou=float(mean_iou(iou)),
        miou_official=float(mean_iou(official)),
        iou=named(iou),
        dice=named(dice),
        precision=named(precision),
        recall=named(recall),
        iou_official={k: value for k, value in named(official).items() if k in evaluated},
        pixel_accuracy=float(true_positive.sum() / total) if total else float("nan"),
        category_confusion=counts[:-1, :-1],
    )


def category_confusion(confusion: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Sum a confusion matrix of label ids (int64[256, 256]) into categories: int64[C, C]."""
    return _with_others(confusion, space.category_of, len(space.names))[:-1, :-1]


def against_rest(confusion: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Merge the categories ``columns``, and the others: int64[..., 2, 2] of [..., C, C]."""
    rest = np.setdiff1d(np.arange(confusion.shape[-1]), columns)
    groups = [np.array(columns), rest]
    by_true = np.stack([confusion[..., group, :].sum(axis=-2) for group in groups], axis=-2)
    return np.stack([by_true[..., group].sum(axis=-1) for group in groups], axis=-1)


def official_confusion(confusion: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Sum a confusion matrix of label ids as cityscapesScripts counts them: int64[C + 1, C + 1].

    Pixels whose true id is ignored are dropped; the last column counts predictions of an ignored id
    elsewhere. The last row is empty.
    """
    counted = np.where(space.ignored_in_eval, IGNORE, space.category_of)
    return _with_others(confusion, counted, len(space.names))


def category_iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each category of [..., C, C]: float64[..., C], NaN where no truth shows it."""
    true_positive, true, predicted = _margins(confusion)
    with np.errstate(invalid="ignore"):
        return np.where(true > 0, true_positive / (true + predicted - true_positive), np.nan)


def official_iou(confusion: np.ndarray) -> np.ndarray:
    """IoU as cityscapesScripts computes it, of :func:`official_confusion`: float64[..., C].

    From [..., C + 1, C + 1]; NaN where a category is neither true nor predicted.
    """
    true_positive, true, predicted = _margins(confusion)
    with np.errstate(invalid="ignore"):
        return (true_positive / (true + predicted - true_positive))[..., :-1]


def mean_iou(iou: np.ndarray) -> np.ndarray:
    """Mean over the categories that have an IoU: float64[...] of float64[..., C]; else NaN."""
    scored = ~np.isnan(iou)
    with np.errstate(invalid="ignore"):
        return np.where(scored, iou, 0).sum(axis=-1) / scored.sum(axis=-1)


def category_miou(confusion: np.ndarray) -> float:
    """Mean IoU of a confusion matrix of category ids (int64[C, C])."""
    return float(mean_iou(category_iou(confusion)))


def row_normalized(confusion: np.ndarray) -> np.ndarray:
    """The rows of int64[C, C] as fractions of their sums, 0 where a category does not occur."""
    truth = confusion.sum(axis=1, keepdims=True)
    return np.divide(confusion, truth, out=np.zeros(confusion.shape), where=truth > 0)


def plain_number(value: float) -> float | None:
    """A score for JSON: six decimals, None where it does not exist."""
    return None if math.isnan(value) else round(value, 6)


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """Scores by name for JSON."""
    return {name: plain_number(value) for name, value in values.items()}


def read_number(value: float | None) -> float:
    """A score from JSON; NaN where it does not exist."""
    return math.nan if value is None else value


def read_numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Scores by name from JSON."""
    return {name: read_number(value) for name, value in values.items()}


def _margins(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TP, TP + FN and TP + FP of each category of [..., C, C]: float64[..., C] each."""
    true_positive = confusion.diagonal(axis1=-2, axis2=-1).astype(float)
    return true_positive, confusion.sum(axis=-1).astype(float), confusion.sum(axis=-2).astype(float)


def _with_others(confusion: np.ndarray, category_of: np.ndarray, categories: int) -> np.ndarray:
    """Sum ids into categories (uint8[256]): int64[C + 1, C + 1].

    The last column counts predictions without a category; the last row is empty. Pixels without a
    true category are dropped.
    """
    by_true = _sum_rows(confusion, category_of, categories)
    predicted = np.where(category_of == IGNORE, categories, category_of)
    return np.pad(_sum_rows(by_true.T, predicted, categories + 1).T, ((0, 1), (0, 0)))


def _sum_rows(counts: np.ndarray, group_of: np.ndarray, groups: int) -> np.ndarray:
    return np.stack([counts[group_of == group].sum(axis=0) for group in range(groups)])
