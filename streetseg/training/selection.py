"""Choosing the best epoch on frames held out of the train split."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from streetseg.config.params import Train
from streetseg.core.errors import StreetsegError
from streetseg.core.sampling import evenly_spaced
from streetseg.data.dataset import PreparedDataset
from streetseg.metrics.confusion import category_miou, confusion_matrix
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


def selection_miou(
    model: SegmentationModel,
    dataset: PreparedDataset,
    rows: np.ndarray,
    settings: Train,
    world: World = ALONE,
) -> float:
    """Mean IoU over the categories, 0 to 1, on ``rows`` int64[n]; 0 if no pixel is labelled.

    At prepared size, over all processes, each of which predicts its part. The model is left in eval
    mode.
    """
    world.broadcast(*model.buffers())
    rows = rows[world.rank :: world.size]
    device = model.mean.device
    categories = len(dataset.labels.categories)
    confusion = np.zeros((categories, categories), np.int64)
    predict = with_autocast(model.eval(), settings, device)
    with torch.inference_mode():
        for start in range(0, len(rows), settings.batch_size):
            batch = rows[start : start + settings.batch_size]
            images = torch.from_numpy(np.stack([dataset.image(row) for row in batch]))
            predicted = predict(images.to(device)).argmax(dim=1).to(torch.uint8).cpu().numpy()
            truth = np.stack([dataset.categories(row) for row in batch])
            confusion += confusion_matrix(truth, predicted)[:categories, :categories]  # no IGNORE
    return float(np.nan_to_num(category_miou(world.sum(confusion))))
