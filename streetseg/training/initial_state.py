"""What a training begins with."""

from __future__ import annotations

import math

import torch

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_trained_on
from streetseg.models.build import build_model, check_size
from streetseg.models.load import load_weights
from streetseg.registry.versions import artifact_folder, resolve_alias
from streetseg.training.checkpoint import TrainingState
from streetseg.training.distributed import ALONE, World
from streetseg.training.optimization import build_average, build_optimizer, build_schedule


def initial_state(
    params: Params,
    dataset: PreparedDataset,
    batches: int,
    device: torch.device,
    world: World = ALONE,
    resumed: bool = False,
) -> TrainingState:
    """The state before the first step.

    Args:
        params: the recipe.
        dataset: what to train on.
        batches: of an epoch.
        device: where the network is to be.
        world: the processes that train together.
        resumed: whether a checkpoint holds the weights, so that none need be had from elsewhere.

    Raises:
        StreetsegError: unknown network or model to begin with, or one that does not fit the frames.
    """
    recipe, start = params.train, None if resumed else params.model.init_from
    start = start and resolve_alias(start, params.registry)
    architecture = params.model
    if resumed or start:
        architecture = architecture.model_copy(update={"encoder_weights": "none"})
    model = build_model(architecture, len(dataset.labels.categories))
    inherited: set[str] | None = set()
    if start:
        artifact = artifact_folder(start, params.registry)
        load_weights(model, artifact, dataset.labels)
        inherited = read_trained_on(artifact)
    for size in {dataset.size, recipe.augment.crop or dataset.size}:
        check_size(model, size)
    model = world.sync_model(model.to(device)).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, recipe)
    updates = recipe.epochs * math.ceil(batches / recipe.accumulation_steps)
    schedule = build_schedule(optimizer, recipe, updates)
    return TrainingState(
        model,
        optimizer,
        schedule,
        build_average(model, recipe.ema),
        init_from=start,
        inherited=None if inherited is None else sorted(inherited),
    )
