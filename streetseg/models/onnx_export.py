"""Export of a network as the ONNX graph that is served.

PyTorch's TorchScript exporter (``dynamo=False``) takes 0.9 s for the default network. The newer one
of PyTorch 2.15 takes 370 s with dynamic sizes, needs ``onnxscript``, and replaces adaptive pooling
by the fixed windows of the traced size, so that PSPNet and UPerNet silently give wrong logits at
other sizes. When that is fixed, use it and delete :func:`_pooling_by_matmul`.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import Format
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.onnx import register_custom_op_symbolic, symbolic_helper, unregister_custom_op_symbolic

from streetseg.models.build import SegmentationModel
from streetseg.models.onnx_folding import fold_constants

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
POOLING = "aten::adaptive_avg_pool2d"


def export_onnx(
    model: SegmentationModel,
    size: tuple[int, int],
    path: Path,
    description: Mapping[str, Any] | None = None,
) -> None:
    """Write ``model`` for RGB uint8[N, height, width, 3] of one size and any N.

    A vision transformer accepts only this size afterwards, in PyTorch too. ``description`` becomes
    the graph's ``metadata_props``.
    """
    import onnx

    example = torch.zeros(1, *size, 3, dtype=torch.uint8)
    fix_input_size(model, size)
    graph = to_onnx(model, example)
    add_metadata(graph, description or {})
    onnx.save(graph, path)


def fix_input_size(model: SegmentationModel, size: tuple[int, int]) -> None:
    """Let vision transformers accept only images of (height, width), as a traced graph does."""
    for layer in model.modules():
        if isinstance(layer, VisionTransformer):
            layer.set_input_size(model.padded(size))
            layer.dynamic_img_size = False  # type: ignore[misc]  # final only for TorchScript
            layer.patch_embed.output_fmt, layer.patch_embed.flatten = Format.NCHW, True


def to_onnx(model: nn.Module, example: Tensor) -> ModelProto:
    """A folded graph of the input ``images``, like ``example`` but any N, and output ``logits``."""
    import onnx

    batch = {0: "batch"}
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        _pooling_by_matmul(),
    ):
        warnings.simplefilter("ignore")
        path = Path(folder) / "exported.onnx"
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": batch, "logits": batch},
            opset_version=OPSET,
            dynamo=False,
        )
        graph = fold_constants(onnx.load(path))
    with torch.inference_mode():
        shape = model(example).shape
    declare_sides(graph, shape[1:])  # the exporter writes names, of which some are wrong
    return graph


def declare_sides(graph: ModelProto, sides: Sequence[int]) -> None:
    """Declare that the output has the shape [batch, *sides]."""
    declared = graph.graph.output[0].type.tensor_type.shape.dim
    for dimension, side in zip(declared, ["batch", *sides], strict=True):
        if isinstance(side, str):
            dimension.dim_param = side
        else:
            dimension.dim_value = side


def add_metadata(graph: ModelProto, description: Mapping[str, Any]) -> None:
    """Add ``description`` to the graph: text as it is, other values as JSON."""
    import onnx

    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in description.items()
    }
    onnx.helper.set_model_props(graph, texts)


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
