"""Whether an ONNX graph computes what is stored for the example of its model artifact."""

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
"""Largest fraction of the example's pixels that may change category since registration."""


def read_example(artifact: Path) -> np.ndarray:
    """The image that the artifact is checked with: RGB uint8[height, width, 3]."""
    return _read(artifact)["images"][0]


def check_onnx(artifact: Path, served: Segmenter | None = None) -> None:
    """Compare what ONNX Runtime computes with what is stored for the example.

    Args:
        artifact: the folder.
        served: the artifact as it was opened; None means its float graph.

    Raises:
        StreetsegError: the float graph's logits differ from PyTorch's by more than ``TOLERANCE`` of
            their range, or the int8 graph's categories from those at registration on more pixels
            than ``INT8_TOLERANCE``, as processors round differently.
    """
    example = _read(artifact)
    served = served or Segmenter(artifact, "float32")
    computed = served.logits(example["images"])
    if served.precision == "int8":
        if INT8_LOGITS not in example:
            raise StreetsegError(
                f"{artifact / EXAMPLE} has no example of the int8 graph: register the model again"
            )
        trained, allowed = example[INT8_LOGITS], INT8_TOLERANCE
        difference = np.mean(computed.argmax(axis=1) != trained.argmax(axis=1))
        said = f"gives {difference:.1%} of the example's pixels another category than when it was "
        said += f"registered (allowed: {allowed:.0%}): register the model again"
    else:
        trained, allowed = example["logits"], TOLERANCE
        difference = np.abs(computed - trained).max() / np.ptp(trained)
        said = f"differs from weights.safetensors by {difference:.2g} of the range of logits "
        said += f"(allowed: {allowed:g}): train again"
    if not difference <= allowed:
        raise StreetsegError(f"{served.graph} {said}")


def add_int8_example(artifact: Path, logits: np.ndarray) -> None:
    """Store what the int8 graph computes for the example, float32[1, C, height, width]."""
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
