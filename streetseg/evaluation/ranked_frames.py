"""The frames of an evaluation, ranked from best to worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.result import FrameScore
from streetseg.inference.segmenter import Segmenter


@dataclass(frozen=True)
class PredictedFrame:
    """A frame at prepared size; truth and prediction are category ids uint8[height, width]."""

    rank: int
    """0 for the best."""
    score: FrameScore
    rgb: np.ndarray
    """uint8[height, width, 3]."""
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class RankedFrames:
    """The scored frames, best first; each is predicted again when shown, to save memory."""

    model: Segmenter
    dataset: PreparedDataset
    rows: np.ndarray
    """int64[F], rows of the dataset."""
    scores: list[FrameScore]

    def predict(self, rank: int) -> PredictedFrame:
        """Predict a frame, 0 for the best."""
        row = int(self.rows[rank])
        rgb = np.array(self.dataset.image(row))
        predicted = self.model.logits(rgb[None])[0].argmax(axis=0).astype(np.uint8)
        truth = self.dataset.categories(row)
        return PredictedFrame(rank, self.scores[rank], rgb, truth, predicted)
