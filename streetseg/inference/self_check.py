"""Self-check of a model artifact: its ONNX graph must reproduce the stored example."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streetseg.core.errors import StreetsegError, one_line
from streetseg.inference.segmenter import Segmenter

EXAMPLE = "example.safetensors"
TOLERANCE = 1e-3
"""Largest difference of logits between ONNX Runtime and PyTorch, relative to their range."""
INT8_LOGITS = "int8_logits"
INT8_TOLERANCE = 0.02
"""Largest fraction of the example's pixels whose category may differ from registration."""


def read_example(artifact: Path) -> np.ndarray:
    """The image of the stored example: RGB uint8[height, width, 3]."""
    return _read(artifact)["images"][0]


def check_onnx(artifact: Path, segmenter: Segmenter | None = None) -> None:
    """Check that the artifact, as a segmenter or as its float graph, reproduces the stored example.

    Raises:
        StreetsegError: the float graph's logits differ from PyTorch's by more than ``TOLERANCE`` of
            their range, or the int8 graph's categories differ from those at registration on more
            pixels than ``INT8_TOLERANCE``, which allows for rounding on other processors.
    """
    example = _read(artifact)
    segmenter = segmenter or Segmenter(artifact, "float32")
    logits = segmenter.logits(example["images"], keep_memory=False)
    if segmenter.precision == "int8":
        if INT8_LOGITS not in example:
            raise StreetsegError(
                f"{artifact / EXAMPLE} has no example of the int8 graph: register the model again"
            )
        expected, tolerance = example[INT8_LOGITS], INT8_TOLERANCE
        difference = np.mean(logits.argmax(axis=1) != expected.argmax(axis=1))
        problem = (
            f"gives {difference:.1%} of the example's pixels another category than when it was "
            f"registered (allowed: {tolerance:.0%}): register the model again"
        )
    else:
        expected, tolerance = example["logits"], TOLERANCE
        difference = np.abs(logits - expected).max() / np.ptp(expected)
        problem = (
            f"differs from weights.safetensors by {difference:.2g} of the range of logits "
            f"(allowed: {tolerance:g}): train again"
        )
    if not difference <= tolerance:
        raise StreetsegError(f"{segmenter.graph} {problem}")


def add_int8_example(artifact: Path, logits: np.ndarray) -> None:
    """Store the int8 graph's output for the example, float32[1, C, height, width]."""
    from safetensors.numpy import save_file

    example = _read(artifact) | {INT8_LOGITS: np.ascontiguousarray(logits)}
    save_file(example, artifact / EXAMPLE)


def _read(artifact: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = artifact / EXAMPLE
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StreetsegError(f"cannot read {path}: {one_line(error)}") from None
