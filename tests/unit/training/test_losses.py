"""Losses, held against plain sums over the pixels of tiny images."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from streetseg.config.params import Loss
from streetseg.data.labels import IGNORE
from streetseg.training.losses import (
    bce_loss,
    category_weights,
    cross_entropy,
    dice_loss,
    focal_loss,
    focal_tversky_loss,
    jaccard_loss,
    segmentation_loss,
    tversky_loss,
)

CATEGORIES = 4
ABSENT = 3
WEIGHTS = [0.5, 2.0, 1.25, 1.0]

torch.manual_seed(0)
LOGITS = 2 * torch.randn(2, CATEGORIES, 2, 3)
TRUTH = torch.tensor([[[0, 1, IGNORE], [2, 0, 1]], [[IGNORE, 0, 2], [1, 1, IGNORE]]])
UNLABELLED = torch.full_like(TRUTH, IGNORE)


def labelled_pixels() -> list[tuple[list[float], int]]:
    """The logits and the category of each labelled pixel."""
    picture, row, column = torch.where(TRUTH != IGNORE)
    return [
        (LOGITS[n, :, y, x].tolist(), int(TRUTH[n, y, x]))
        for n, y, x in zip(picture, row, column, strict=True)
    ]


def softmax(logits: list[float]) -> list[float]:
    return [math.exp(logit) / sum(map(math.exp, logits)) for logit in logits]


def written_cross_entropy(weights: list[float], smoothing: float, share: float) -> float:
    pixels = []
    for logits, truth in labelled_pixels():
        loss = 0.0
        for category, probability in enumerate(softmax(logits)):
            target = (1 - smoothing) * (category == truth) + smoothing / CATEGORIES
            loss -= target * math.log(probability)
        pixels.append((loss, weights[truth]))
    hardest = sorted(pixels, reverse=True)[: max(1, round(share * len(pixels)))]
    return sum(loss * weight for loss, weight in hardest) / sum(weight for _, weight in hardest)


def written_focal(gamma: float) -> float:
    pixels = labelled_pixels()
    right = [softmax(logits)[truth] for logits, truth in pixels]
    return sum(-((1 - p) ** gamma) * math.log(p) for p in right) / len(pixels)


def written_bce() -> float:
    total = 0.0
    for logits, truth in labelled_pixels():
        for category, logit in enumerate(logits):
            probability = 1 / (1 + math.exp(-logit))
            total -= math.log(probability if category == truth else 1 - probability)
    return total / (len(labelled_pixels()) * CATEGORIES)


def written_region(index: Callable[[float, float, float], float], power: float = 1) -> float:
    """Mean of (1 - index)^power, the index of soft true positives, false ones and misses."""
    losses = []
    for category in range(CATEGORIES):
        if category == ABSENT:
            continue
        hit = false = missed = 0.0
        for logits, truth in labelled_pixels():
            probability = softmax(logits)[category]
            if truth == category:
                hit += probability
                missed += 1 - probability
            else:
                false += probability
        losses.append((1 - index(hit, false, missed)) ** power)
    return sum(losses) / len(losses)


def tversky_index(hit: float, false: float, missed: float) -> float:
    return hit / (hit + 0.3 * false + 0.7 * missed)


weighted = partial(cross_entropy, weights=torch.tensor(WEIGHTS))
CASES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "cross-entropy": (cross_entropy, written_cross_entropy([1] * 4, 0, 1)),
    "weighted": (weighted, written_cross_entropy(WEIGHTS, 0, 1)),
    "smoothed": (
        partial(weighted, label_smoothing=0.2),
        written_cross_entropy(WEIGHTS, 0.2, 1),
    ),
    "hardest third": (
        partial(weighted, label_smoothing=0.1, ohem_share=1 / 3),
        written_cross_entropy(WEIGHTS, 0.1, 1 / 3),
    ),
    "hardest pixel": (
        partial(cross_entropy, ohem_share=0.01),
        written_cross_entropy([1] * 4, 0, 0),
    ),
    "focal": (focal_loss, written_focal(2)),
    "focal, gentle": (partial(focal_loss, gamma=0.5), written_focal(0.5)),
    "focal, not at all": (partial(focal_loss, gamma=0), written_cross_entropy([1] * 4, 0, 1)),
    "bce": (bce_loss, written_bce()),
    "dice": (
        dice_loss,
        written_region(lambda hit, false, miss: 2 * hit / (2 * hit + false + miss)),
    ),
    "jaccard": (jaccard_loss, written_region(lambda hit, false, miss: hit / (hit + false + miss))),
    "tversky": (partial(tversky_loss, alpha=0.3, beta=0.7), written_region(tversky_index)),
    "focal tversky": (
        partial(focal_tversky_loss, alpha=0.3, beta=0.7, gamma=4 / 3),
        written_region(tversky_index, power=3 / 4),
    ),
}

every_loss = pytest.mark.parametrize(
    "loss", [loss for loss, _ in CASES.values()], ids=list(CASES.keys())
)


@pytest.mark.parametrize(("loss", "expected"), CASES.values(), ids=list(CASES.keys()))
def test_a_loss_is_what_its_formula_says(
    loss: Callable[[Tensor, Tensor], Tensor], expected: float
) -> None:
    assert loss(LOGITS, TRUTH).item() == pytest.approx(expected, rel=1e-5)


@every_loss
def test_its_gradient_is_that_of_its_value(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: loss(values, TRUTH), logits)


@every_loss
def test_ignored_pixels_have_no_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss(logits, TRUTH).backward()
    assert logits.grad is not None
    gradient = logits.grad.abs().sum(dim=1)
    assert gradient[TRUTH == IGNORE].max() == 0
    assert gradient[TRUTH != IGNORE].max() > 0


@every_loss
def test_a_batch_with_nothing_labelled_costs_nothing_and_breaks_nothing(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, UNLABELLED)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("certainty", [50, 1e4])
@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("smoothed", "hardest third")]
)
def test_a_perfect_prediction_costs_nothing(name: str, certainty: float) -> None:
    right = torch.nn.functional.one_hot(TRUTH.where(TRUTH != IGNORE, 0), CATEGORIES)
    logits = (certainty * (2 * right.movedim(-1, 1).float() - 1)).requires_grad_()
    value = CASES[name][0](logits, TRUTH)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-4)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("certainty", [50, 1e4])
@every_loss
def test_a_certain_mistake_has_a_finite_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], certainty: float
) -> None:
    wrong = torch.nn.functional.one_hot(TRUTH.where(TRUTH != IGNORE, 0) * 0 + ABSENT, CATEGORIES)
    logits = (certainty * wrong.movedim(-1, 1).float()).requires_grad_()
    value = loss(logits, TRUTH)
    value.backward()
    assert value.item() > 0.5
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_on_in_float32(
    loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> None:
    rounded = LOGITS.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        value = loss(rounded, TRUTH)
    assert value.dtype == torch.float32
    assert value.item() == loss(rounded.float(), TRUTH).item()


def test_the_terms_are_summed_with_their_weights() -> None:
    params = Loss(
        cross_entropy=2,
        label_smoothing=0.1,
        ohem_share=1 / 3,
        dice=0.5,
        jaccard=0.25,
        focal=3,
        focal_gamma=0.5,
        bce=1.5,
        tversky=0.75,
        focal_tversky=4,
        focal_tversky_gamma=4 / 3,
    )
    weights = {
        "hardest third": 2,
        "dice": 0.5,
        "jaccard": 0.25,
        "focal, gentle": 3,
        "bce": 1.5,
        "tversky": 0.75,
        "focal tversky": 4,
    }
    expected = sum(weight * CASES[name][1] for name, weight in weights.items())
    value = segmentation_loss(LOGITS, TRUTH, params, torch.tensor(WEIGHTS))
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "term", ["cross_entropy", "dice", "jaccard", "focal", "bce", "tversky", "focal_tversky"]
)
def test_any_term_is_enough_by_itself(term: str) -> None:
    alone = Loss(**{"cross_entropy": 0, "dice": 0} | {term: 1})
    assert segmentation_loss(LOGITS, TRUTH, alone).item() > 0


def test_by_default_it_is_cross_entropy_and_dice() -> None:
    expected = CASES["weighted"][1] + CASES["dice"][1]
    value = segmentation_loss(LOGITS, TRUTH, Loss(), torch.tensor(WEIGHTS))
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_balance_goes_from_all_pixels_alike_to_all_categories_alike() -> None:
    pixels = np.array([90, 10])
    assert category_weights(pixels, 0).tolist() == [1, 1]
    torch.testing.assert_close(
        category_weights(pixels, 1) * torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    )
    weights = category_weights(pixels, 0.5)
    assert weights[1] / weights[0] == pytest.approx(3, rel=1e-5)


def test_a_category_without_a_pixel_gets_a_finite_weight() -> None:
    assert torch.isfinite(category_weights(np.array([100, 0]), 1)).all()
