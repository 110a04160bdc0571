"""The initial state of a training."""

from __future__ import annotations

import math

import torch

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_trained_on
from streetseg.models.build import build_model, check_size
from streetseg.models.load import load_weights
from streetseg.registry.versions import locate
from streetseg.training.checkpoint import TrainingState
from streetseg.training.distributed import ALONE, World
from streetseg.training.optimization import build_average, build_optimizer, build_schedule
from streetseg.training.precision import cpu_precision


def initial_state(
    params: Params,
    dataset: PreparedDataset,
    batches_per_epoch: int,
    device: torch.device,
    world: World = ALONE,
    resumed: bool = False,
) -> TrainingState:
    """Build model, optimizer, schedule and average for the first step.

    If ``resumed``, no weights are loaded, because a checkpoint will overwrite them.

    Raises:
        StreetsegError: unknown network or ``model.init_from``, or a model that does not fit the
            frames.
    """
    settings, start = params.train, None if resumed else params.model.init_from
    architecture = params.model
    if resumed or start:
        architecture = architecture.model_copy(update={"encoder_weights": "none"})
    model = build_model(architecture, len(dataset.labels.categories))
    inherited: set[str] | None = set()
    if start:
        start, artifact = locate(start, params.registry)
        load_weights(model, artifact, dataset.labels)
        inherited = read_trained_on(artifact)
    for size in {dataset.size, settings.augment.crop or dataset.size}:
        check_size(model, size)
    model = world.sync_model(model.to(device)).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, settings)
    pixels = settings.epochs * batches_per_epoch * settings.batch_size
    pixels *= math.prod(settings.augment.crop or dataset.size)
    measured = device.type == "cpu" and not resumed
    steps = settings.epochs * math.ceil(batches_per_epoch / settings.accumulation_steps)
    return TrainingState(
        model,
        optimizer,
        build_schedule(optimizer, settings, steps),
        build_average(model, settings.ema),
        init_from=start,
        inherited=None if inherited is None else sorted(inherited),
        cpu_precision=cpu_precision(model, settings, pixels, world) if measured else "float32",
    )
