"""Training: one loop, read from top to bottom."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from streetseg.config.params import Params
from streetseg.core.atomic_files import ensure_replaceable, lock_destination
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.progress import Throughput, track
from streetseg.core.signals import stop_requests
from streetseg.data.dataset import PreparedDataset
from streetseg.models.build import SegmentationModel
from streetseg.models.save import frames_learnt, save_artifact
from streetseg.tracking.record import Run, training_run
from streetseg.training.augmentation import augment_on_device
from streetseg.training.checkpoint import Checkpoint, TrainingState
from streetseg.training.device import choose_device, forward_pass, in_precision, memory_advice
from streetseg.training.distributed import World, process_group
from streetseg.training.initial_state import initial_state
from streetseg.training.loader import EpochBatches, training_loader
from streetseg.training.losses import balancing_weights, segmentation_loss
from streetseg.training.optimization import optimizer_step, set_trainable
from streetseg.training.preview import prediction_panel
from streetseg.training.selection import selection_miou, split_for_selection


@dataclass(frozen=True)
class TrainedModel:
    """What training leaves."""

    artifact: Path
    run_id: str
    best_epoch: int
    selection_miou: float
    """mIoU over the categories of the held-out training frames, at prepared size."""


def train(
    params: Params,
    dataset: PreparedDataset,
    destination: Path,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainedModel:
    """Train a network on the train split and write the best epoch as a model artifact.

    The best epoch is chosen on frames held out of the *train* split, so that the evaluation split
    has no part in it. A training that was stopped goes on where it was, to the same weights as if
    it had been left alone. Under ``torchrun`` its processes train together.

    Args:
        params: the recipe.
        dataset: what to train on.
        destination: the folder of the artifact.
        on_epoch: told the number of each epoch that ends and its mIoU on the held-out frames; what
            it raises ends the training.

    Raises:
        StreetsegError: unknown network, no such device, too few frames, too little memory, a loss
            that is not finite, a request to stop, or the destination is something else or another
            process is training it.
    """
    ensure_replaceable(destination, "config.json")
    with (
        process_group() as world,
        lock_destination(destination) if world.is_main_process else nullcontext(),
    ):
        return _train(params, dataset, destination, on_epoch, world)


def _train(
    params: Params,
    dataset: PreparedDataset,
    destination: Path,
    on_epoch: Callable[[int, float], None] | None,
    world: World,
) -> TrainedModel:
    recipe = params.train
    torch.manual_seed(recipe.seed + world.rank)
    device = choose_device(recipe.device, world.local_rank)
    rows, held_out = split_for_selection(dataset, recipe.holdout_fraction)
    batches = EpochBatches(rows, recipe.batch_size, recipe.seed, world)
    loader = training_loader(dataset, batches, recipe.augment, recipe.num_workers)
    beside = destination.with_name(f"{destination.name}.checkpoint")
    checkpoint = Checkpoint(recipe.checkpoint or beside, params, dataset, world)
    stored = checkpoint.load()
    state = initial_state(params, dataset, len(loader), device, world, resumed=stored is not None)
    if stored:
        checkpoint.restore(state, stored)
        if world.is_main_process:
            print(f"going on from epoch {state.epoch}, batch {state.step}", file=sys.stderr)
    params = params.override(
        {"prepare.size": list(dataset.size), "model.init_from": state.init_from}
    )
    model = state.model
    judged = cast(SegmentationModel, state.average.module) if state.average else model
    pixels = dataset.index.iloc[rows][[f"pixels_{name}" for name in dataset.labels.names]].sum()
    weights = balancing_weights(pixels.to_numpy(), recipe.loss.class_weight_power).to(device)
    forward: Callable[..., Tensor] = model
    whole = Throughput(recipe.epochs * len(loader), (state.epoch - 1) * len(loader) + state.step)
    speed = Throughput(len(loader), state.step)

    def learn(images: Tensor, categories: Tensor) -> Tensor:
        loss = segmentation_loss(forward(images), categories, recipe.loss, weights)
        before = state.step - state.step % recipe.accumulation_steps
        (loss / min(recipe.accumulation_steps, len(loader) - before)).backward()
        return loss.detach()

    def attempt(frames: int) -> None:
        blank = torch.zeros(frames, *(recipe.augment.crop or dataset.size), 3, device=device)
        learn(blank, blank[..., 0].long())
        optimizer_step(state, recipe)

    def how_it_goes() -> str:
        miou = f"{state.miou:.3f}" if state.miou >= 0 else "-"
        return (
            f"loss {state.mean_loss:.3f}  held-out mIoU {miou}  "
            f"{speed.rate * recipe.batch_size:.1f} frames/s  {whole.left} left"
        )

    def keep_or_stop() -> None:
        stop, due = world.any(bool(requests), checkpoint.due)
        if stop or due:
            _require_finite(state, batches, dataset)
            checkpoint.save(state)
        if stop:
            raise StoppedError(
                f"stopped by {requests[0] if requests else 'another process'} in epoch "
                f"{state.epoch} after batch {state.step}: the same command goes on from "
                f"{checkpoint.path}"
            )

    with (
        training_run(params, dataset, state.run_id)
        if world.is_main_process
        else nullcontext(Run("")) as run,
        memory_advice(recipe, attempt if world.size == 1 else None),
        stop_requests() as requests,
    ):
        state.run_id, began = run.id, state.epoch
        while state.epoch <= recipe.epochs and state.epoch - state.best_epoch <= recipe.patience:
            set_trainable(model, 1 if state.epoch <= recipe.freeze_epochs else 1 - recipe.unfreeze)
            if state.epoch in (began, recipe.freeze_epochs + 1):
                forward = forward_pass(model, recipe, device, world)
            batches.begin(state.epoch, state.step)
            speed = Throughput(len(loader), state.step)
            for batch in track(
                loader,
                total=len(loader) - state.step,
                description=f"epoch {state.epoch}/{recipe.epochs}",
                transient=True,
                status=how_it_goes,
                shown=world.is_main_process,
            ):
                state.losses.append(learn(*augment_on_device(batch, device)))
                state.step += 1
                speed.done, whole.done = state.step, whole.done + 1
                if state.step % recipe.accumulation_steps == 0 or state.step == len(loader):
                    optimizer_step(state, recipe)
                    keep_or_stop()

            _require_finite(state, batches, dataset)
            speed.stop()
            look = in_precision(judged, recipe, device)
            state.miou = selection_miou(judged, dataset, held_out, recipe.batch_size, look, world)
            better = state.miou > state.best_miou
            if world.is_main_process:
                print(f"epoch {state.epoch}/{recipe.epochs}  {how_it_goes()}", file=sys.stderr)
            with checkpoint.save_on_error(state):
                if world.is_main_process:
                    run.log(
                        state.epoch,
                        loss=state.mean_loss,
                        selection_miou=state.miou,
                        learning_rate=float(state.schedule.get_last_lr()[-1]),
                        frames_per_second=speed.rate * recipe.batch_size,
                    )
                    if better:
                        panel = prediction_panel(judged, dataset, held_out[:3])
                        run.picture(f"epoch_{state.epoch:03d}", panel)
            if better:
                state.best_miou, state.best_epoch = state.miou, state.epoch
                state.best_weights = copy.deepcopy(judged.state_dict())
            if on_epoch:
                on_epoch(state.epoch, state.miou)
            state.epoch, state.step, state.losses = state.epoch + 1, 0, []
            keep_or_stop()

        with checkpoint.save_on_error(state):
            if world.is_main_process:
                run.log(state.best_epoch, best_selection_miou=state.best_miou)
        if world.is_main_process:
            if state.epoch <= recipe.epochs:
                print(f"no better since epoch {state.best_epoch}: stopped early", file=sys.stderr)
            model.load_state_dict(state.best_weights)
            save_artifact(
                model.cpu().eval(),
                dataset,
                params,
                destination,
                run_id=run.id,
                epoch=state.best_epoch,
                trained_on=frames_learnt(dataset, state.inherited),
            )
            checkpoint.remove()
    run_id, *_ = world.gather(run.id)  # after the first process has written the artifact
    return TrainedModel(destination, run_id, state.best_epoch, state.best_miou)


def _require_finite(state: TrainingState, batches: EpochBatches, dataset: PreparedDataset) -> None:
    """Stop at a loss that is no number, and say of which frames it is; likewise at such weights."""
    if state.losses and len(wrong := (~torch.isfinite(torch.stack(state.losses))).nonzero()):
        batch = int(wrong[0])
        frames = dataset.index["frame"].iloc[batches.rows_of(state.epoch, batch)]
        raise StreetsegError(
            f"the loss is {float(state.losses[batch])} in epoch {state.epoch}, batch {batch + 1} "
            f"({', '.join(frames)}): look at these frames, or lower train.learning_rate"
        )
    if not all(bool(weights.isfinite().all()) for weights in state.model.parameters()):
        raise StreetsegError(
            f"weights are no longer finite in epoch {state.epoch} after batch {state.step}: lower "
            "train.learning_rate, or set train.gradient_clip"
        )
