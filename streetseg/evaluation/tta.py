"""Test-time augmentation: averaging a model's predictions over several views of each frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from streetseg.images.resize import resize_rgb
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import categories_at, shown_part, softmax
from streetseg.metrics.accumulator import ConfusionAccumulator
from streetseg.metrics.confusion import plain_numbers
from streetseg.metrics.metric import ScoredFrame

SCALES = (0.75, 1.25)
"""Sizes of the additional views, relative to the frame's."""

Predict = Callable[[np.ndarray], np.ndarray]
"""From RGB uint8[height, width, 3] to logits float32[C, height, width]."""


class AugmentedScores:
    """The mIoU with each kind of test-time augmentation."""

    def __init__(self, model: Segmenter, kinds: Sequence[str]) -> None:
        """Start without frames; raises as :func:`augmented_predictors` does."""
        self._predictors = augmented_predictors(model, kinds)
        self._confusions = {kind: ConfusionAccumulator(model.labels) for kind in kinds}

    def add(self, frame: ScoredFrame) -> None:
        """Predict a frame once more with each kind, and count it."""
        for kind, predict in self._predictors.items():
            logits = shown_part(predict(frame.image), frame.placement)
            categories = categories_at(logits, frame.truth.shape)
            self._confusions[kind].add(replace(frame, categories=categories))

    def result(self) -> dict[str, Any]:
        """``augmented``: the mIoU of each kind; None if there is none."""
        mious = {kind: confusion.scores.miou for kind, confusion in self._confusions.items()}
        return {"augmented": plain_numbers(mious) or None}


def augmented_predictors(model: Segmenter, kinds: Sequence[str]) -> dict[str, Predict]:
    """A predictor for each kind, from the mean probabilities of several views.

    ``flip`` adds the mirrored frame; ``scales`` adds a smaller and a larger one, computed in
    PyTorch because the ONNX graph has a fixed size.

    Raises:
        StreetsegError: the network cannot take one of the sizes.
    """
    make = {"flip": _with_flip, "scales": _with_scales}
    return {kind: make[kind](model) for kind in kinds}


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) times a scale, in whole pixels."""
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def _with_flip(model: Segmenter) -> Predict:
    def predict(image: np.ndarray) -> np.ndarray:
        plain, mirrored = model.logits(np.stack([image, image[:, ::-1]]))
        return _mean([plain, mirrored[:, :, ::-1]])

    return predict


def _with_scales(model: Segmenter) -> Predict:
    import torch

    from streetseg.models.build import check_size
    from streetseg.models.load import load_torch

    network = load_torch(model.artifact)
    sizes = [scaled_size(model.size, scale) for scale in SCALES]
    for size in sizes:
        check_size(network, size)

    def predict(image: np.ndarray) -> np.ndarray:
        views = [model.logits(image[None])[0]]
        for size in sizes:
            pixels = torch.from_numpy(np.ascontiguousarray(resize_rgb(image, size))[None])
            with torch.inference_mode():
                planes = network(pixels)[0].numpy()
            views.append(np.stack([cv2.resize(plane, model.size[::-1]) for plane in planes]))
        return _mean(views)

    return predict


def _mean(views: Sequence[np.ndarray]) -> np.ndarray:
    """Log of the mean probabilities of float32[C, H, W] logits, which are logits again."""
    mean = np.mean([softmax(view) for view in views], axis=0)
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny))
