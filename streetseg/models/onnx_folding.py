"""Folding of an ONNX graph: what does not depend on the batch is computed once.

The exporter writes sizes as arithmetic: ``Shape``, ``Gather``, ``Div``, ``Ceil``. ONNX's shape
inference knows all sides but the number of images; ONNX Runtime's basic optimizations, which use
standard operators alone, compute what follows from them. The logits stay equal to the bit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def fold_constants(model: ModelProto) -> ModelProto:
    """An equivalent graph of about a fifth of the nodes, for any number of images."""
    model = _optimize(model)
    while known := _known_sides(model):
        _replace(model.graph, known)
        model = _optimize(model)
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    return model


def _optimize(model: ModelProto) -> ModelProto:
    """The graph after ONNX Runtime's basic optimizations, which suit every processor."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(path)


def _known_sides(model: ModelProto) -> dict[str, list[int] | int]:
    """Outputs of ``Gather(Shape(tensor), constant)`` that shape inference knows."""
    from onnx import numpy_helper, shape_inference

    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    sides = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]  # 0: unknown
        for value in [*graph.input, *graph.value_info]
        if value.type.tensor_type.HasField("shape")
    }
    shapes = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Shape"}
    constants = {each.name: each for each in graph.initializer}
    known: dict[str, list[int] | int] = {}
    for node in graph.node:
        tensor = shapes.get(node.input[0]) if node.op_type == "Gather" else None
        if tensor in sides and node.input[1] in constants:
            positions = numpy_helper.to_array(constants[node.input[1]])
            gathered = [sides[tensor][position] for position in positions.ravel()]
            if all(gathered):
                known[node.output[0]] = gathered if positions.ndim else gathered[0]
    return known


def _replace(graph: GraphProto, known: dict[str, list[int] | int]) -> None:
    """Make the ``known`` outputs of nodes constants."""
    import numpy as np
    from onnx import numpy_helper

    nodes = [node for node in graph.node if node.output[0] not in known]
    del graph.node[:]
    graph.node.extend(nodes)
    for name, value in known.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
