"""Choosing the epoch that is kept: on frames of the train split that are not trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.metrics.confusion import category_miou, confusion_matrix
from streetseg.models.build import SegmentationModel
from streetseg.training.distributed import ALONE, World


def split_for_selection(dataset: PreparedDataset, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Split the train rows into those to learn from and those to choose the checkpoint on.

    The last frames of each city are held out: names follow the drive, so what is held out is a
    stretch of road of its own rather than the neighbours of frames that were trained.

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
    model: SegmentationModel,
    dataset: PreparedDataset,
    rows: np.ndarray,
    batch_size: int,
    forward: Callable[[Tensor], Tensor],
    world: World = ALONE,
) -> float:
    """Mean IoU over categories of ``model`` on ``rows``, at prepared size.

    Each process looks at its fraction of the rows; all get the score of the whole, which is 0 if no
    pixel of the rows is labelled.

    Args:
        model: the network.
        dataset: where the frames are.
        rows: int64[n], those to look at.
        batch_size: frames that are looked at together.
        forward: ``model``, in the precision to use.
        world: the processes that share the rows.
    """
    world.broadcast(*model.buffers())
    rows = rows[world.rank :: world.size]
    device = model.mean.device
    size = len(dataset.labels.categories)
    confusion = np.zeros((size, size), np.int64)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            images = torch.from_numpy(np.stack([dataset.image(row) for row in batch]))
            predicted = forward(images.to(device)).argmax(dim=1).to(torch.uint8).cpu().numpy()
            truth = np.stack([dataset.categories(row) for row in batch])
            confusion += confusion_matrix(truth, predicted)[:size, :size]  # but for ``IGNORE``
    return float(np.nan_to_num(category_miou(world.sum(confusion))))
