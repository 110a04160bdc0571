"""Commands that train and measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from streetseg.cli.options import (
    EVALUATION,
    MODEL,
    PARAMS,
    AsJson,
    ModelFolder,
    Overrides,
    ParamsFile,
    app,
    load,
    open_prepared,
)
from streetseg.core.errors import StreetsegError


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
    settings = load(params, set_)
    dataset = open_prepared(settings)
    from streetseg.training.distributed import (
        is_main_process,  # slow, so after what may fail at once
    )
    from streetseg.training.train import train as train_model

    trained = train_model(settings, dataset, out)
    if not is_main_process():
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
    settings = load(params, set_)
    dataset = open_prepared(settings)
    from streetseg.tuning.search import (
        tune as search_settings,  # slow, so after what may fail at once
    )

    found = search_settings(settings, dataset, out)
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
    category score of the Cityscapes benchmark. They are not comparable. If the registry has a
    champion, it is scored on the same frames; report.html compares the two.

    Masks are scored against *_gtFine_labelIds.png; where *_gtFine_instanceIds.png lie beside them,
    Cityscapes' iIoU is taken too.
    """
    settings = load(params, set_)
    if (predictions is None) != (truth is None):
        raise typer.BadParameter("--predictions and --truth go together")
    result: dict[str, Any]
    if predictions and truth:
        from streetseg.data.sources import load_source
        from streetseg.evaluation.masks import score_folders

        labels = load_source(settings.data.source).labels
        result = score_folders(predictions, truth, labels).to_dict()
    else:
        from streetseg.evaluation.evaluate import evaluate as evaluate_model
        from streetseg.inference.artifact import read_config
        from streetseg.registry.champion import find_champion
        from streetseg.tracking.results import record_evaluation

        dataset = open_prepared(settings)
        read_config(model)  # before the registry is asked for another one
        champion = find_champion(settings.registry)
        evaluation = evaluate_model(model, dataset, settings, out, champion)
        record_evaluation(settings.registry, evaluation, out)
        result = evaluation.to_dict()
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
    out: Annotated[Path | None, typer.Option(hidden=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Put training runs side by side: their scores, and the settings that differ.

    Their curves and images are on MLflow's own page: choose runs, then Compare.
    """
    if out:
        raise StreetsegError(
            "compare writes no page any more: MLflow's own does this: 'make ui', choose runs, then "
            "Compare"
        )
    from streetseg.core.terminal import print_table
    from streetseg.tracking.compare_runs import Comparison
    from streetseg.tracking.read import read_runs

    comparison = Comparison(read_runs(load(params, set_).registry, names or (), last))
    if as_json:
        print(json.dumps(comparison.to_dict()))
        return
    if comparison.warning:
        print(f"warning: {comparison.warning}")
    print_table(comparison.score_table())
    if comparison.settings:
        print()
        print_table(comparison.settings_table())


def _print_scores(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))
        return
    intervals = result.get("intervals", {})
    print(
        f"mIoU over {len(result['categories'])} categories  {_show(result['miou'])}"
        f"{_interval(intervals.get('miou'))}"
    )
    print(
        f"official category score  {_show(result['miou_official'])}"
        f"{_interval(intervals.get('miou_official'))}"
    )
    if champion := result.get("champion"):
        print(
            f"champion, version {champion['version']}  {_show(champion['miou'])}, official "
            f"{_show(champion['miou_official'])}"
        )
    for kind, miou in (result.get("augmented") or {}).items():
        print(f"mIoU with {kind} at test time  {_show(miou)}")
    if benchmark := result["benchmark"]:
        scores = {name: value for name, value in benchmark.items() if name != "name"}
        print(f"{benchmark['name']}  {_show_all(scores)}")
    print()
    print(f"{'category':<14}{'IoU':>7}{'Dice':>7}{'official IoU':>14}")
    for name in result["categories"]:
        official = result["iou_official"].get(name)
        print(
            f"{name:<14}{_show(result['iou'][name]):>7}{_show(result['dice'][name]):>7}"
            f"{_show(official):>14}"
        )


def _interval(ends: list[float | None] | None) -> str:
    return f" [{_show(ends[0])}, {_show(ends[1])}]" if ends else ""


def _show_all(scores: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {_show_all(value)}" if isinstance(value, dict) else f"{name} {_show(value)}"
        for name, value in scores.items()
    )


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
