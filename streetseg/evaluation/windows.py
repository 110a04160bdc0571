"""Sliding windows of a model, and its scores in them."""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from streetseg.config.params import Evaluate, Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.images.decode import decode_image, read_image
from streetseg.images.resize import size_of
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.windows import SlidingSegmenter
from streetseg.metrics.accumulator import ConfusionAccumulator
from streetseg.metrics.metric import Metric, ScoredFrame

MAX_SCALE_CHANGE = 1.1
"""How much larger or smaller than in training things may look in windows, without a warning."""


class WindowScores:
    """The scores in sliding windows, on complete frames at native size, as a metric."""

    def __init__(
        self,
        model: SlidingSegmenter,
        dataset: PreparedDataset,
        rows: np.ndarray,
        root: Path,
        benchmark: Metric | None = None,
    ) -> None:
        """Score ``model`` on ``rows`` of a dataset, whose frames are added in this order.

        Args:
            root: folder of the frames.
            benchmark: the metric of the benchmark of the label space.

        Raises:
            StreetsegError: a frame is neither in the dataset at native size nor in ``root``.
        """
        self._model, self._dataset, self._root = model, dataset, root
        self._confusion, self._benchmark = ConfusionAccumulator(dataset.labels), benchmark
        self._rows = iter(rows.tolist())
        for row in rows.tolist():
            if not (self._is_native(row) or self._path(row).is_file()):
                raise StreetsegError(
                    "evaluate.window needs the frames at native size, and "
                    f"{self._path(row)} is not here: set data.root to the folder that was "
                    f"prepared, prepare at prepare.size={list(dataset.native_size(row))}, or leave "
                    "evaluate.window out"
                )

    def add(self, frame: ScoredFrame) -> None:
        """Predict a frame in windows, and count it; as it is if one window covers it.

        Raises:
            StreetsegError: its file has changed since it was prepared, or cannot be read.
        """
        row = next(self._rows)
        if not self._model.covers(self._dataset.native_size(row)):
            probabilities = self._model.probabilities(self._image(row))
            frame = replace(
                frame,
                truth=self._dataset.label_ids(row),
                instances=self._dataset.instances(row),
                probabilities=probabilities,
                categories=probabilities.argmax(axis=0).astype(np.uint8),
            )
        self._confusion.add(frame)
        if self._benchmark:
            self._benchmark.add(frame)

    def result(self) -> dict[str, Any]:
        """``windows``: their size (height, width), overlap and scores, and the benchmark's."""
        window = {"size": list(self._model.size), "overlap": self._model.overlap}
        benchmark = self._benchmark.result() if self._benchmark else {"benchmark": None}
        return {"windows": {**window, **self._confusion.scores.to_dict(), **benchmark}}

    def _image(self, row: int) -> np.ndarray:
        if self._is_native(row):
            return np.array(self._dataset.image(row))
        path, expected = self._path(row), self._dataset.index["image_hash"][row]

        def decode(data: bytes) -> np.ndarray:
            if xxhash.xxh3_128_hexdigest(data) != expected:
                raise StreetsegError(
                    f"{path} is not the frame that was prepared: set data.root to the folder of "
                    "that, or run 'streetseg prepare' again"
                )
            return decode_image(data)

        return read_image(path, decode)

    def _is_native(self, row: int) -> bool:
        return self._dataset.native_size(row) == self._dataset.size

    def _path(self, row: int) -> Path:
        return self._root / self._dataset.index["image"][row]


def window_scores(
    segmenter: Segmenter,
    dataset: PreparedDataset,
    rows: np.ndarray,
    params: Params,
    benchmark: Metric | None,
) -> WindowScores | None:
    """The scores of ``rows`` in the windows of ``evaluate.window``; None if it is not set.

    ``benchmark`` is a new metric. A warning tells if windows show things at another scale than the
    prepared frames.

    Raises:
        StreetsegError: as :func:`sliding`, or the frames are not at hand at native size.
    """
    model = sliding(segmenter, params.evaluate)
    if isinstance(model, Segmenter):
        return None
    scores = WindowScores(model, dataset, rows, params.data.root, benchmark)
    first = int(rows[0])
    placement, native = dataset.placement(first), dataset.native_size(first)
    scale = size_of(placement.source, native)[0] / size_of(placement.target, dataset.size)[0]
    if not model.covers(native) and abs(math.log(scale)) > math.log(MAX_SCALE_CHANGE):
        print(
            f"warning: in windows at native size, things are {scale:.2g} times as large as in the "
            f"prepared frames: prepare at prepare.size={list(native)} and train with "
            f"train.augment.crop={list(model.size)}, or let train.augment.scale reach {scale:.2g}",
            file=sys.stderr,
        )
    return scores


def sliding(segmenter: Segmenter, settings: Evaluate) -> Segmenter | SlidingSegmenter:
    """The model in the windows of the settings; as it is if they name none.

    A graph has one input size: for windows of another, one is made from the weights by PyTorch.

    Raises:
        StreetsegError: the network cannot take such windows, or PyTorch is not installed.
    """
    if settings.window is None:
        return segmenter
    window = segmenter
    if segmenter.size != settings.window:
        try:
            from streetseg.models.save import resize_artifact
        except ImportError:
            raise StreetsegError(
                f"windows of {list(settings.window)} need PyTorch: install streetseg[train], or "
                f"set evaluate.window={list(segmenter.size)}, the size of the network's input"
            ) from None
        with tempfile.TemporaryDirectory() as scratch:
            copy = resize_artifact(segmenter.artifact, settings.window, Path(scratch))
            window = Segmenter(copy, "float32")
    return SlidingSegmenter(segmenter, window, settings.overlap)
