"""What training minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from streetseg.config import Loss
from streetseg.labels import IGNORE


def segmentation_loss(logits: Tensor, categories: Tensor, params: Loss) -> Tensor:
    """The weighted sum of cross-entropy and Dice loss that the params ask for.

    Args:
        logits: float32[N, C, H, W].
        categories: int64[N, H, W] of category ids, or ``IGNORE``.
        params: the weights.
    """
    loss = logits.new_zeros(())
    if params.cross_entropy:
        loss = loss + params.cross_entropy * cross_entropy(logits, categories)
    if params.dice:
        loss = loss + params.dice * dice_loss(logits, categories)
    return loss


def cross_entropy(logits: Tensor, categories: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; 0 where all are."""
    labelled = (categories != IGNORE).sum().clamp(min=1)
    return F.cross_entropy(logits, categories, ignore_index=IGNORE, reduction="sum") / labelled


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
