"""Export as OpenVINO IR."""

from __future__ import annotations

import json
from pathlib import Path

from streetseg.core.errors import StreetsegError, one_line
from streetseg.models.export.graph import write_graph
from streetseg.models.export.source import Source


def write_openvino(source: Source, folder: Path) -> float:
    """Write ``model.xml`` and ``model.bin``; ``float16`` halves the weights on disk.

    Raises:
        StreetsegError: the package openvino is missing, or cannot convert the graph.
    """
    try:
        import openvino
    except ImportError:
        raise StreetsegError(
            "--format openvino needs the package openvino: pip install openvino"
        ) from None
    graph = folder / "model.onnx"
    write_graph(source.in_float32(), graph)
    try:
        model = openvino.convert_model(graph)
        for name, value in source.description.items():
            text = value if isinstance(value, str) else json.dumps(value)
            model.set_rt_info(text, ["streetseg", name])
        openvino.save_model(
            model, folder / "model.xml", compress_to_fp16=source.precision == "float16"
        )
        compiled = openvino.compile_model(
            folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        output = compiled(source.images())[0]
    except RuntimeError as error:
        raise StreetsegError(f"OpenVINO cannot convert the graph: {one_line(error)}") from None
    graph.unlink()
    return source.changed(output)
