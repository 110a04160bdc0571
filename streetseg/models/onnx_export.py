"""Writing a network as an ONNX graph, which is what is served."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.layers import Format
from timm.models.vision_transformer import VisionTransformer
from torch.onnx import register_custom_op_symbolic, symbolic_helper, unregister_custom_op_symbolic

from streetseg.models.build import SegmentationModel

OPSET = 17
POOLING = "aten::adaptive_avg_pool2d"


def export_onnx(model: SegmentationModel, size: tuple[int, int], path: Path) -> None:
    """Write ``model`` for RGB uint8[N, height, width, 3] of one size and any N.

    The TorchScript exporter takes a second, where the newer one takes many. A vision transformer is
    bound to this size from then on.
    """
    for layer in model.modules():
        if isinstance(layer, VisionTransformer):
            layer.set_input_size(size)
            layer.dynamic_img_size = False  # type: ignore[misc]  # final for TorchScript alone
            layer.patch_embed.output_fmt, layer.patch_embed.flatten = Format.NCHW, True
    batch = {0: "batch"}
    with warnings.catch_warnings(), _pooling_of_any_size():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, *size, 3, dtype=torch.uint8),),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": batch, "logits": batch},
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def _pooling_of_any_size() -> Iterator[None]:
    """Let the exporter write pooling to a size that is no divisor of its input's, as PSPNet has it.

    Each window's mean is a row of a matrix, multiplied from both sides.
    """
    register_custom_op_symbolic(POOLING, _pooled, OPSET)
    try:
        yield
    finally:
        unregister_custom_op_symbolic(POOLING, OPSET)


@symbolic_helper.parse_args("v", "is")
def _pooled(graph: Any, pixels: Any, wanted: list[int]) -> Any:
    if wanted == [1, 1]:
        return graph.op("GlobalAveragePool", pixels)
    rows, columns = (
        graph.op("Constant", value_t=_window_means(length, windows))
        for length, windows in zip(
            symbolic_helper._get_tensor_sizes(pixels)[-2:], wanted, strict=True
        )
    )
    transposed = graph.op("Transpose", columns, perm_i=[1, 0])
    return graph.op("MatMul", graph.op("MatMul", rows, pixels), transposed)


def _window_means(length: int, windows: int) -> torch.Tensor:
    """The matrix float32[windows, length] that averages evenly spread windows, as PyTorch does."""
    means = torch.zeros(windows, length)
    for window in range(windows):
        first, last = window * length // windows, -(-(window + 1) * length // windows)
        means[window, first:last] = 1 / (last - first)
    return means
