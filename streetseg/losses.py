"""What training minimises."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streetseg.config import Loss
from streetseg.labels import IGNORE


def segmentation_loss(
    logits: Tensor, categories: Tensor, params: Loss, weights: Tensor | None = None
) -> Tensor:
    """The weighted sum of cross-entropy and Dice loss that the params ask for.

    Args:
        logits: float32[N, C, H, W].
        categories: int64[N, H, W] of category ids, or ``IGNORE``.
        params: the weights of the terms.
        weights: float32[C], the weight of each category in the cross-entropy; None for 1.
    """
    loss = logits.new_zeros(())
    if params.cross_entropy:
        loss = loss + params.cross_entropy * cross_entropy(logits, categories, weights)
    if params.dice:
        loss = loss + params.dice * dice_loss(logits, categories)
    return loss


def cross_entropy(logits: Tensor, categories: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; 0 where all are.

    With ``weights`` float32[C] each pixel counts as much as its category's weight.
    """
    if weights is None:
        weights = logits.new_ones(logits.shape[1])
    labelled = categories != IGNORE
    total = weights[categories[labelled]].sum()
    loss = F.cross_entropy(logits, categories, weights, ignore_index=IGNORE, reduction="sum")
    return loss / total.clamp(min=1)


def balancing_weights(pixels: np.ndarray, balance: float) -> Tensor:
    """Weights that make rare categories count more: float32[C], 1 for the average pixel.

    Args:
        pixels: int64[C], how many pixels each category has in the training frames.
        balance: 0 for equal weights, 1 for weights inverse to the share of pixels.
    """
    shares = np.maximum(pixels / pixels.sum(), 1e-4)
    weights = shares**-balance
    return torch.from_numpy(weights / (weights * shares).sum()).float()


def dice_loss(logits: Tensor, categories: Tensor) -> Tensor:
    """One minus the soft Dice score of the batch, averaged over the categories present in it.

    Dice over the pixels of the whole batch, as in Milletari et al., V-Net (2016), eq. 2, with
    plain sums in the denominator.
    """
    labelled = categories != IGNORE
    probability = logits.softmax(dim=1) * labelled.unsqueeze(1)
    truth = F.one_hot(categories.where(labelled, 0), logits.shape[1]).movedim(-1, 1)
    truth = truth * labelled.unsqueeze(1)
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    size_of_truth = truth.sum(dim=(0, 2, 3))
    dice = 2 * overlap / (probability.sum(dim=(0, 2, 3)) + size_of_truth).clamp(min=1)
    present = size_of_truth > 0
    return torch.where(present, 1 - dice, 0).sum() / present.sum().clamp(min=1)
