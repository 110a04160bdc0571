"""Writing a model artifact in the format of another runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.images.resize import resize_rgb
from streetseg.inference.artifact import GRAPHS, read_config, read_labels
from streetseg.inference.self_check import read_example
from streetseg.models.build import check_size
from streetseg.models.description import describe
from streetseg.models.export import huggingface, onnx_files, openvino, torchscript
from streetseg.models.export.source import Layout, Options, Precision, Source
from streetseg.models.load import load_torch
from streetseg.models.onnx_export import fix_input_size

Format = Literal["onnx", "openvino", "torchscript", "tensorrt", "triton", "hf"]
DESCRIPTION = "export.json"
INPUTS = {
    "nhwc": "images: RGB uint8[N, {0}, {1}, 3]",
    "nchw": "images: RGB float32[N, 3, {0}, {1}], pixels divided by 255",
}


@dataclass(frozen=True)
class FormatInfo:
    """What a format can hold, and what writes it to a folder.

    ``write`` returns the fraction of the example's pixels that get another category than in
    PyTorch.
    """

    write: Callable[[Source, Path], float]
    precisions: tuple[Precision, ...] = ("float32",)
    layouts: tuple[Layout, ...] = ("nhwc", "nchw")
    """The first is the default."""
    argmax: bool = True
    resizable: bool = True
    hint: str = ""


FORMATS: dict[Format, FormatInfo] = {
    "onnx": FormatInfo(onnx_files.write_onnx, get_args(Precision)),
    "openvino": FormatInfo(
        openvino.write_openvino,
        ("float32", "float16"),
        hint="int8 is checked for ONNX Runtime alone; quantize the export with NNCF",
    ),
    "torchscript": FormatInfo(torchscript.write_torchscript),
    "tensorrt": FormatInfo(
        onnx_files.write_tensorrt,
        ("float32", "float16"),
        ("nchw",),
        hint="int8 needs symmetric ranges: see README.md of the export",
    ),
    "triton": FormatInfo(onnx_files.write_triton, get_args(Precision)),
    "hf": FormatInfo(
        huggingface.write_hf,
        layouts=("nchw",),
        argmax=False,
        resizable=False,
        hint="it holds weights, not a graph",
    ),
}


def export_model(
    name: str,
    artifact: Path,
    format: Format,
    destination: Path,
    options: Options,
    open_dataset: Callable[[], PreparedDataset],
) -> float:
    """Write an artifact to a folder in another format, atomically, with ``export.json`` beside it.

    Args:
        name: the model's, such as ``models:/street-segmenter/3``, for the metadata.
        open_dataset: gives the frames for int8, if the artifact has no int8 graph.

    Returns:
        The fraction of the example's pixels that get another category than in PyTorch.

    Raises:
        StreetsegError: no such artifact, an option that the format does not take, a network that
            it cannot hold, a missing package, or the folder holds something else.
    """
    info = FORMATS[format]
    _check_options(format, info, options)
    config, labels = read_config(artifact), read_labels(artifact)
    size: tuple[int, int] = options.size or tuple(config["size"])
    has_int8 = (artifact / GRAPHS["int8"]).exists() and list(size) == config["size"]
    calibration = None
    if options.precision == "int8" and not has_int8:
        calibration = _calibration(open_dataset(), labels, size)
    model = load_torch(artifact)
    check_size(model, size)
    layout = options.layout or info.layouts[0]
    description = describe(config | {"size": size}, labels) | {
        "model": name,
        "input": INPUTS[layout].format(*size),
        "output": _output(options, len(labels.names), size),
        "precision": options.precision,
    }
    source = Source(
        artifact,
        model,
        resize_rgb(read_example(artifact), size),
        description,
        options.argmax,
        options.precision,
        layout,
        calibration,
    )
    with atomic_folder(destination, DESCRIPTION) as folder:
        if info.resizable:
            fix_input_size(model, size)
        changed = info.write(source, folder)
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    return changed


def _check_options(format: Format, info: FormatInfo, options: Options) -> None:
    def refuse(option: str, choices: str) -> StreetsegError:
        hint = f" ({info.hint})" if info.hint else ""
        return StreetsegError(f"--format {format} does not take {option}{hint}: {choices}")

    if options.precision not in info.precisions:
        raise refuse(f"--precision {options.precision}", f"choose {' or '.join(info.precisions)}")
    if options.layout and options.layout not in info.layouts:
        raise refuse(f"--layout {options.layout}", f"choose {' or '.join(info.layouts)}")
    if options.argmax and not info.argmax:
        raise refuse("--argmax", "leave it out")
    if options.size and not info.resizable:
        raise refuse("--size", "leave it out")
    if options.precision == "int8" and options.layout == "nchw":
        raise StreetsegError("--precision int8 is for --layout nhwc: leave one of them out")


def _calibration(
    dataset: PreparedDataset, labels: LabelSpace, size: tuple[int, int]
) -> PreparedDataset:
    if dataset.labels.names != labels.names:
        raise StreetsegError(
            f"{dataset.path} has other categories than the model: set data.prepared to the data it "
            "was trained on, to calibrate int8"
        )
    if dataset.size != size:
        raise StreetsegError(
            f"{dataset.path} holds frames of {dataset.size[0]}x{dataset.size[1]}, which cannot "
            f"calibrate an int8 graph of {size[0]}x{size[1]}: prepare frames of that size"
        )
    return dataset


def _output(options: Options, categories: int, size: tuple[int, int]) -> str:
    if options.argmax:
        return f"categories: ids uint8[N, {size[0]}, {size[1]}], at the network's size"
    return f"logits: float32[N, {categories}, {size[0]}, {size[1]}]"
