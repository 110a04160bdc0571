"""Static quantisation of an ONNX graph to 8 bits: a quarter of the size, and faster on most CPUs.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, 2018. The range of each tensor is measured on images.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streetseg.core.errors import StreetsegError, one_line
from streetseg.core.sampling import evenly_spaced
from streetseg.data.dataset import PreparedDataset

if TYPE_CHECKING:
    from onnx import GraphProto

CALIBRATION_FRAMES = 128


def calibration_frames(dataset: PreparedDataset) -> np.ndarray:
    """Rows of at most ``CALIBRATION_FRAMES`` train frames, evenly spaced over all cities."""
    rows = dataset.rows("train")
    return rows[evenly_spaced(len(rows), CALIBRATION_FRAMES)]


def quantize_onnx(
    source: Path, dataset: PreparedDataset, rows: Sequence[int] | np.ndarray, destination: Path
) -> None:
    """Write ``source``, a float graph of RGB uint8[N, height, width, 3], in int8, atomically.

    Weights have 7 bits and a scale per channel: CPUs without VNNI sum pairs of products in 16 bits,
    which 8-bit weights overflow, and the graph must give the same logits on all CPUs. Activations
    have 8 bits and cover the minimum to the maximum on ``rows`` of the dataset.

    Raises:
        StreetsegError: ONNX Runtime cannot quantize this graph, or its tools are not installed.
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        raise StreetsegError(
            "registry.int8 needs the package onnx: install streetseg[train]"
        ) from None

    class Frames(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.remaining: Iterator[int] = iter(rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self.remaining, None)
            return None if row is None else {"images": np.array(dataset.image(row))[None]}

    with tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        prepared, quantized = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        logging.disable(logging.WARNING)  # ONNX Runtime gives advice through the root logger
        try:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                quantized,
                Frames(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                nodes_to_exclude=_shape_arithmetic(onnx.load(prepared).graph),
            )
        except Exception as error:
            raise StreetsegError(
                f"cannot quantize {source}: {one_line(error)}: register it with registry.int8=false"
            ) from None
        finally:
            logging.disable(logging.NOTSET)
        quantized.rename(destination)


def _shape_arithmetic(graph: GraphProto) -> list[str]:
    """Nodes that compute sizes, such as padding, which would be wrong if rounded to 8 bits."""
    constants = {""} | {initializer.name for initializer in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    sizes: set[str] = set()
    nodes = []
    for node in graph.node:
        inputs = set(node.input)
        if node.op_type == "Shape" or (inputs & sizes and inputs <= sizes | constants):
            sizes.update(node.output)
            nodes.append(node.name)
    return nodes
