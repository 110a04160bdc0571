"""The command line: each command is one call of the library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streetseg.errors import StreetsegError

if TYPE_CHECKING:
    from rich.table import Table

    from streetseg.config import Params

app = typer.Typer(
    help="Street-scene segmentation: from frames on disk to a promoted model.\n\n"
    "The commands follow the way of the data: synth (if you have none), explore, prepare, "
    "validate, train (or tune), evaluate, compare, gate, register, promote, predict. Each reads "
    "params.yaml and leaves its result where the next one looks for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PARAMS = Path("params.yaml")

ParamsFile = Annotated[
    Path, typer.Option("--params", help="Params or recipe file; what it leaves out is default.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, e.g. train.epochs=20."),
]
ModelFolder = Annotated[Path, typer.Option("--model", help="Folder of the model artifact.")]
EvaluationFolder = Annotated[
    Path, typer.Option("--evaluation", help="Folder that 'streetseg evaluate' wrote.")
]
ModelUri = Annotated[
    str, typer.Option("--model", help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]

LOG_WIDTH = 200
"""Columns of a table that no terminal shows."""

MODEL, EVALUATION = Path("outputs/model"), Path("outputs/evaluation")


@app.command()
def synth(params: ParamsFile = PARAMS, set_: Overrides = None) -> None:
    """Draw synthetic street scenes in the Cityscapes layout, to try things without the data.

    Goes on where an interrupted call stopped.
    """
    from streetseg.synth import write_cityscapes

    settings = _load(params, set_)
    frames = write_cityscapes(
        settings.data.root,
        frames={str(split): count for split, count in settings.synth.frames.items()},
        cities=settings.synth.cities,
        size=settings.synth.size,
        seed=settings.synth.seed,
        workers=settings.prepare.workers,
    )
    print(f"{len(frames)} frames in {settings.data.root}")


@app.command()
def explore(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="Show the prepared data instead of the source.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="Also show what changed in the prepared data since a git revision, data version "
            "or folder.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of the source to measure.")] = 200,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("outputs/explore.html"),
) -> None:
    """Show what is in the data on one page: counts, class shares, samples, augmentation, offenders.

    By default it looks at a sample of data.root, before anything is prepared.
    """
    import tempfile

    from streetseg.dataset import PreparedDataset
    from streetseg.versions import fetch_index

    settings = _load(params, set_)
    with tempfile.TemporaryDirectory() as scratch:
        if prepared or against:
            dataset = PreparedDataset(settings.data.prepared)
        if against:
            before = fetch_index(against, settings.data, Path(scratch) / "before")
        from streetseg import explore as page  # slow to import, so after what may fail at once

        if not (prepared or against):
            with page.sampled(settings, frames) as (sample, survey):
                page.explore(sample, settings, out, survey)
        else:
            comparison = page.compare(before, dataset, against) if against else None
            page.explore(dataset, settings, out, comparison=comparison)
            if comparison:
                print(comparison)
    print(out)


@app.command()
def prepare(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    preview: Annotated[Path, typer.Option(help="The sheet of prepared frames to write.")] = Path(
        "outputs/preview.jpg"
    ),
) -> None:
    """Remap labels to categories, resize, and write the arrays that training reads.

    Goes on where an interrupted call stopped. 'dvc repro' does the same and keeps track of
    versions.
    """
    from streetseg.dataset import PreparedDataset
    from streetseg.pictures import write_preview
    from streetseg.prepare import prepare as prepare_data

    preview.parent.mkdir(parents=True, exist_ok=True)
    dataset = PreparedDataset(prepare_data(_load(params, set_)))
    write_preview(dataset, preview)
    skipped = f" ({len(dataset.skipped)} skipped)" if len(dataset.skipped) else ""
    print(f"{len(dataset.index)} frames{skipped} in {dataset.path}, version {dataset.version}")
    print(preview)


@app.command()
def validate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    report: Annotated[Path, typer.Option(help="The page to write.")] = Path(
        "outputs/validation.html"
    ),
) -> None:
    """Check the prepared data; a critical failure ends with status 1, warnings are listed.

    The page names the offending files and shows them.
    """
    from streetseg.dataset import PreparedDataset
    from streetseg.validation import validate as validate_data
    from streetseg.versions import reference

    settings = _load(params, set_)
    dataset = PreparedDataset(settings.data.prepared)
    with reference(settings) as usual:
        found = validate_data(dataset, settings.validate_, report, usual)
    for warning in found.warnings:
        print(f"warning: {warning}")
    found.require()
    print(f"{len(found.outcomes)} checks, {len(found.warnings)} warnings: {report}")


@app.command()
def train(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of the model artifact to write.")] = MODEL,
) -> None:
    """Train a network on the prepared data, with an MLflow run to watch it by.

    A training that was stopped goes on where it was. Every setting, with its default and its unit,
    is in params.yaml; recipes/ holds published ones. On several GPUs:
    torchrun --nproc-per-node 4 -m streetseg train
    """
    from streetseg.dataset import PreparedDataset
    from streetseg.distributed import leads
    from streetseg.training import train as train_model

    settings = _load(params, set_)
    trained = train_model(settings, PreparedDataset(settings.data.prepared), out)
    if not leads():
        return
    print(
        f"{trained.artifact}: held-out mIoU {trained.selection_miou:.3f} in epoch "
        f"{trained.best_epoch}, run {trained.run_id}"
    )


@app.command()
def tune(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the search; another folder is another search.")
    ] = Path("outputs/tune"),
) -> None:
    """Search for better settings: train again and again, and keep the best.

    tune.space in params.yaml says which settings to vary, and how far; the first trial is the
    recipe as it is. Each trial is a training, judged by its held-out mIoU; one that falls behind
    the others is cut short. In MLflow the trials are the children of one run.

    A search that was stopped goes on with the same command, in the middle of the training that was
    interrupted; a finished one goes on with a higher tune.trials.

    Leaves best/, the best model, best.yaml, its settings as a recipe that 'streetseg train
    --params' takes, and the page tune.html.
    """
    from streetseg.dataset import PreparedDataset
    from streetseg.tune import tune as search_settings

    settings = _load(params, set_)
    found = search_settings(settings, PreparedDataset(settings.data.prepared), out)
    print(f"best of {len(found.trials)} trials: {found.best.miou:.3f} in trial {found.best.number}")
    for key, value in found.best.settings.items():
        print(f"  {key}: {value}")
    print(f"streetseg train --params {found.recipe}")
    print(found.page)


@app.command()
def evaluate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelFolder = MODEL,
    out: Annotated[Path, typer.Option(help="Folder of the evaluation to write.")] = EVALUATION,
    predictions: Annotated[
        Path | None, typer.Option(help="Score id masks in this folder instead of a model.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Their *_gtFine_labelIds.png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on the evaluation split, or any folder of id masks against its truth.

    Two scores are printed: the mean IoU over all categories, void included, and the official
    category score of the Cityscapes benchmark. They are not comparable.
    """
    from streetseg.evaluation import evaluate as evaluate_model
    from streetseg.evaluation import score_folders, scores_to_dict

    settings = _load(params, set_)
    if (predictions is None) != (truth is None):
        raise typer.BadParameter("--predictions and --truth go together")
    if predictions and truth:
        from streetseg.sources import load_source

        labels = load_source(settings.data.source).labels
        scores, frames = score_folders(predictions, truth, labels)
        result: dict[str, Any] = {"frames": frames, **scores_to_dict(scores, labels)}
    else:
        from streetseg.dataset import PreparedDataset
        from streetseg.tracking import record_evaluation

        found = evaluate_model(model, PreparedDataset(settings.data.prepared), settings, out)
        record_evaluation(settings.registry, found.run_id, found.headline(), out)
        result = found.to_dict()
    _print_scores(result, as_json)
    if not predictions and not as_json:
        print(f"report: {out / 'report.html'}")


@app.command()
def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...", help="Id, beginning of an id, or name; the latest if none is given."
        ),
    ] = None,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = 5,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("outputs/compare.html"),
    as_json: AsJson = False,
) -> None:
    """Put training runs side by side: what differs between them, their scores and their curves."""
    from streetseg.runs import read_runs

    runs = read_runs(_load(params, set_).registry, names or (), last)
    from streetseg.compare import Comparison, write_comparison  # after what may fail at once

    comparison = Comparison(runs)
    write_comparison(comparison, out)
    if as_json:
        print(json.dumps(comparison.to_dict()))
        return
    if comparison.warning:
        print(f"warning: {comparison.warning}")
    _print_table(comparison.score_table())
    if comparison.settings:
        print()
        _print_table(comparison.settings_table())
    print(f"\n{out}")


@app.command()
def gate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    evaluation: EvaluationFolder = EVALUATION,
    as_json: AsJson = False,
) -> None:
    """Judge an evaluation. A closed gate ends with status 1 only with gate.fail_on_gate=true."""
    from streetseg.gate import judge

    settings = _load(params, set_)
    verdict = judge(_read_evaluation(evaluation), settings.gate)
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
    from streetseg.gate import judge
    from streetseg.registry import register as register_model

    settings = _load(params, set_)
    scores = _read_evaluation(evaluation)
    version = register_model(model, scores, judge(scores, settings.gate), settings)
    print(f"{version.name} version {version.version}: {', '.join(version.aliases)}")


@app.command()
def promote(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    version: Annotated[
        str | None, typer.Option(help="Version number; the challenger if not given.")
    ] = None,
) -> None:
    """Make a version the champion, which is what services answer with."""
    from streetseg.registry import promote as promote_version

    promoted = promote_version(_load(params, set_).registry, version)
    print(f"{promoted.name} version {promoted.version} is the champion")


@app.command()
def rollback(params: ParamsFile = PARAMS, set_: Overrides = None) -> None:
    """Make the previous champion the champion again."""
    from streetseg.registry import rollback as roll_back

    promoted = roll_back(_load(params, set_).registry)
    print(f"{promoted.name} version {promoted.version} is the champion again")


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

    settings = _load(params, set_)
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


def main() -> None:
    """Run the command line: status 0 done, 1 failed with one clear line, 2 wrong usage."""
    try:
        app()
    except StreetsegError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "))


def _load(params: Path, overrides: list[str] | None) -> Params:
    from streetseg.config import load_params

    absent = params == PARAMS and not params.exists()
    return load_params(None if absent else params, overrides or [])


def _read_evaluation(folder: Path) -> dict[str, Any]:
    path = folder / "evaluation.json"
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        raise StreetsegError(f"no evaluation in {path}: run 'streetseg evaluate' first") from None


def _print_scores(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    print(f"mIoU over {len(result['categories'])} categories  {_show(result['miou'])}")
    print(f"official category score  {_show(result['miou_official'])}\n")
    print(f"{'category':<14}{'IoU':>7}{'Dice':>7}{'official IoU':>14}")
    for name in result["categories"]:
        official = result["iou_official"].get(name)
        print(
            f"{name:<14}{_show(result['iou'][name]):>7}{_show(result['dice'][name]):>7}"
            f"{_show(official):>14}"
        )


def _print_table(table: Table) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
