"""Predictions on held-out frames, logged by the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from streetseg.data.dataset import PreparedDataset
from streetseg.models.build import SegmentationModel
from streetseg.reports.drawing import colorize, write_text

HEADING = 22
"""Height in pixels of the column headings."""


def prediction_panel(
    model: SegmentationModel, dataset: PreparedDataset, rows: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Rows of frame, truth and prediction: uint8[H, W, 3]; leaves the model in eval mode."""
    model.eval()
    width = dataset.size[1]
    heading = np.full((HEADING, 3 * width, 3), 255, np.uint8)
    for column, name in enumerate(("frame", "truth", "prediction")):
        write_text(heading, name, (column * width + 6, HEADING - 7), (0, 0, 0))
    strips = [heading]
    for row in rows:
        image = np.array(dataset.image(row))
        with torch.inference_mode():
            logits = model(torch.from_numpy(image)[None].to(model.mean.device))
        predicted = logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
        truth = dataset.categories(row)
        masks = (colorize(ids, dataset.labels) for ids in (truth, predicted))
        strips.append(np.concatenate([image, *masks], axis=1))
    return np.concatenate(strips, axis=0)
