"""How weights move: the optimiser, its learning rates, and the average that is kept of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from streetseg.config import Train

POLY_POWER = 0.9
"""Of the poly schedule (Chen et al., DeepLab, 2017, section 4.1.3)."""


def build_optimizer(model: nn.Module, recipe: Train) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019), the encoder with a learning rate of its own."""
    encoder: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (encoder if ".encoder." in f".{name}" else rest).append(parameter)
    groups = [
        {"params": encoder, "lr": recipe.learning_rate * recipe.encoder_rate},
        {"params": rest, "lr": recipe.learning_rate},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], weight_decay=recipe.weight_decay
    )


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
