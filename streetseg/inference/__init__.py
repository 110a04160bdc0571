"""Inference with ONNX Runtime, without PyTorch.

The source stored with registered versions imports ``Segmenter`` from here: keep the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streetseg.core.telemetry import disable_telemetry

if TYPE_CHECKING:
    from streetseg.inference.segmenter import Segmenter

__all__ = ["Segmenter"]

disable_telemetry("onnxruntime")


def __getattr__(name: str) -> Any:
    if name != "Segmenter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from streetseg.inference.segmenter import Segmenter

    return Segmenter
