"""Training: one loop, read from top to bottom."""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

from streetseg.artifact import save_artifact
from streetseg.augment import recolor
from streetseg.config import Params, Train
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.loading import training_loader
from streetseg.losses import balancing_weights, segmentation_loss
from streetseg.metrics import category_miou, confusion_matrix
from streetseg.models import SegmentationModel, build_model
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


def train(params: Params, dataset: PreparedDataset, destination: Path) -> TrainedModel:
    """Train a network on the train split and write the best checkpoint as a model artifact.

    The best checkpoint is chosen on frames held out of the *train* split, so that the evaluation
    split has no part in it.

    Raises:
        StreetsegError: unknown network, no such device, too few frames, or a loss that is not
            finite.
    """
    recipe = params.train
    torch.manual_seed(recipe.seed)
    device = _device(recipe.device)
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
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = warmup_cosine(optimizer, recipe, steps=recipe.epochs * len(loader))
    pixels = dataset.index.iloc[rows][[f"pixels_{name}" for name in dataset.labels.names]].sum()
    weights = balancing_weights(pixels.to_numpy(), recipe.loss.balance).to(device)
    best_miou, best_epoch, best_weights = -1.0, 0, model.state_dict()

    with training_run(params, dataset) as run:
        for epoch in range(1, recipe.epochs + 1):
            began, losses = time.monotonic(), []
            loader.sampler.epoch = epoch  # type: ignore[attr-defined]
            model.train()
            batches = track(loader, total=len(loader), description=f"epoch {epoch}", transient=True)
            for images, categories, colors in batches:
                logits = model(recolor(images.to(device), colors.to(device)))
                loss = segmentation_loss(logits, categories.to(device).long(), recipe.loss, weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())

            mean_loss = float(torch.stack(losses).mean())
            if not np.isfinite(mean_loss):
                raise StreetsegError(
                    f"the loss is {mean_loss} in epoch {epoch}: lower train.learning_rate "
                    f"({recipe.learning_rate:g})"
                )
            seconds = time.monotonic() - began
            miou = selection_miou(model, dataset, held_out, recipe.batch_size)
            run.log(
                epoch,
                loss=mean_loss,
                selection_miou=miou,
                learning_rate=float(schedule.get_last_lr()[0]),
                frames_per_second=len(rows) / seconds,
            )
            print(
                f"epoch {epoch}/{recipe.epochs}  loss {mean_loss:.3f}  "
                f"held-out mIoU {miou:.3f}  {len(rows) / seconds:.1f} frames/s",
                file=sys.stderr,
            )
            if miou > best_miou:
                best_miou, best_epoch = miou, epoch
                best_weights = copy.deepcopy(model.state_dict())
                run.picture(f"epoch_{epoch:03d}", prediction_panel(model, dataset, held_out[:3]))
            elif epoch - best_epoch >= recipe.patience:
                print(f"no better since epoch {best_epoch}: stopping early", file=sys.stderr)
                break

        model.load_state_dict(best_weights)
        artifact = save_artifact(
            model.cpu().eval(), dataset, params, destination, run_id=run.id, epoch=best_epoch
        )
        run.log(best_epoch, best_selection_miou=best_miou)
    return TrainedModel(artifact, run.id, best_epoch, best_miou)


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


def warmup_cosine(optimizer: torch.optim.Optimizer, recipe: Train, steps: int) -> LambdaLR:
    """A learning rate that rises linearly for ``recipe.warmup`` of the steps, then falls to 0.

    The fall is half a cosine (Loshchilov & Hutter, SGDR, 2017, eq. 5, without restarts).
    """
    warmup = max(1, round(recipe.warmup * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + np.cos(np.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

    return LambdaLR(optimizer, factor)


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


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise StreetsegError(f"train.device = '{name}' cannot be used: {reason}") from None
