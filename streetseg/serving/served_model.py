"""A model version that is loaded and ready to answer requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.config.params import Params, Serve
from streetseg.core.memory import return_freed_memory
from streetseg.core.parallel import cores
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import check_onnx
from streetseg.registry.local_copies import VersionInfo, read_version_info
from streetseg.serving.batching import Batcher
from streetseg.serving.observer import Observer


class ModelInfo(VersionInfo):
    """The answer to ``GET /model``: the registered version, and how it is being served."""

    size: tuple[int, int]
    """(height, width) of the network's input."""
    device: str
    precision: str
    serving_since: str
    """ISO 8601, UTC."""
    label_space: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.model_dump(mode="json", exclude_unset=True)

    def summary(self) -> dict[str, Any]:
        """The description of the model in JSON answers."""
        return self.model_dump(include={"name", "version", "data_version"})


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version that has been loaded, checked and warmed up."""

    segmenter: Segmenter
    info: ModelInfo
    batcher: Batcher
    """Returns the logits float32[C, h, w] of an image uint8[h, w, 3] at the network's size."""
    observer: Observer

    @property
    def version(self) -> str:
        """Its number in the registry."""
        return self.info.version


def threads_per_worker(settings: Serve) -> int:
    """``serve.threads``, or an equal part of the cores for each worker process."""
    return settings.threads or max(1, cores() // settings.workers)


def open_model(folder: Path, params: Params) -> ServedModel:
    """Load a model artifact and check it on its stored example.

    A GPU also runs each batch size once. On a CPU memory grows with the batches that come.

    Raises:
        StreetsegError: it cannot be loaded, or its output differs from the stored example.
    """
    settings = params.serve
    segmenter = Segmenter(folder, threads=threads_per_worker(settings))
    check_onnx(folder, segmenter)
    if segmenter.device != "CPU":  # CUDA chooses its algorithms for each shape of input
        for batch_size in range(2, settings.batch_size + 1):
            segmenter.logits(np.zeros((batch_size, *segmenter.size, 3), np.uint8))
    return_freed_memory()
    info = ModelInfo(
        **read_version_info(folder).model_dump(exclude_unset=True),
        size=segmenter.size,
        device=segmenter.device,
        precision=segmenter.precision,
        serving_since=datetime.now(UTC).isoformat(timespec="seconds"),
        label_space=segmenter.labels.to_dict(),
    )
    batcher = Batcher(segmenter.logits, settings.batch_size)
    return ServedModel(segmenter, info, batcher, Observer(segmenter, info.version, settings))
