"""Exports that hold an ONNX graph: for itself, for TensorRT and for Triton."""

from __future__ import annotations

from pathlib import Path

from streetseg.models.export.graph import write_graph
from streetseg.models.export.source import Source

MAX_BATCH = 16
"""Images that a TensorRT engine or Triton takes at a time."""
TRITON_MODEL = "street_segmenter"
TYPES = {"nhwc": "TYPE_UINT8", "nchw": "TYPE_FP32"}


def write_onnx(source: Source, folder: Path) -> float:
    """Write ``model.onnx``."""
    return write_graph(source, folder / "model.onnx")


def write_triton(source: Source, folder: Path) -> float:
    """Write a model repository: ``tritonserver --model-repository FOLDER``.

    It holds the folder of one model, with ``config.pbtxt``, ``labels.txt`` and ``1/model.onnx``.
    """
    model = folder / TRITON_MODEL
    (model / "1").mkdir(parents=True)
    height, width = source.size
    name, type_, dims = (
        ("categories", "TYPE_UINT8", [height, width])
        if source.argmax
        else ("logits", "TYPE_FP32", [len(source.categories), height, width])
    )
    (model / "config.pbtxt").write_text(
        f'name: "{TRITON_MODEL}"\n'
        'backend: "onnxruntime"\n'
        'default_model_filename: "model.onnx"\n'
        f"max_batch_size: {MAX_BATCH}\n"
        f'input [{{ name: "images", data_type: {TYPES[source.layout]}, '
        f"dims: {source.input_shape(1)[1:]} }}]\n"
        f'output [{{ name: "{name}", data_type: {type_}, dims: {dims} }}]\n'
        "dynamic_batching { max_queue_delay_microseconds: 2000 }\n"
    )
    (model / "labels.txt").write_text("".join(f"{name}\n" for name in source.categories))
    return write_graph(source, model / "1" / "model.onnx")


TENSORRT_README = """# TensorRT

`sh build_engine.sh` makes `model.plan` with `trtexec`, on the GPU that will run it and with the
version of TensorRT that will load it: an engine suits no other. It takes 1 to {max_batch} images.
This recipe has not been run.

The input is float32[N, 3, height, width], because TensorRT takes uint8 only straight into a cast.

**float16**: `--precision float16` adds `--fp16`; the graph stays float32, and TensorRT chooses.
TensorRT versions without `--fp16` (strongly typed networks only) take the precision from the graph:
replace `model.onnx` by that of `streetseg export --format onnx --layout nchw --precision float16`.

**INT8** needs a graph with QuantizeLinear and DequantizeLinear around weights and activations,
both symmetric (zero point 0) in int8. streetseg's int8 graph is not such a graph: its activations
are uint8 with a zero point, for CPUs. Quantize `model.onnx` with NVIDIA's ModelOpt on a few hundred
training images, prepared as `export.json` says, then score the result before you use it:

```bash
python -m modelopt.onnx.quantization --onnx_path=model.onnx --quantize_mode=int8 \\
    --calibration_data=images.npy --output_path=model.int8.onnx
trtexec --onnx=model.int8.onnx --stronglyTyped --saveEngine=model.plan {shapes}
```
"""


def write_tensorrt(source: Source, folder: Path) -> float:
    """Write ``model.onnx``, the call of ``trtexec`` that builds an engine, and what INT8 needs.

    The graph stays in float32: TensorRT chooses the layers that compute in float16.
    """
    shapes = " ".join(
        f"--{which}Shapes=images:{'x'.join(map(str, source.input_shape(batch)))}"
        for which, batch in (("min", 1), ("opt", MAX_BATCH // 4), ("max", MAX_BATCH))
    )
    half = " --fp16" if source.precision == "float16" else ""
    (folder / "build_engine.sh").write_text(
        "#!/bin/sh\nset -e\n"
        'cd "$(dirname "$0")"\n'
        f"trtexec --onnx=model.onnx --saveEngine=model.plan{half} \\\n    {shapes}\n"
    )
    (folder / "README.md").write_text(TENSORRT_README.format(max_batch=MAX_BATCH, shapes=shapes))
    return write_graph(source.in_float32(), folder / "model.onnx")
