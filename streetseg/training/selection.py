"""Choosing the best epoch on frames held out of the train split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from streetseg.config.params import Train
from streetseg.core.errors import StreetsegError
from streetseg.core.sampling import evenly_spaced
from streetseg.data.dataset import PreparedDataset
from streetseg.metrics.confusion import category_iou, confusion_matrix, mean_iou
from streetseg.models.build import SegmentationModel
from streetseg.training.device import with_autocast
from streetseg.training.distributed import ALONE, World


def split_for_selection(
    dataset: PreparedDataset, fraction: float, max_frames: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows of the train split into int64[n] to train on and int64[m] held out.

    The last frames of each city are held out; both parts have at least one row. Frame names follow
    the drive, so these are a separate stretch of road rather than neighbours of training frames.
    Images of one label stay together. Above 0, ``max_frames`` bounds n, and ``fraction`` of it m:
    frames are then left out evenly, in every city.

    Raises:
        StreetsegError: no city has two train frames, or no pixel of a part is labelled.
    """
    train = dataset.index.iloc[dataset.rows("train")]
    by_city = (train["label"] + train["label_hash"]).groupby(train["city"])
    labels_before = by_city.transform(lambda labels: pd.factorize(labels)[0])
    n_labels = by_city.transform("nunique")
    held_out = (n_labels - labels_before <= np.ceil(n_labels * fraction)) & (n_labels > 1)
    if not held_out.any():
        raise StreetsegError(
            f"{dataset.path} has one train frame per city: at least two are needed, one of them "
            "to choose the checkpoint on"
        )
    rows, held_out_rows = train.index[~held_out].to_numpy(), train.index[held_out].to_numpy()
    if max_frames:
        rows = rows[evenly_spaced(len(rows), max_frames)]
        n_held_out = max(1, round(max_frames * fraction))
        held_out_rows = held_out_rows[evenly_spaced(len(held_out_rows), n_held_out)]
    dataset.require_labelled(rows, "to train on")
    dataset.require_labelled(held_out_rows, "held out to choose the checkpoint on")
    return rows, held_out_rows


@dataclass(frozen=True)
class HeldOutScores:
    """How well a network does on the held-out frames, at prepared size."""

    loss: float
    """Mean over the frames, by the loss of the training; without augmentation."""
    miou: float
    """Mean over the categories that occur, 0 to 1; 0 if no pixel is labelled."""
    iou: dict[str, float]
    """IoU by category, 0 to 1; NaN for one that does not occur."""

    @property
    def known_iou(self) -> dict[str, float]:
        """The IoU of the categories that occur."""
        return {name: iou for name, iou in self.iou.items() if not math.isnan(iou)}


def score_held_out(
    model: SegmentationModel,
    dataset: PreparedDataset,
    rows: np.ndarray,
    settings: Train,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    world: World = ALONE,
) -> HeldOutScores:
    """Score a network on ``rows`` int64[n], and leave it in eval mode.

    Each process predicts its part of every batch. ``loss_of`` takes logits float[N, C, H, W] and
    categories int64[N, H, W] of the own part and returns the loss of the whole batch: float[].
    """
    world.broadcast(*model.buffers())
    device = model.mean.device
    n_categories = len(dataset.labels.names)
    confusion = np.zeros((n_categories, n_categories), np.int64)
    total = torch.zeros((), device=device)
    predict = with_autocast(model.eval(), settings, device)
    with torch.inference_mode():
        for start in range(0, len(rows), settings.batch_size):
            batch = rows[start : start + settings.batch_size]
            own = batch[world.rank :: world.size]
            truth = np.array([dataset.categories(row) for row in own], np.uint8)
            truth = truth.reshape(-1, *dataset.size)
            logits = torch.zeros(0, n_categories, *dataset.size, device=device)
            if len(own):
                images = torch.from_numpy(np.stack([dataset.image(row) for row in own]))
                logits = predict(images.to(device))
            total += len(batch) * loss_of(logits, torch.from_numpy(truth).to(device).long())
            predicted = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
            confusion += confusion_matrix(truth, predicted)[:n_categories, :n_categories]
    iou = category_iou(world.sum(confusion))
    return HeldOutScores(
        loss=float(total) / len(rows),
        miou=float(np.nan_to_num(mean_iou(iou))),
        iou=dict(zip(dataset.labels.names, iou.tolist(), strict=True)),
    )
