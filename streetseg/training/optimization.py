"""How weights move: which do, the optimiser, its learning rates, and the average kept of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from streetseg.config.params import Train
from streetseg.core.errors import StreetsegError
from streetseg.models.build import SegmentationModel
from streetseg.training.checkpoint import TrainingState

POLY_POWER = 0.9
"""Of the poly schedule (Chen et al., DeepLab, 2017, section 4.1.3)."""
RATES = 12
"""How many learning rates the layers of an encoder share."""


def build_optimizer(model: SegmentationModel, recipe: Train) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019), the encoder with learning rates of its own.

    They rise geometrically from its first layer to its last, as in Bao et al., BEiT (2022). Biases
    and what scales a normalisation do not decay.
    """
    layers = _layers(model.encoder)
    shares: dict[nn.Parameter, float] = {}
    for number, layer in enumerate(layers):
        depth = number * RATES // len(layers) / (RATES - 1)
        for parameter in layer.parameters(recurse=False):
            shares[parameter] = recipe.encoder_lr_scale * recipe.layer_decay ** (1 - depth)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((shares.get(parameter, 1.0), decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": recipe.learning_rate * share, "weight_decay": decay}
            for (share, decay), parameters in groups.items()
        ]
    )


def _layers(encoder: nn.Module) -> list[nn.Module]:
    """The parts of an encoder that hold parameters of their own, from the input on."""
    return [
        layer
        for layer in encoder.modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]


def set_trainable(model: SegmentationModel, share: float) -> None:
    """Put ``model`` in training mode, but for a fraction of its encoder's layers from the input on.

    Frozen layers keep their weights and, if they normalise batches, their statistics, as a layer
    that is not trainable does in Keras.

    Raises:
        StreetsegError: the network has no encoder to freeze.
    """
    model.train()
    layers = _layers(model.encoder)
    if share and not layers:
        raise StreetsegError(
            "train.freeze_epochs and train.unfreeze apply to networks with an encoder, which this "
            "one has not"
        )
    frozen = round(share * len(layers))
    for number, layer in enumerate(layers):
        layer.training = number >= frozen
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad = number >= frozen


def build_schedule(optimizer: torch.optim.Optimizer, recipe: Train, steps: int) -> LambdaLR:
    """Learning rates that rise linearly for a ``warmup_fraction`` of the steps, then fall to 0.

    The fall is half a cosine (Loshchilov and Hutter, SGDR, 2017, eq. 5, without restarts) or
    ``(1 - fraction of the steps)^0.9`` (poly).
    """
    warmup = max(1, round(recipe.warmup_fraction * steps))

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


def optimizer_step(state: TrainingState, recipe: Train) -> None:
    """Let the weights follow the gradients, and forget these."""
    if recipe.gradient_clip:
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.gradient_clip)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.schedule.step()
    if state.average:
        state.average.update_parameters(state.model)
