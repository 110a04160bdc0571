"""Writing an ONNX graph in 8-bit integers: a quarter of the size, and faster on most CPUs.

Static quantization (Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, 2018): the range of each tensor is measured on images.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streetseg.core.errors import StreetsegError, one_line
from streetseg.data.dataset import PreparedDataset

if TYPE_CHECKING:
    from onnx import GraphProto

CALIBRATION_FRAMES = 128


def calibration_frames(dataset: PreparedDataset) -> np.ndarray:
    """Rows of at most ``CALIBRATION_FRAMES`` train frames, evenly through all cities."""
    rows = dataset.rows("train")
    places = np.linspace(0, len(rows) - 1, min(CALIBRATION_FRAMES, len(rows)))
    return rows[places.round().astype(int)]


def quantize_onnx(
    source: Path, dataset: PreparedDataset, rows: Sequence[int] | np.ndarray, destination: Path
) -> None:
    """Write a graph in int8, whole or not at all.

    Weights have a scale per channel and 7 bits: processors without VNNI add up pairs of products
    in 16 bits, which 8 bits overflow, and the graph must answer alike on all. Activations have 8
    bits and range from the lowest to the highest value measured.

    Args:
        source: the float graph, whose input is RGB uint8[N, height, width, 3].
        dataset: what to measure the ranges on.
        rows: frames of it.
        destination: the file to write.

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

    class Pictures(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[int] = iter(rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self.left, None)
            return None if row is None else {"images": np.array(dataset.image(row))[None]}

    with tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        prepared, written = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        logging.disable(logging.WARNING)  # it advises through the root logger
        try:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                written,
                Pictures(),
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
        written.rename(destination)


def _shape_arithmetic(graph: GraphProto) -> list[str]:
    """The nodes that compute sizes, such as the padding of TensorFlow's "same" convolutions.

    They add and multiply floats too, and rounded to 8 bits they pad by wrong amounts.
    """
    known = {""} | {each.name for each in graph.initializer}
    known |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    sizes: set[str] = set()
    found = []
    for node in graph.node:
        from_sizes = sizes.intersection(node.input) and sizes.union(known).issuperset(node.input)
        if node.op_type == "Shape" or from_sizes:
            sizes.update(node.output)
            found.append(node.name)
    return found
