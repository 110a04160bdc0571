"""Commands on models: from the gate to predictions."""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from streetseg.cli.options import (
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
    locate_model,
    model_or_champion,
)
from streetseg.core.errors import StreetsegError

MAX_LISTED = 5
"""Images without a mask that are listed."""


@app.command()
def gate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    evaluation: EvaluationFolder = EVALUATION,
    as_json: AsJson = False,
) -> None:
    """Decide whether an evaluated model may be registered, and say why.

    The verdict is recorded in the MLflow run that trained the model. A closed gate ends with
    status 1 only with gate.fail_on_gate=true.

    Example: streetseg gate --set gate.miou_floor=0.7
    """
    from streetseg.evaluation.gate import judge
    from streetseg.evaluation.result import read_evaluation
    from streetseg.tracking.results import record_verdict

    settings = load(params, set_)
    scored = read_evaluation(evaluation)
    verdict = judge(scored, settings.gate)
    print(json.dumps(verdict.to_dict(), indent=1) if as_json else verdict.to_markdown())
    try:
        record_verdict(settings.registry, scored, verdict)
    except StreetsegError as error:
        print(f"warning: {error}", file=sys.stderr)
    if not verdict.passed and settings.gate.fail_on_gate:
        raise StreetsegError("the gate is closed")


@app.command()
def register(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelFolder = MODEL,
    evaluation: EvaluationFolder = EVALUATION,
) -> None:
    """Register a model that passes the gate in MLflow, with the alias challenger.

    With registry.int8=true the model is also quantized to int8 and scored on data.prepared. If that
    passes the gate too, services on a CPU use it.

    Example: streetseg register --model outputs/model
    """
    from streetseg.data.origin import open_prepared
    from streetseg.evaluation.gate import judge
    from streetseg.evaluation.result import read_evaluation
    from streetseg.registry.register import register as register_model

    settings = load(params, set_)
    scored = read_evaluation(evaluation)
    verdict = judge(scored, settings.gate)
    dataset = open_prepared(settings) if settings.registry.int8 else None
    version = register_model(model, scored, verdict, settings, dataset=dataset)
    print(f"{version.name} version {version.version}: {', '.join(version.aliases) or 'no alias'}")


@app.command()
def predict(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE|FOLDER...", help="PNG, JPEG or WebP; folders of them."),
    ],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelUri = None,
    out: Annotated[
        Path, typer.Option(help="Folder to write to, not inside a folder of images.")
    ] = Path("outputs/predictions"),
    overlay: Annotated[
        bool, typer.Option(help="Also write PATH_overlay.png: the image, and the colours on it.")
    ] = True,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Also write PATH_probabilities.npz: float16 of 0 to 1 for category, row, column.",
        ),
    ] = False,
) -> None:
    """Segment images and folders, into one folder that is easy to look at.

    Writes PATH_mask.png for each image (category ids, in the colours of the categories), as 'batch'
    does: PATH is the name of a file, or the path of an image below a folder. An unusable image is
    reported and skipped. With evaluate.window, images larger than it are segmented in overlapping
    windows.

    For many images, or a bucket, 'batch' resumes and keeps a table.

    Example: streetseg predict street.jpg frames --out outputs/predictions
    """
    import streetseg
    from streetseg.evaluation.windows import sliding
    from streetseg.images.paths import printable
    from streetseg.prediction.files import find_images, predict_files

    found = find_images(images, out)
    settings = load(params, set_)
    loaded = streetseg.load(model_or_champion(model, settings), settings.registry)
    segmenter = sliding(loaded, settings.evaluate)
    failed = predict_files(found, out, segmenter, overlay=overlay, probabilities=probabilities)
    print(f"{len(found) - len(failed)} masks in {out}")
    for path, reason in failed.items():
        print(printable(f"no mask of {path}: {reason}"))


@app.command()
def batch(
    source: Annotated[
        str, typer.Argument(help="Folder, or prefix such as s3://bucket/prefix, with images.")
    ],
    destination: Annotated[
        str, typer.Argument(help="Folder or prefix for the masks and the table; not inside it.")
    ],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelUri = None,
    as_json: AsJson = False,
) -> None:
    """Segment every PNG, JPEG and WebP below a folder or a bucket's prefix.

    Writes PATH_mask.png for each image (category ids, in the colours of the categories),
    summary.csv with one row per image (size, fraction of each category, seconds, or the error)
    and, when all is done, summary.json with the model and the means.

    The same command resumes a stopped one, and skips what the same model version has segmented.
    An unusable image is reported and skipped. With evaluate.window, images larger than it are
    segmented in overlapping windows.

    S3 credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, or from
    the machine's role.

    Example: streetseg batch frames outputs/masks --model models:/street-segmenter@champion
    """
    from streetseg.prediction.batch import TABLE, segment_folder

    settings = load(params, set_)
    uri, artifact = locate_model(model, settings)
    result = segment_folder(
        source,
        destination,
        artifact,
        uri,
        max_megapixels=settings.serve.max_megapixels,
        windows=settings.evaluate,
    )
    if as_json:
        print(json.dumps(result.to_dict()))
        return
    print(f"{result.masks} masks in {result.destination}")
    if result.segmented < result.masks:
        print(f"{result.masks - result.segmented} of them were there already")
    for image in result.failed[:MAX_LISTED]:
        print(f"no mask of {image.path}: {image.error}")
    if len(result.failed) > MAX_LISTED:
        print(f"and of {len(result.failed) - MAX_LISTED} more: see {TABLE}")


@app.command()
def ask(
    source: Annotated[Path, typer.Argument(help="Folder with images.")],
    destination: Annotated[Path, typer.Argument(help="Folder for the masks; not inside it.")],
    url: Annotated[str, typer.Option(help="URL of the service.")] = "http://127.0.0.1:3000",
    parallel: Annotated[int, typer.Option(min=1, max=100, help="Images sent at a time.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Send every PNG, JPEG and WebP below a folder to a running service; needs no model.

    Writes PATH_mask.png for each image, as 'batch' does. The same command resumes a stopped one,
    and skips images that have a mask. An unusable image is reported and skipped.

    The token of the service, if it requires one, is read from STREETSEG_TOKEN.

    Example: streetseg ask frames answers --url http://127.0.0.1:3000
    """
    from dataclasses import asdict

    try:
        from streetseg.client import Client
    except ImportError as error:
        raise StreetsegError(str(error)) from None
    from streetseg.images.paths import printable

    with Client(url, os.environ.get("STREETSEG_TOKEN")) as service:
        result = service.folder(source, destination, parallel)
    if as_json:
        print(json.dumps(asdict(result), default=str))
        return
    print(f"{result.made + result.there} masks in {result.destination}")
    if result.there:
        print(f"{result.there} of them were there already")
    for path, reason in islice(result.failed.items(), MAX_LISTED):
        print(printable(f"no mask of {path}: {reason}"))
    if len(result.failed) > MAX_LISTED:
        print(f"and of {len(result.failed) - MAX_LISTED} more: see --json")
