"""Scores of a segmentation, all from one confusion matrix of ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetseg.labels import IGNORE, LabelSpace


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, size: int = 256) -> np.ndarray:
    """Count pixels by (true id, predicted id): int64[size, size].

    Args:
        truth: uint8 ids, any shape.
        predicted: uint8 ids of the same shape.
        size: one more than the largest id.
    """
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
    """Count pixels by (true label id, id that represents the predicted category).

    Args:
        truth: label ids uint8, any shape.
        categories: category ids uint8 of the same shape.
        space: what the ids mean.

    Returns:
        int64[256, 256], as :func:`score` takes it.
    """
    represented = representative_ids(space)
    counts = np.zeros((256, 256), np.int64)
    counts[:, represented] = confusion_matrix(truth, categories)[:, : len(represented)]
    return counts


def representative_ids(space: LabelSpace) -> np.ndarray:
    """For each category a label id that the official evaluation counts as it: uint8[categories].

    The first evaluated label of the category, or its first label where none is evaluated.
    """
    ids = []
    for category in space.names:
        members = [label for label in space.labels if label.category == category]
        evaluated = [label for label in members if not label.ignore_in_eval]
        ids.append((evaluated or members)[0].id)
    return np.array(ids, np.uint8)


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix; NaN where a category does not occur.

    The *plain* scores treat every category alike, void included. The *official* score is the
    category IoU of the Cityscapes benchmark (``getIouScoreForCategory`` of cityscapesScripts):
    pixels whose true id is ignored are dropped, a void prediction elsewhere is a miss, and void
    itself has no score. The two are not comparable.
    """

    miou: float
    """Mean of ``iou`` over the categories that occur."""
    miou_official: float
    """Mean of ``iou_official`` over the categories that occur."""
    iou: dict[str, float]
    dice: dict[str, float]
    iou_official: dict[str, float]
    pixel_accuracy: float
    category_confusion: np.ndarray
    """int64[categories, categories] by (truth, prediction)."""


def score(confusion: np.ndarray, space: LabelSpace) -> Scores:
    """Score a confusion matrix of label ids (int64[256, 256], truth by prediction)."""
    plain = _merge(confusion, space.category_of, space.category_of, len(space.names))
    iou, dice = _overlap(plain)
    evaluated = {label.category for label in space.labels if not label.ignore_in_eval}
    return Scores(
        miou=_mean(iou),
        miou_official=_mean(official := _official_iou(confusion, space)),
        iou=dict(zip(space.names, iou.tolist(), strict=True)),
        dice=dict(zip(space.names, dice.tolist(), strict=True)),
        iou_official={
            name: value
            for name, value in zip(space.names, official.tolist(), strict=True)
            if name in evaluated
        },
        pixel_accuracy=float(np.trace(plain) / total) if (total := plain.sum()) else float("nan"),
        category_confusion=plain,
    )


def category_miou(confusion: np.ndarray) -> float:
    """Mean IoU of a confusion matrix of category ids (int64[C, C])."""
    return _mean(_overlap(confusion)[0])


def _overlap(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and Dice of each category of int64[C, C]."""
    hit = np.diag(confusion).astype(float)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return hit / (true + predicted - hit), 2 * hit / (true + predicted)


def _official_iou(confusion: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Category IoU as cityscapesScripts defines it: float64[categories]."""
    counted = np.where(space.ignored_in_eval, IGNORE, space.category_of)
    # Every true id that counts must be kept even where the prediction is an ignored id.
    other = len(space.names)
    predicted = np.where(counted == IGNORE, other, counted)
    merged = _merge(confusion, counted, predicted, other + 1)
    hit = np.diag(merged)[:other].astype(float)
    union = merged.sum(axis=1)[:other] + merged.sum(axis=0)[:other] - hit
    with np.errstate(invalid="ignore"):
        return hit / union


def _merge(
    confusion: np.ndarray, true_group: np.ndarray, predicted_group: np.ndarray, groups: int
) -> np.ndarray:
    """Sum ids into groups (uint8[256] tables); ids in the group ``IGNORE`` are dropped."""
    by_true = _sum_rows(confusion, true_group, groups)
    return _sum_rows(by_true.T, predicted_group, groups).T


def _sum_rows(counts: np.ndarray, group_of: np.ndarray, groups: int) -> np.ndarray:
    """Add up the rows of each group: int64[groups, columns]."""
    return np.stack([counts[group_of == group].sum(axis=0) for group in range(groups)])


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
