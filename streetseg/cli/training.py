"""Commands that train and measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from streetseg.cli.base import (
    EVALUATION,
    MODEL,
    PARAMS,
    AsJson,
    ModelFolder,
    Overrides,
    ParamsFile,
    app,
    load,
    print_table,
)


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

    settings = load(params, set_)
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

    settings = load(params, set_)
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

    settings = load(params, set_)
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

    runs = read_runs(load(params, set_).registry, names or (), last)
    from streetseg.compare import Comparison, write_comparison  # after what may fail at once

    comparison = Comparison(runs)
    write_comparison(comparison, out)
    if as_json:
        print(json.dumps(comparison.to_dict()))
        return
    if comparison.warning:
        print(f"warning: {comparison.warning}")
    print_table(comparison.score_table())
    if comparison.settings:
        print()
        print_table(comparison.settings_table())
    print(f"\n{out}")


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


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
