"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from streetseg.config.params import Params, Train
from streetseg.core.atomic_files import ensure_replaceable, lock_destination, os_reason
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.memory import freed_memory_kept
from streetseg.core.progress import Throughput, track
from streetseg.core.signals import stop_requests
from streetseg.data.dataset import PreparedDataset
from streetseg.models.save import images_trained_on, save_artifact
from streetseg.tracking.metric_names import BEST_MIOU
from streetseg.tracking.record import Run, training_run
from streetseg.training.augmentation import augment_on_device
from streetseg.training.batch import Batch
from streetseg.training.checkpoint import Checkpoint, TrainingState
from streetseg.training.device import choose_device, training_forward, translate_torch_errors
from streetseg.training.distributed import World, process_group
from streetseg.training.initial_state import initial_state
from streetseg.training.loader import EpochBatches, training_loader
from streetseg.training.losses import category_weights, segmentation_loss
from streetseg.training.optimization import freeze_encoder, optimizer_step
from streetseg.training.precision import settle_precision
from streetseg.training.reporting import (
    category_table,
    held_out_line,
    log_epoch,
    log_predictions,
    print_best,
    status_line,
)
from streetseg.training.selection import HeldOutScores, score_held_out, split_for_selection


@dataclass(frozen=True)
class TrainedModel:
    """The result of a training."""

    artifact: Path
    run_id: str
    best_epoch: int
    selection_miou: float
    """mIoU over the categories on the held-out training frames, at prepared size."""


def train(
    params: Params,
    dataset: PreparedDataset,
    destination: Path,
    on_epoch: Callable[[int, float], None] | None = None,
    *,
    keep_checkpoint: bool = False,
) -> TrainedModel:
    """Train a network on the train split and write its best epoch as a model artifact.

    The best epoch is chosen on frames held out of the *train* split, so the evaluation split has no
    influence on it. A training that was stopped resumes from its checkpoint and ends with the same
    weights as one that was not. Under ``torchrun`` all processes train one network together.

    ``on_epoch`` is called with the number and held-out mIoU of each epoch; its exceptions end the
    training. ``keep_checkpoint`` writes the checkpoint at the start and at the end too, and leaves
    it: a later call with it writes the same model without training.

    Raises:
        StreetsegError: unknown network, unusable device, too few frames, out of memory, a loss that
            is not finite, a stop request, or a destination with other contents or in use.
    """
    ensure_replaceable(destination, "config.json")
    checkpoint = params.train.checkpoint
    outputs = [destination, *([Path(checkpoint)] if checkpoint and "://" not in checkpoint else [])]
    with (
        process_group() as world,
        _locked(outputs) if world.is_main_process else nullcontext(),
    ):
        return _train(params, dataset, destination, on_epoch, world, keep_checkpoint)


def _train(
    params: Params,
    dataset: PreparedDataset,
    destination: Path,
    on_epoch: Callable[[int, float], None] | None,
    world: World,
    keep_checkpoint: bool,
) -> TrainedModel:
    settings = params.train
    torch.manual_seed(settings.seed + world.rank)
    device = choose_device(settings.device, world.local_rank)
    rows, held_out = split_for_selection(dataset, settings.holdout_fraction, settings.max_frames)
    min_share = world.min_share(device)
    batches = EpochBatches(rows, settings.batch_size, settings.seed, world, min_share)
    loader = training_loader(dataset, batches, settings.augment, settings.num_workers)
    pixels = dataset.category_pixels(rows)
    weights = category_weights(pixels, settings.loss.class_weight_power).to(device)

    path = settings.checkpoint or destination.with_name(f"{destination.name}.checkpoint")
    checkpoint = Checkpoint(path, params, dataset, world)
    stored = checkpoint.load()
    state = initial_state(params, dataset, len(loader), device, world, resumed=stored is not None)
    if stored:
        checkpoint.restore(state, stored)
    settings = settle_precision(settings, device, state.cpu_precision)
    settled = {
        "prepare.size": list(dataset.size),
        "prepare.fit": dataset.fit,
        "train.precision": settings.precision,
    }
    params = params.override(settled | {"model.init_from": state.init_from})
    first_epoch = state.epoch
    scores: HeldOutScores | None = None
    best_scores: HeldOutScores | None = None
    total = Throughput(settings.epochs * len(loader), (first_epoch - 1) * len(loader) + state.step)

    with (
        open_run(params, dataset, state, world) as run,
        translate_torch_errors(settings, world.size),
        freed_memory_kept() if device.type == "cpu" else nullcontext(),
        stop_requests() as requests,
    ):
        if keep_checkpoint and not stored:
            checkpoint.save(state)
        for epoch in range(first_epoch, settings.epochs + 1):
            if epoch - state.best_epoch > settings.patience:
                world.print(f"no better since epoch {state.best_epoch}: stopped early")
                break

            state.model.train()
            frozen = 1 if epoch <= settings.freeze_epochs else 1 - settings.unfreeze
            freeze_encoder(state.model, frozen)
            if epoch in (first_epoch, settings.freeze_epochs + 1):
                forward = training_forward(state.model, settings, device, world)
            batches.begin(epoch, state.step)
            speed = Throughput(len(loader), state.step)
            status = partial(status_line, state, speed, total, settings.batch_size)
            gradient_norms = []

            for batch in progress_bar(loader, state, settings, status, scores, world):
                images, categories = augment_on_device(batch, device)
                loss = segmentation_loss(forward(images), categories, settings.loss, weights)
                (loss / batches_in_step(state.step, len(loader), settings)).backward()
                state.losses.append(loss.detach())
                state.step += 1
                speed.done, total.done = state.step, total.done + 1
                if state.step % settings.accumulation_steps == 0 or state.step == len(loader):
                    gradient_norms.append(optimizer_step(state, settings))
                    checkpoint_if_due(checkpoint, state, requests, batches, dataset)

            require_finite(state, batches, dataset)
            speed.stop()
            loss_of = partial(segmentation_loss, params=settings.loss, weights=weights)
            scores = score_held_out(state.eval_model, dataset, held_out, settings, loss_of, world)
            state.miou = scores.miou
            world.print(f"epoch {epoch}/{settings.epochs}  {status()}\n{held_out_line(scores)}")
            with checkpoint.save_on_error(state):
                if run:
                    frames_per_second = speed.rate * settings.batch_size
                    log_epoch(run, state, scores, gradient_norms, frames_per_second)
                    log_predictions(run, state, dataset, held_out[:3])
            if state.improved:
                state.keep_best()
                best_scores = scores
            if on_epoch:
                on_epoch(epoch, state.miou)
            state.begin_next_epoch()
            checkpoint_if_due(checkpoint, state, requests, batches, dataset)

        with checkpoint.save_on_error(state):
            if run:
                run.log(state.best_epoch, {BEST_MIOU: state.best_miou})
        if keep_checkpoint:
            checkpoint.save(state)
        if run:
            save_best(state, dataset, params, destination)
            print_best(best_scores, state.best_epoch)
            if not keep_checkpoint:
                checkpoint.remove()
    run_id, *_ = world.gather(state.run_id)  # waits for the artifact
    return TrainedModel(destination, run_id, state.best_epoch, state.best_miou)


@contextmanager
def _locked(outputs: Sequence[Path]) -> Iterator[None]:
    """Lock each path, so that no two trainings write one of them."""
    with ExitStack() as locks:
        for path in outputs:
            try:
                locks.enter_context(lock_destination(path))
            except OSError as error:
                raise StreetsegError(
                    f"cannot write {path}: {os_reason(error)}: name another path"
                ) from None
        yield


@contextmanager
def open_run(
    params: Params, dataset: PreparedDataset, state: TrainingState, world: World
) -> Iterator[Run | None]:
    """The MLflow run of the training, new or resumed; None in all but the main process."""
    if not world.is_main_process:
        yield None
        return
    with training_run(params, dataset, state.run_id) as run:
        state.run_id = run.id
        yield run


def progress_bar(
    loader: DataLoader[Batch],
    state: TrainingState,
    settings: Train,
    status: Callable[[], str],
    scores: HeldOutScores | None,
    world: World,
) -> Iterator[Batch]:
    """The batches of an epoch that are not done yet, with a progress bar in the main process.

    Below the bar stand the ``scores`` of the epoch before.
    """
    return track(
        loader,
        total=len(loader) - state.step,
        description=f"epoch {state.epoch}/{settings.epochs}",
        transient=True,
        status=status,
        below=category_table(scores),
        shown=world.is_main_process,
    )


def batches_in_step(done: int, batches: int, settings: Train) -> int:
    """The number of batches in the optimizer step in progress; the last step may have fewer."""
    first = done - done % settings.accumulation_steps
    return min(settings.accumulation_steps, batches - first)


def checkpoint_if_due(
    checkpoint: Checkpoint,
    state: TrainingState,
    requests: list[str],
    batches: EpochBatches,
    dataset: PreparedDataset,
) -> None:
    """Save the state when due or on a stop request in any process; a stop raises StoppedError."""
    stop, due = checkpoint.world.any(bool(requests), checkpoint.due)
    if stop or due:
        require_finite(state, batches, dataset)
        checkpoint.save(state)
    if stop:
        raise StoppedError(
            f"stopped by {requests[0] if requests else 'another process'} in epoch {state.epoch} "
            f"after batch {state.step}: run the same command to resume from {checkpoint.path}"
        )


def require_finite(state: TrainingState, batches: EpochBatches, dataset: PreparedDataset) -> None:
    """Raise a StreetsegError if a weight or a loss is not finite, with the frames of its batch."""
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


def save_best(
    state: TrainingState, dataset: PreparedDataset, params: Params, destination: Path
) -> None:
    """Write the weights of the best epoch as a model artifact."""
    assert state.run_id is not None
    state.model.load_state_dict(state.best_weights)
    save_artifact(
        state.model.cpu().eval(),
        dataset,
        params,
        destination,
        run_id=state.run_id,
        epoch=state.best_epoch,
        trained_on=images_trained_on(dataset, state.inherited),
    )
