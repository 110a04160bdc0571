"""The ONNX graph of an export, in its layout, precision and output."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from streetseg.core.errors import StreetsegError, one_line
from streetseg.inference.artifact import GRAPHS
from streetseg.models.export.source import Source
from streetseg.models.onnx_export import add_metadata, declare_sides, to_onnx
from streetseg.models.quantization import calibration_frames, quantize_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_CHANGED = {"float32": 0.001, "float16": 0.02, "int8": 1.0}
"""Fraction of the example's pixels that may get another category than in PyTorch. Whether int8 is
good enough is judged at registration."""


def write_graph(source: Source, path: Path) -> float:
    """Write the graph, and return the fraction of the example's pixels that it changes.

    Raises:
        StreetsegError: the graph cannot be written in this precision, or gives other categories.
    """
    import onnx

    try:
        graph = _graph(source)
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        raise StreetsegError(
            f"{source.description['network']} cannot be exported as ONNX: {one_line(error)}"
        ) from None
    if source.argmax:
        _append_argmax(graph)
    add_metadata(graph, source.description)
    onnx.save(graph, path)
    changed = source.changed(_run(path, source.images()))
    if not changed <= MAX_CHANGED[source.precision]:
        raise StreetsegError(
            f"the graph in {source.precision} gives {changed:.1%} of the example's pixels another "
            f"category than PyTorch (allowed: {MAX_CHANGED[source.precision]:.1%}): "
            "export float32, or train again"
        )
    return changed


def _graph(source: Source) -> ModelProto:
    if source.precision == "int8":
        return _int8(source)
    graph = _float32(source)
    return _float16(graph) if source.precision == "float16" else graph


def _float32(source: Source) -> ModelProto:
    return to_onnx(source.network(argmax=False), torch.from_numpy(source.images()))


def _float16(graph: ModelProto) -> ModelProto:
    """The graph with weights and activations in float16, input and output as before."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    logging.disable(logging.WARNING)
    try:
        return convert_float_to_float16(graph, keep_io_types=True)
    finally:
        logging.disable(logging.NOTSET)


def _int8(source: Source) -> ModelProto:
    """The artifact's int8 graph, or one that is calibrated now."""
    import onnx

    if source.calibration is None:
        graph = onnx.load(source.artifact / GRAPHS["int8"])
    else:
        dataset = source.calibration
        with tempfile.TemporaryDirectory() as folder:
            plain, int8 = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
            onnx.save(_float32(source), plain)
            quantize_onnx(plain, dataset, calibration_frames(dataset), int8)
            graph = onnx.load(int8)
    declare_sides(graph, [len(source.categories), *source.size])
    return graph


def _append_argmax(graph: ModelProto) -> None:
    """Replace the output ``logits`` by ``categories``, ids uint8[N, height, width]."""
    from onnx import TensorProto, helper

    logits = graph.graph.output.pop()
    batch, _, height, width = (
        side.dim_param or side.dim_value for side in logits.type.tensor_type.shape.dim
    )
    graph.graph.node.append(
        helper.make_node("ArgMax", [logits.name], ["category_indices"], axis=1, keepdims=0)
    )
    graph.graph.node.append(
        helper.make_node("Cast", ["category_indices"], ["categories"], to=TensorProto.UINT8)
    )
    graph.graph.output.append(
        helper.make_tensor_value_info("categories", TensorProto.UINT8, [batch, height, width])
    )


def _run(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]
