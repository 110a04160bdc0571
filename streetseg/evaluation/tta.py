"""Test-time augmentation: what a model would answer if it saw each frame more than once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from streetseg.images.resize import resize_rgb
from streetseg.inference.segmenter import Segmenter, softmax

SCALES = (0.75, 1.25)
"""Sizes at which a frame is seen beside its own, each side to the nearest multiple of 32."""

Answer = Callable[[np.ndarray], np.ndarray]
"""From RGB uint8[height, width, 3] to logits float32[C, height, width]."""


def augmented_answers(model: Segmenter, artifact: Path, kinds: Sequence[str]) -> dict[str, Answer]:
    """How to answer with each kind of test-time augmentation, by itself.

    The probabilities of all views are averaged. ``flip`` adds the mirrored frame. ``scales`` adds
    it smaller and larger; the ONNX graph is of one size, so these two are computed in PyTorch, from
    the artifact's weights.

    Raises:
        StreetsegError: the network cannot take one of the sizes.
    """
    build = {"flip": lambda: _flip(model), "scales": lambda: _scales(model, artifact)}
    return {kind: build[kind]() for kind in kinds}


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) times a scale, to the nearest multiples of 32 that are not 0."""
    height, width = (max(1, round(side * scale / 32)) * 32 for side in size)
    return height, width


def _flip(model: Segmenter) -> Answer:
    def answer(image: np.ndarray) -> np.ndarray:
        plain, mirrored = model.logits(np.stack([image, image[:, ::-1]]))
        return _mean([plain, mirrored[:, :, ::-1]])

    return answer


def _scales(model: Segmenter, artifact: Path) -> Answer:
    import torch

    from streetseg.models.build import check_size
    from streetseg.models.load import load_torch

    network = load_torch(artifact)
    sizes = [scaled_size(model.size, scale) for scale in SCALES]
    for size in sizes:
        check_size(network, size)

    def answer(image: np.ndarray) -> np.ndarray:
        views = [model.logits(image[None])[0]]
        for size in sizes:
            pixels = torch.from_numpy(np.ascontiguousarray(resize_rgb(image, size))[None])
            with torch.inference_mode():
                planes = network(pixels)[0].numpy()
            views.append(np.stack([cv2.resize(plane, model.size[::-1]) for plane in planes]))
        return _mean(views)

    return answer


def _mean(views: Sequence[np.ndarray]) -> np.ndarray:
    """Logarithms of the mean probabilities of float32[C, H, W] logits: logits again."""
    mean = np.mean([softmax(view) for view in views], axis=0)
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny))
