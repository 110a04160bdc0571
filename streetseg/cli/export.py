"""The command that writes a model for other runtimes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from streetseg.cli.option_groups import option_groups
from streetseg.cli.options import PARAMS, Overrides, ParamsFile, app, load
from streetseg.core.errors import StreetsegError

# As in ``streetseg.models.export``, which is slow to import for ``--help``.
Format = Literal["onnx", "openvino", "torchscript", "tensorrt", "triton", "hf"]
Precision = Literal["float32", "float16", "int8"]
Layout = Literal["nhwc", "nchw"]
MIN_SIDE, MAX_SIDE = 32, 4096
"""Pixels, as for ``prepare.size``."""


@dataclass(frozen=True)
class ExportFlags:
    """Options of the command ``export``."""

    argmax: Annotated[
        bool,
        typer.Option("--argmax", help="Output category ids uint8[N,H,W] instead of logits."),
    ] = False
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Input size, such as 512x1024. Default: the model's."),
    ] = None
    precision: Annotated[
        Precision,
        typer.Option(
            help="int8 is checked for ONNX Runtime alone, and calibrated on data.prepared "
            "unless the model was registered with it."
        ),
    ] = "float32"
    layout: Annotated[
        Layout | None,
        typer.Option(
            help="nhwc: uint8[N,H,W,3]; nchw: float32[N,3,H,W] divided by 255, which converters "
            "such as onnx2tf and pnnx understand. Default: nhwc, for tensorrt and hf nchw."
        ),
    ] = None


@app.command()
@option_groups
def export(
    model: Annotated[
        str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a model folder.")
    ],
    format: Annotated[Format, typer.Option(help="What to write.")],
    out: Annotated[Path, typer.Option(help="Folder to write; a previous export is replaced.")],
    flags: ExportFlags,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
) -> None:
    """Write a model for another runtime: ONNX, OpenVINO, TorchScript, TensorRT, Triton, smp.

    streetseg export models:/street-segmenter@champion --format onnx --out exported

    export.json beside the model has categories, colours, size, pre- and post-processing, versions
    and licence. The page docs/elsewhere.md shows how to predict exactly as streetseg does.

    Example: streetseg export models:/street-segmenter@champion --format onnx --out exported
    """
    from streetseg.data.origin import open_prepared
    from streetseg.models.export.source import Options
    from streetseg.models.export.writer import export_model
    from streetseg.registry.versions import locate

    settings = load(params, set_)
    size = _size(flags.size) if flags.size else None
    options = Options(flags.argmax, size, flags.precision, flags.layout)
    name, artifact = locate(model, settings.registry)
    changed = export_model(
        name,
        artifact,
        format,
        out,
        options,
        lambda: open_prepared(settings, same_size=False),
    )
    same = "the same category as PyTorch" if changed == 0 else f"{changed:.2%} of them another"
    print(f"{out}: {format}, {flags.precision}; pixels of the example: {same}")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    height, width = (int(side) for side in match.groups()) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise StreetsegError(
            f"--size {text}: give height x width in pixels, {MIN_SIDE} to {MAX_SIDE} each, such as "
            "512x1024"
        )
    return height, width
