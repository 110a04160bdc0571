"""The loss functions of training.

Every loss takes logits float[N, C, H, W], casts half precision to float32, and takes categories
int64[N, H, W] of ids or ``IGNORE``. It returns a scalar over the batch of all processes: 0 if no
pixel is labelled.

``segmentation_models_pytorch.losses`` are not used: ``DiceLoss`` and ``TverskyLoss`` count a class
that is absent from the batch as perfect, ``SoftCrossEntropyLoss`` averages over ignored pixels too,
the multiclass ``FocalLoss`` is one-vs-all by sigmoid, and under DDP each averages per process.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streetseg.config.params import Loss
from streetseg.data.labels import IGNORE
from streetseg.training.distributed import all_reduce_sum

EPS = 1e-6
"""Keeps quotients and roots finite."""


def segmentation_loss(
    logits: Tensor, categories: Tensor, params: Loss, weights: Tensor | None = None
) -> Tensor:
    """Weighted sum of the losses; ``weights`` float32[C] weigh the cross-entropy, None for 1."""
    batch = _float32(logits), categories
    alpha, beta = params.tversky_alpha, params.tversky_beta
    terms = {
        "cross_entropy": lambda: cross_entropy(
            *batch, weights, params.label_smoothing, params.ohem_share
        ),
        "focal": lambda: focal_loss(*batch, params.focal_gamma),
        "bce": lambda: bce_loss(*batch),
        "dice": lambda: dice_loss(*batch),
        "jaccard": lambda: jaccard_loss(*batch),
        "tversky": lambda: tversky_loss(*batch, alpha, beta),
        "focal_tversky": lambda: focal_tversky_loss(
            *batch, alpha, beta, params.focal_tversky_gamma
        ),
    }
    weighted = ((getattr(params, name), term) for name, term in terms.items())
    return sum((weight * term() for weight, term in weighted if weight), batch[0].new_zeros(()))


def category_weights(pixels: np.ndarray, power: float) -> Tensor:
    """Weights of the categories: float32[C], 1 for the average pixel.

    Proportional to the category's fraction of the training ``pixels`` int64[C], to ``-power``.
    """
    fractions = np.maximum(pixels / pixels.sum(), 1e-4)
    weights = fractions**-power
    return torch.from_numpy(weights / (weights * fractions).sum()).float()


def cross_entropy(
    logits: Tensor,
    categories: Tensor,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ohem_share: float = 1.0,
) -> Tensor:
    """Mean cross-entropy over the labelled pixels, or over the hardest fraction of them.

    Args:
        weights: float32[C]: each pixel counts as much as its category's weight; None for 1.
        label_smoothing: fraction of the truth that is spread evenly over all categories (Szegedy et
            al., Rethinking the Inception Architecture, 2016, section 7).
        ohem_share: fraction of each process's labelled pixels that count: those with the highest
            unweighted loss (online hard example mining, Shrivastava et al., 2016).
    """
    logits, labelled = _float32(logits), categories != IGNORE
    losses = F.cross_entropy(
        logits, categories, ignore_index=IGNORE, reduction="none", label_smoothing=label_smoothing
    )
    counts = labelled.to(logits.dtype)
    if weights is not None:
        counts = counts * weights[categories.where(labelled, 0)]
    if ohem_share < 1:
        counts = counts * _hardest(losses, labelled, ohem_share)
    return _mean(losses * counts, counts)


def focal_loss(logits: Tensor, categories: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean of (1 - p)^gamma times the cross-entropy, p the probability of the true category.

    Lin et al., Focal Loss for Dense Object Detection (2017), eq. 4, with a softmax over the
    categories instead of the paper's sigmoid.
    """
    logits, labelled = _float32(logits), categories != IGNORE
    losses = F.cross_entropy(logits, categories, ignore_index=IGNORE, reduction="none")
    modulation = (-torch.expm1(-losses)).clamp(min=EPS) ** gamma
    return _mean(modulation * losses, labelled)


def bce_loss(logits: Tensor, categories: Tensor) -> Tensor:
    """Mean binary cross-entropy (sigmoid, one against all) over labelled pixels and categories."""
    logits = _float32(logits)
    truth, labelled = _one_hot(categories, logits)
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * labelled
    return _mean(losses, labelled.expand_as(losses))


def dice_loss(logits: Tensor, categories: Tensor) -> Tensor:
    """One minus the soft Dice score, averaged over the categories present in the batch.

    Dice is taken over all pixels of the batch, as in Milletari et al., V-Net (2016), eq. 2, with
    plain sums instead of squares in the denominator.
    """
    return tversky_loss(logits, categories, alpha=0.5, beta=0.5)


def jaccard_loss(logits: Tensor, categories: Tensor) -> Tensor:
    """One minus the soft Jaccard score (IoU), averaged over the categories present in the batch."""
    return tversky_loss(logits, categories, alpha=1, beta=1)


def tversky_loss(logits: Tensor, categories: Tensor, alpha: float, beta: float) -> Tensor:
    """One minus the Tversky index, averaged over the categories present in the batch.

    Salehi et al., Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional Deep
    Networks (2017), eq. 3, over all pixels of the batch. ``alpha`` weighs false positives and
    ``beta`` false negatives, as in this paper; other papers swap the two letters.
    """
    index, present = _tversky(logits, categories, alpha, beta)
    return _mean_over(present, 1 - index)


def focal_tversky_loss(
    logits: Tensor, categories: Tensor, alpha: float, beta: float, gamma: float
) -> Tensor:
    """Mean of (1 - Tversky index)^(1 / gamma) over the categories present in the batch.

    Abraham, Khan: A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion
    Segmentation (2019), eq. 4; ``alpha`` and ``beta`` as in `tversky_loss`.
    """
    index, present = _tversky(logits, categories, alpha, beta)
    return _mean_over(present, (1 - index).clamp(min=EPS) ** (1 / gamma))


def _tversky(
    logits: Tensor, categories: Tensor, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """Tversky index float[C] and presence bool[C] of each category, by soft pixel counts."""
    logits = _float32(logits)
    truth, labelled = _one_hot(categories, logits)
    probability = logits.softmax(dim=1) * labelled
    counts = [pixels.sum(dim=(0, 2, 3)) for pixels in (probability * truth, probability, truth)]
    hit, predicted, actual = all_reduce_sum(torch.stack(counts))
    # hit + alpha * (predicted - hit) + beta * (actual - hit), without differences of large numbers
    denominator = (1 - alpha - beta) * hit + alpha * predicted + beta * actual
    return hit / denominator.clamp(min=EPS), actual > 0


def _mean(losses: Tensor, counts: Tensor) -> Tensor:
    total, number = all_reduce_sum(torch.stack([losses.sum(), counts.sum().to(losses.dtype)]))
    return total / number.clamp(min=EPS)


def _mean_over(present: Tensor, losses: Tensor) -> Tensor:
    return torch.where(present, losses, 0).sum() / present.sum().clamp(min=1)


def _hardest(losses: Tensor, labelled: Tensor, fraction: float) -> Tensor:
    """The labelled pixels with the highest losses, at least one: bool[N, H, W]."""
    order = losses.detach().where(labelled, -1).flatten().argsort(descending=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return (rank < (fraction * labelled.sum()).round().clamp(min=1)).view_as(labelled)


def _one_hot(categories: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Truth [N, C, H, W] and labelled [N, 1, H, W], both 0 or 1, in the type of the logits."""
    labelled = categories != IGNORE
    truth = F.one_hot(categories.where(labelled, 0), logits.shape[1]).movedim(-1, 1)
    labelled = labelled.unsqueeze(1)
    return (truth * labelled).to(logits.dtype), labelled.to(logits.dtype)


def _float32(logits: Tensor) -> Tensor:
    """The logits in float32; float64 stays."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
