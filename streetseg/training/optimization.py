"""Optimizer, learning-rate schedule, weight averaging, and freezing the encoder."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from streetseg.config.params import Train
from streetseg.core.errors import StreetsegError
from streetseg.models.build import SegmentationModel
from streetseg.training.checkpoint import TrainingState

POLY_POWER = 0.9
"""Exponent of the poly schedule (Chen et al., DeepLab, 2017, section 4.1.3)."""
LEARNING_RATES = 12
"""Number of distinct learning rates among the layers of an encoder."""


def build_optimizer(model: SegmentationModel, settings: Train) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019) with layer-wise learning rates in the encoder.

    They rise geometrically from its first layer to its last, as in Bao et al., BEiT (2022). Biases
    and normalisation parameters have no weight decay.
    """
    layers = _encoder_layers(model)
    scale_of: dict[nn.Parameter, float] = {}
    for number, layer in enumerate(layers):
        depth = number * LEARNING_RATES // len(layers) / (LEARNING_RATES - 1)
        for parameter in layer.parameters(recurse=False):
            scale_of[parameter] = settings.encoder_lr_scale * settings.layer_decay ** (1 - depth)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scale_of.get(parameter, 1.0), decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": settings.learning_rate * scale, "weight_decay": decay}
            for (scale, decay), parameters in groups.items()
        ]
    )


def _encoder_layers(model: SegmentationModel) -> list[nn.Module]:
    """The modules of the encoder that have parameters of their own, in order from the input."""
    return [
        layer
        for layer in model.encoder.modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]


def freeze_encoder(model: SegmentationModel, fraction: float) -> None:
    """Freeze a fraction of the encoder's layers, counted from the input, and unfreeze the rest.

    A frozen layer is put in eval mode, so that batch normalisation keeps its statistics. The mode
    of all other layers stays: call ``model.train()`` before.

    Raises:
        StreetsegError: the network has no encoder to freeze.
    """
    layers = _encoder_layers(model)
    if fraction and not layers:
        raise StreetsegError(
            "train.freeze_epochs and train.unfreeze apply only to networks with an encoder, and "
            "this one has none"
        )
    frozen = round(fraction * len(layers))
    for number, layer in enumerate(layers):
        if number < frozen:
            layer.training = False
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad = number >= frozen


def build_schedule(optimizer: torch.optim.Optimizer, settings: Train, steps: int) -> LambdaLR:
    """A linear warm-up over a ``warmup_fraction`` of the steps, then a decay to 0.

    The decay is half a cosine (Loshchilov and Hutter, SGDR, 2017, eq. 5, without restarts) or
    ``(1 - fraction of the steps)^0.9`` (poly).
    """
    warmup = max(1, round(settings.warmup_fraction * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        if settings.schedule == "poly":
            return (1 - progress) ** POLY_POWER
        return 0.5 * (1 + float(np.cos(np.pi * progress)))

    return LambdaLR(optimizer, factor)


def build_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of weights and buffers; None for a decay of 0."""
    if decay == 0:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def optimizer_step(state: TrainingState, settings: Train) -> Tensor:
    """Clip the gradients, update weights, learning rate and average, and clear the gradients.

    Returns the Euclidean norm of all gradients before they are clipped: float[].
    """
    parameters = [*state.model.parameters()]
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    if settings.gradient_clip:
        nn.utils.clip_grads_with_norm_(parameters, settings.gradient_clip, norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.schedule.step()
    if state.average:
        state.average.update_parameters(state.model)
    return norm
