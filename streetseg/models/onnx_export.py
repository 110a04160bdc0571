"""Export of a network as the ONNX graph that is served.

PyTorch's TorchScript exporter (``dynamo=False``) takes 0.9 s for the default network. The newer one
of PyTorch 2.15 takes 370 s with dynamic sizes, needs ``onnxscript``, and replaces adaptive pooling
by the fixed windows of the traced size, so that PSPNet and UPerNet silently give wrong logits at
other sizes. When that is fixed, use it and delete :func:`_pooling_by_matmul`.
"""

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

    A vision transformer accepts only this size afterwards, in PyTorch too.
    """
    for layer in model.modules():
        if isinstance(layer, VisionTransformer):
            layer.set_input_size(model.padded(size))
            layer.dynamic_img_size = False  # type: ignore[misc]  # final only for TorchScript
            layer.patch_embed.output_fmt, layer.patch_embed.flatten = Format.NCHW, True
    batch = {0: "batch"}
    with warnings.catch_warnings(), _pooling_by_matmul():
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
def _pooling_by_matmul() -> Iterator[None]:
    """Export adaptive pooling also to sizes that do not divide the input, which PyTorch refuses."""
    register_custom_op_symbolic(POOLING, _adaptive_avg_pool, OPSET)
    try:
        yield
    finally:
        unregister_custom_op_symbolic(POOLING, OPSET)


@symbolic_helper.parse_args("v", "is")
def _adaptive_avg_pool(graph: Any, pixels: Any, output_size: list[int]) -> Any:
    if output_size == [1, 1]:
        return graph.op("GlobalAveragePool", pixels)
    # As traced: behind padding, the exporter does not know the sizes of its own values.
    input_size = graph.original_node.inputsAt(0).type().sizes()[-2:]
    rows, columns = (
        graph.op("Constant", value_t=_averaging_matrix(length, windows))
        for length, windows in zip(input_size, output_size, strict=True)
    )
    transposed = graph.op("Transpose", columns, perm_i=[1, 0])
    return graph.op("MatMul", graph.op("MatMul", rows, pixels), transposed)


def _averaging_matrix(length: int, windows: int) -> torch.Tensor:
    """float32[windows, length]: a product with it averages PyTorch's windows along one axis."""
    matrix = torch.zeros(windows, length)
    for window in range(windows):
        first, last = window * length // windows, -(-(window + 1) * length // windows)
        matrix[window, first:last] = 1 / (last - first)
    return matrix
