"""What a network costs, from its ONNX graph: parameters and multiply-accumulate operations."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import onnx

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Operators that multiply and accumulate, and the input with their weights."""


def network_cost(graph: Path) -> tuple[int, float]:
    """The number of parameters, and the giga MACs of one image, of a float32 graph.

    Parameters are the weights in the graph: batch normalisation is folded into them. The MACs are
    those of convolutions and matrix products, as papers count them; resizing, activations and
    additions are left out. The second is NaN if a shape in the graph cannot be inferred.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(graph))
    nodes = model.graph
    shapes = {each.name: tuple(each.dims) for each in nodes.initializer}
    parameters = sum(
        math.prod(each.dims)
        for each in nodes.initializer
        if each.data_type == onnx.TensorProto.FLOAT
    )
    for value in (*nodes.input, *nodes.value_info, *nodes.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in dims)  # the batch is 1
    macs = math.nan
    with contextlib.suppress(KeyError):
        macs = sum(_macs(node, shapes) for node in nodes.node if node.op_type in WEIGHTED)
    return parameters, macs / 1e9


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    given, weight, made = (shapes[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(made) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(given) * math.prod(weight[1:])
    attributes = {each.name: each.i for each in node.attribute}
    inner = given[0] if node.op_type == "Gemm" and attributes.get("transA") else given[-1]
    return math.prod(made) * inner
