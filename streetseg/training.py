"""Training: one loop, read from top to bottom."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from streetseg.artifact import save_artifact
from streetseg.augment import recolor
from streetseg.checkpoint import Checkpoint, TrainingState, stop_requests
from streetseg.config import Params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.loading import Batch, training_loader
from streetseg.losses import balancing_weights, segmentation_loss
from streetseg.metrics import category_miou, confusion_matrix
from streetseg.models import SegmentationModel, build_model
from streetseg.optimization import build_average, build_optimizer, build_schedule
from streetseg.pictures import prediction_panel
from streetseg.progress import track
from streetseg.tracking import training_run


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
    it had been left alone.

    Args:
        params: the recipe.
        dataset: what to train on.
        destination: the folder of the artifact.
        on_epoch: told the number of each epoch that ends and its mIoU on the held-out frames; what
            it raises ends the training.

    Raises:
        StreetsegError: unknown network, no such device, too few frames, a loss that is not finite,
            or a request to stop.
    """
    recipe = params.train
    torch.manual_seed(recipe.seed)
    device = _device(recipe.device)
    precision = _precision(recipe.precision, device)
    rows, held_out = split_for_selection(dataset, recipe.selection_share)
    loader = training_loader(
        dataset,
        rows,
        augment=recipe.augment,
        batch_size=recipe.batch_size,
        workers=recipe.loader_workers,
        seed=recipe.seed,
    )
    model = build_model(params.model, len(dataset.labels.categories))
    model = model.to(device).to(memory_format=torch.channels_last)
    forward = torch.compile(model) if recipe.compile else model
    pixels = dataset.index.iloc[rows][[f"pixels_{name}" for name in dataset.labels.names]].sum()
    weights = balancing_weights(pixels.to_numpy(), recipe.loss.balance).to(device)
    optimizer = build_optimizer(model, recipe)
    updates = recipe.epochs * math.ceil(len(loader) / recipe.accumulate)
    schedule = build_schedule(optimizer, recipe, updates)
    state = TrainingState(model, optimizer, schedule, build_average(model, recipe.ema))
    judged = cast(SegmentationModel, state.average.module) if state.average else model
    beside = destination.with_name(f"{destination.name}.checkpoint")
    checkpoint = Checkpoint(recipe.checkpoint or beside, params, dataset)
    if checkpoint.restore(state):
        print(f"going on from epoch {state.epoch}, batch {state.step}", file=sys.stderr)

    with training_run(params, dataset, state.run_id) as run, stop_requests() as requests:
        state.run_id = run.id
        while state.epoch <= recipe.epochs and state.epoch - state.best_epoch <= recipe.patience:
            began, first = time.monotonic(), state.step
            loader.sampler.begin(state.epoch, first * recipe.batch_size)  # type: ignore[attr-defined]
            model.train()
            for images, categories, colors in track(
                loader,
                total=len(loader) - first,
                description=f"epoch {state.epoch}",
                transient=True,
            ):
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    logits = forward(recolor(images.to(device), colors.to(device)))
                loss = segmentation_loss(logits, categories.to(device).long(), recipe.loss, weights)
                (loss / recipe.accumulate).backward()
                state.losses.append(loss.detach())
                state.step += 1
                if state.step % recipe.accumulate and state.step < len(loader):
                    continue
                if recipe.gradient_clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                schedule.step()
                if state.average:
                    state.average.update_parameters(model)
                if requests or checkpoint.due:
                    _require_finite(state, loader, dataset)
                    checkpoint.save(state)
                if requests:
                    raise StreetsegError(
                        f"stopped by {requests[0]} in epoch {state.epoch} after batch "
                        f"{state.step}: the same command goes on from {checkpoint.path}"
                    )

            _require_finite(state, loader, dataset)
            speed = (state.step - first) * recipe.batch_size / (time.monotonic() - began)
            mean_loss = float(torch.stack(state.losses).mean())
            miou = selection_miou(judged, dataset, held_out, recipe.batch_size)
            run.log(
                state.epoch,
                loss=mean_loss,
                selection_miou=miou,
                learning_rate=float(schedule.get_last_lr()[-1]),
                frames_per_second=speed,
            )
            print(
                f"epoch {state.epoch}/{recipe.epochs}  loss {mean_loss:.3f}  "
                f"held-out mIoU {miou:.3f}  {speed:.1f} frames/s",
                file=sys.stderr,
            )
            if on_epoch:
                on_epoch(state.epoch, miou)
            if miou > state.best_miou or not state.best_weights:
                state.best_miou, state.best_epoch = miou, state.epoch
                state.best_weights = copy.deepcopy(judged.state_dict())
                run.picture(
                    f"epoch_{state.epoch:03d}", prediction_panel(judged, dataset, held_out[:3])
                )
            state.epoch, state.step, state.losses = state.epoch + 1, 0, []

        if state.epoch <= recipe.epochs:
            print(f"no better since epoch {state.best_epoch}: stopped early", file=sys.stderr)
        model.load_state_dict(state.best_weights)
        artifact = save_artifact(
            model.cpu().eval(), dataset, params, destination, run_id=run.id, epoch=state.best_epoch
        )
        run.log(state.best_epoch, best_selection_miou=state.best_miou)
    checkpoint.remove()
    return TrainedModel(artifact, run.id, state.best_epoch, state.best_miou)


def _require_finite(
    state: TrainingState, loader: DataLoader[Batch], dataset: PreparedDataset
) -> None:
    """Stop at a loss that is no number, and say of which frames it is."""
    wrong = (~torch.isfinite(torch.stack(state.losses))).nonzero()
    if not len(wrong):
        return
    batch = int(wrong[0])
    rows = loader.sampler.rows_of(state.epoch, batch, loader.batch_size)  # type: ignore[attr-defined]
    raise StreetsegError(
        f"the loss is {float(state.losses[batch])} in epoch {state.epoch}, batch {batch + 1} "
        f"({', '.join(dataset.index['frame'].iloc[rows])}): look at these frames, or lower "
        f"train.learning_rate"
    )


def split_for_selection(dataset: PreparedDataset, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split the train rows into those to learn from and those to choose the checkpoint on.

    The last frames of each city are held out: names follow the drive, so what is held out is a
    stretch of road of its own rather than the neighbours of frames that were learnt.

    Returns:
        Row numbers int64[n] to learn from and int64[m] held out, both at least one.
    """
    train = dataset.index.iloc[dataset.rows("train")]
    position = train.groupby("city").cumcount(ascending=False)
    count = train.groupby("city")["city"].transform("size")
    held = (position < np.ceil(count * share)) & (count > 1)
    if not held.any():
        raise StreetsegError(
            f"{dataset.path} has one train frame per city: at least two are needed, one of them "
            "to choose the checkpoint on"
        )
    return train.index[~held].to_numpy(), train.index[held].to_numpy()


def selection_miou(
    model: SegmentationModel, dataset: PreparedDataset, rows: np.ndarray, batch_size: int
) -> float:
    """Mean IoU over categories of ``model`` on ``rows``, at prepared size."""
    device = model.mean.device
    size = len(dataset.labels.categories)
    confusion = np.zeros((size, size), np.int64)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            images = torch.from_numpy(np.stack([dataset.image(row) for row in batch]))
            predicted = model(images.to(device)).argmax(dim=1).to(torch.uint8).cpu().numpy()
            truth = np.stack([dataset.categories(row) for row in batch])
            confusion += confusion_matrix(truth, predicted, size)
    return category_miou(confusion)


def _precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 where it is faster: on GPUs that compute in it."""
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise StreetsegError(f"train.device = '{name}' cannot be used: {reason}") from None
