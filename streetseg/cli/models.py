"""Commands on models: from the gate to predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from streetseg.cli.base import (
    EVALUATION,
    MODEL,
    PARAMS,
    AsJson,
    EvaluationFolder,
    ModelFolder,
    ModelUri,
    Overrides,
    ParamsFile,
    app,
    load,
)
from streetseg.errors import StreetsegError


@app.command()
def gate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    evaluation: EvaluationFolder = EVALUATION,
    as_json: AsJson = False,
) -> None:
    """Judge an evaluation. A closed gate ends with status 1 only with gate.fail_on_gate=true."""
    from streetseg.gate import judge, read_evaluation

    settings = load(params, set_)
    scores, frames = read_evaluation(evaluation)
    verdict = judge(scores, settings.gate, frames)
    print(json.dumps(verdict.to_dict(), indent=1) if as_json else verdict.to_markdown())
    if not verdict.passed and settings.gate.fail_on_gate:
        raise StreetsegError("the gate is closed")


@app.command()
def register(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelFolder = MODEL,
    evaluation: EvaluationFolder = EVALUATION,
) -> None:
    """Make a model that passes the gate a version in the MLflow registry, as challenger."""
    from streetseg.gate import judge, read_evaluation
    from streetseg.registry import register as register_model

    settings = load(params, set_)
    scores, frames = read_evaluation(evaluation)
    version = register_model(model, scores, judge(scores, settings.gate, frames), settings)
    print(f"{version.name} version {version.version}: {', '.join(version.aliases)}")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Pictures: PNG, JPEG or WebP.")],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelUri = "models:/street-segmenter@champion",
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("outputs/predictions"),
) -> None:
    """Segment pictures: NAME_mask.png holds category ids, NAME_overlay.png shows them."""
    import streetseg
    from streetseg.imaging import (
        BadImageError,
        blend,
        decode_rgb,
        encode_palette_png,
        encode_png,
    )
    from streetseg.pictures import colorize
    from streetseg.progress import track

    settings = load(params, set_)
    segmenter = streetseg.load(model, settings.registry)
    out.mkdir(parents=True, exist_ok=True)
    for path in track(images, total=len(images), description="predict"):
        try:
            rgb = decode_rgb(path.read_bytes())
        except (BadImageError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StreetsegError(f"{path}: {reason}") from None
        categories = segmenter.predict(rgb)
        mask = encode_palette_png(categories, segmenter.labels.palette)
        overlay = encode_png(blend(rgb, colorize(categories, segmenter.labels)))
        (out / f"{path.stem}_mask.png").write_bytes(mask)
        (out / f"{path.stem}_overlay.png").write_bytes(overlay)
    print(f"{2 * len(images)} files in {out}")
