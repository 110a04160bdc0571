"""How weights move: which do, the optimiser, its learning rates, and the average kept of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from streetseg.config import Train
from streetseg.models import SegmentationModel

POLY_POWER = 0.9
"""Of the poly schedule (Chen et al., DeepLab, 2017, section 4.1.3)."""


def build_optimizer(model: SegmentationModel, recipe: Train) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019), the encoder with a learning rate of its own."""
    encoder = list(model.encoder.parameters())
    known = set(encoder)
    rest = [parameter for parameter in model.parameters() if parameter not in known]
    groups = [
        {"params": encoder, "lr": recipe.learning_rate * recipe.encoder_rate},
        {"params": rest, "lr": recipe.learning_rate},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], weight_decay=recipe.weight_decay
    )


def freeze(model: SegmentationModel, share: float) -> None:
    """Put ``model`` in training mode, but for a share of its encoder's layers from the input on.

    Frozen layers keep their weights and, if they normalise batches, their statistics, as a layer
    that is not trainable does in Keras.
    """
    model.train()
    layers = [
        layer
        for layer in model.encoder.modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]
    frozen = round(share * len(layers))
    for number, layer in enumerate(layers):
        layer.training = number >= frozen
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad = number >= frozen


def build_schedule(optimizer: torch.optim.Optimizer, recipe: Train, steps: int) -> LambdaLR:
    """Learning rates that rise linearly for ``recipe.warmup`` of the steps, then fall to 0.

    The fall is half a cosine (Loshchilov and Hutter, SGDR, 2017, eq. 5, without restarts) or
    ``(1 - share of the steps)^0.9`` (poly).
    """
    warmup = max(1, round(recipe.warmup * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        if recipe.schedule == "poly":
            return (1 - done) ** POLY_POWER
        return 0.5 * (1 + float(np.cos(np.pi * done)))

    return LambdaLR(optimizer, factor)


def build_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of the weights, buffers included; None for a decay of 0."""
    if decay == 0:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
