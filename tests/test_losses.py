"""Losses, held against written-out sums."""

import math

import numpy as np
import pytest
import torch

from streetseg.config import Loss
from streetseg.labels import IGNORE
from streetseg.losses import balancing_weights, cross_entropy, dice_loss, segmentation_loss

LOGITS = torch.tensor([[[[2.0, 0.0, -1.0]], [[0.0, 1.0, 3.0]], [[1.0, 0.5, 0.0]]]])
TRUTH = torch.tensor([[[0, 1, IGNORE]]])


def probability(pixel: int, category: int) -> float:
    values = LOGITS[0, :, 0, pixel].tolist()
    return math.exp(values[category]) / sum(map(math.exp, values))


def test_cross_entropy_is_the_mean_over_labelled_pixels() -> None:
    expected = -(math.log(probability(0, 0)) + math.log(probability(1, 1))) / 2
    assert cross_entropy(LOGITS, TRUTH).item() == pytest.approx(expected, rel=1e-5)


def test_weighted_pixels_count_as_much_as_their_weight() -> None:
    weights = torch.tensor([1.0, 3.0, 1.0])
    expected = -(math.log(probability(0, 0)) + 3 * math.log(probability(1, 1))) / 4
    assert cross_entropy(LOGITS, TRUTH, weights).item() == pytest.approx(expected, rel=1e-5)


def test_dice_is_averaged_over_the_categories_that_are_there() -> None:
    dice = []
    for category, pixel in ((0, 0), (1, 1)):  # category 2 is absent, pixel 2 is ignored
        predicted = probability(0, category) + probability(1, category)
        dice.append(2 * probability(pixel, category) / (predicted + 1))
    assert dice_loss(LOGITS, TRUTH).item() == pytest.approx(1 - sum(dice) / 2, rel=1e-5)


def test_a_perfect_prediction_costs_nothing() -> None:
    truth = torch.tensor([[[0, 1, 2]]])
    logits = 50 * torch.nn.functional.one_hot(truth, 3).movedim(-1, 1).float()
    assert segmentation_loss(logits, truth, Loss()).item() == pytest.approx(0, abs=1e-5)


def test_ignored_pixels_have_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    segmentation_loss(logits, TRUTH, Loss()).backward()
    assert logits.grad is not None
    assert logits.grad[..., 2].abs().max() == 0
    assert logits.grad[..., :2].abs().min() > 0


def test_a_batch_with_nothing_labelled_costs_nothing_and_breaks_nothing() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = segmentation_loss(logits, torch.full_like(TRUTH, IGNORE), Loss())
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_terms_are_summed_with_their_weights() -> None:
    both = segmentation_loss(LOGITS, TRUTH, Loss(cross_entropy=2, dice=0.5))
    expected = 2 * cross_entropy(LOGITS, TRUTH) + 0.5 * dice_loss(LOGITS, TRUTH)
    torch.testing.assert_close(both, expected)


def test_balance_goes_from_all_pixels_alike_to_all_categories_alike() -> None:
    pixels = np.array([90, 10])
    assert balancing_weights(pixels, 0).tolist() == [1, 1]
    torch.testing.assert_close(
        balancing_weights(pixels, 1) * torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    )
    weights = balancing_weights(pixels, 0.5)
    assert weights[1] / weights[0] == pytest.approx(3, rel=1e-5)


def test_a_category_without_a_pixel_gets_a_finite_weight() -> None:
    assert torch.isfinite(balancing_weights(np.array([100, 0]), 1)).all()
