"""Commands that train, evaluate and compare."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streetseg.cli.option_groups import option_groups
from streetseg.cli.options import (
    EVALUATION,
    MODEL,
    PARAMS,
    AsJson,
    Ids,
    ModelFolder,
    Overrides,
    ParamsFile,
    app,
    load,
)
from streetseg.cli.scores import print_scores
from streetseg.core.errors import StreetsegError

if TYPE_CHECKING:
    from streetseg.config.params import Params


@app.command()
def train(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    out: Annotated[Path, typer.Option(help="Model folder to write.")] = MODEL,
) -> None:
    """Train a network on the prepared data, and record the training as an MLflow run.

    The same command resumes a stopped training. 'streetseg params' lists the settings;
    --recipe NAME trains a published recipe. On several GPUs:
    torchrun --nproc-per-node 4 -m streetseg train

    Example: streetseg train --recipe demo --set train.epochs=3
    """
    settings = load(params, set_)
    from streetseg.data.origin import open_prepared

    dataset = open_prepared(settings)
    from streetseg.training.distributed import (
        is_main_process,  # slow to import: after the checks above
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
        Path, typer.Option(help="Folder of the search; use another folder for another search.")
    ] = Path("outputs/tune"),
) -> None:
    """Search for better training settings with Optuna, and keep the best model.

    tune.space says which settings to vary and in which range. Each trial is a training, scored by
    its held-out mIoU; the first uses the settings unchanged. Trials that fall behind are pruned. In
    MLflow the trials are child runs of one run.

    The same command resumes a stopped search, in the middle of the interrupted training. To extend
    a finished search, raise tune.trials.

    Writes best/ (the best model), best.yaml (its settings, for 'streetseg train --params') and the
    report tune.html.

    Example: streetseg tune --set tune.trials=20
    """
    settings = load(params, set_)
    from streetseg.data.origin import open_prepared

    dataset = open_prepared(settings)
    from streetseg.tuning.search import (
        tune as search_settings,  # slow to import: after the checks above
    )

    search = search_settings(settings, dataset, out)
    best = search.best
    print(f"best of {len(search.trials)} trials: {best.miou:.3f} in trial {best.number}")
    for key, value in best.settings.items():
        print(f"  {key}: {value}")
    print(f"streetseg train --params {search.recipe}")
    print(search.page)


@dataclass(frozen=True)
class OtherData:
    """Other frames for a model, or masks to score instead of a model."""

    data: Annotated[
        Path | None, typer.Option(help="Score the model on the frames below this folder.")
    ] = None
    predictions: Annotated[
        Path | None, typer.Option(help="Score this folder of id masks instead of a model.")
    ] = None
    truth: Annotated[
        Path | None,
        typer.Option(help="Folder of *_gtFine_labelIds.png or, with --source, of any labels."),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Source by whose patterns --data or --truth is read, as in data.source.",
        ),
    ] = None
    ids: Annotated[Ids | None, typer.Option(help="Numbering of the predictions.")] = None
    truth_ids: Annotated[Ids | None, typer.Option(help="Numbering of the ground truth.")] = None
    csv: Annotated[
        Path | None, typer.Option(help="CSV file to write, with the scores of each mask.")
    ] = None

    def check(self) -> None:
        """Raise typer.BadParameter if options do not go together."""
        if (self.predictions is None) != (self.truth is None):
            raise typer.BadParameter("--predictions and --truth go together")
        if self.predictions is None and (self.ids or self.truth_ids or self.csv):
            raise typer.BadParameter("--ids, --truth-ids and --csv need --predictions and --truth")
        if self.data and self.predictions:
            raise typer.BadParameter("--data is for a model, --predictions takes its place")
        if self.source and not (self.data or self.truth):
            raise typer.BadParameter("--source needs --data or --truth")
        if self.source and self.truth_ids:
            raise typer.BadParameter("--truth-ids: state the numbering in --source, by 'ids:'")

    def of_source(self, settings: Params) -> Params:
        """The settings for the frames of ``--source`` in ``--data`` or ``--truth``."""
        root = str(self.data or self.truth)
        source = {"data.source": self.source, "data.sources": []} if self.source else {}
        return settings.override({"data.root": root, **source})


@app.command()
@option_groups
def evaluate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelFolder = MODEL,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Evaluation folder to write. Default: outputs/evaluation, -test or -data."
        ),
    ] = None,
    split: Annotated[
        Literal["val", "test"], typer.Option(help="Frames to score; test decides nothing.")
    ] = "val",
    *,
    other: OtherData,
    as_json: AsJson = False,
) -> None:
    """Score a model on the evaluation split, or a folder of id masks against its ground truth.

    Prints two scores that are not comparable: the mean IoU over all categories including void, and
    the official score of the Cityscapes benchmark. If the registry has a champion, it is scored on
    the same frames, and report.html compares the two.

    streetseg evaluate --data /data/acdc --source acdc

    With --data, the frames of another set are prepared for the model, at its size and with its
    categories, in a folder beside --out.

    With --predictions, the tables of the Cityscapes benchmark are printed too: IoU of 19 classes
    and of 7 categories, and iIoU if *_gtFine_instanceIds.png are beside the ground truth. Masks of
    category ids have no classes. With --source, the ground truth is that of --split, and may be
    label images in ids or colours, or polygons.

    Masks hold label ids, or category ids if their palette is that of the categories, as 'predict'
    and 'batch' write them. --ids states another numbering; where another fits better than label
    ids, it must be stated.

    Example: streetseg evaluate --split val
    """
    settings = load(params, set_)
    other.check()
    if other.predictions and other.truth:
        print_scores(_score_masks(settings, other, split), as_json)
        return
    suffix = ("-data" if other.data else "") + ("" if split == "val" else f"-{split}")
    out = out or EVALUATION.with_name(EVALUATION.name + suffix)
    print_scores(_score_model(settings, model, other, out, split), as_json)
    if not as_json:
        print(f"report: {out / 'report.html'}")


def _score_masks(settings: Params, other: OtherData, split: str) -> dict[str, Any]:
    from streetseg.data.collection import load_sources
    from streetseg.evaluation.masks import score_folders, score_masks
    from streetseg.evaluation.truth import SourceLabels

    assert other.predictions
    assert other.truth
    if other.source:
        sources = load_sources(other.of_source(settings).data)
        truth = SourceLabels(sources, other.truth, split)
        scores = score_masks(other.predictions, truth, other.ids)
    else:
        sources = load_sources(settings.data)
        stated = sources.members[0].source.ids if len(sources.members) == 1 else None
        truth_ids = other.truth_ids or stated
        labels = sources.labels
        scores = score_folders(other.predictions, other.truth, labels, other.ids, truth_ids)
    if other.csv:
        scores.write_csv(other.csv)
    return scores.to_dict()


def _score_model(
    settings: Params, artifact: Path, other: OtherData, out: Path, split: str
) -> dict[str, Any]:
    from streetseg.data.origin import open_prepared
    from streetseg.evaluation.evaluate import evaluate as evaluate_model
    from streetseg.evaluation.gate import check_categories
    from streetseg.evaluation.other_data import prepare_for_model
    from streetseg.inference.segmenter import Segmenter
    from streetseg.registry.champion import find_champion
    from streetseg.tracking.curves import curves_of
    from streetseg.tracking.results import record_scores

    if other.data:
        settings, model = other.of_source(settings), Segmenter(artifact)
        dataset = prepare_for_model(model, settings, out.with_name(f"{out.name}-prepared"), split)
    else:
        dataset = open_prepared(settings)
        model = Segmenter(artifact)  # a missing one is an error before the registry is contacted
        check_categories(settings.gate, dataset.labels)
    champion = find_champion(settings.registry)
    curves = curves_of(settings.registry, artifact)
    evaluation = evaluate_model(model, dataset, settings, out, champion, split=split, curves=curves)
    if run_id := record_scores(settings.registry, evaluation, out, artifact):
        print(
            f"recorded as run {run_id} in {settings.registry.experiment}-evaluation: on other "
            "data or on test, or in int8, the scores of the run that trained the model stay",
            file=sys.stderr,
        )
    return evaluation.to_dict()


@app.command()
def cross_evaluate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelFolder = MODEL,
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=FOLDER", help="A source and its folder; may be repeated."),
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="Frames to score.")] = "val",
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("outputs/cross"),
    as_json: AsJson = False,
) -> None:
    """Score a model on several sources and the conditions that they state, such as night.

    streetseg cross-evaluate --on cityscapes=/data/cityscapes --on acdc=/data/acdc

    The frames are prepared for the model, at its size and with its categories. cross.html shows one
    table and the frames where the model breaks; cross.csv is the table. Without --on, the sources
    are those of the settings (data.sources).

    Example: streetseg cross-evaluate --on cityscapes=data/raw --on bdd100k=data/bdd100k
    """
    settings = load(params, set_)
    if on:
        settings = settings.override(_sources_below_one_root(on))
    from streetseg.evaluation.cross import cross_evaluate as cross_evaluate_model
    from streetseg.evaluation.cross import scores_by_group

    evaluation = cross_evaluate_model(model, settings, out, split)
    table = scores_by_group(evaluation)
    if as_json:
        print(table.to_json(orient="records"))
        return
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="-"))
    print(f"page: {out / 'cross.html'}")


def _sources_below_one_root(on: list[str]) -> dict[str, Any]:
    """``data.root`` and ``data.sources`` for arguments such as ``acdc=/data/acdc``."""
    pairs = [argument.partition("=")[::2] for argument in on]
    if wrong := [argument for argument, pair in zip(on, pairs, strict=True) if not all(pair)]:
        raise typer.BadParameter(f"'{wrong[0]}' is no SOURCE=FOLDER, such as acdc=/data/acdc")
    folders = [Path(folder).absolute() for _, folder in pairs]
    root = Path(os.path.commonpath(folders))
    sources = [
        {"source": source, "folder": folder.relative_to(root).as_posix()}
        for (source, _), folder in zip(pairs, folders, strict=True)
    ]
    return {"data.root": str(root), "data.sources": sources}


@app.command()
def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...", help="Id, prefix of an id, or name. Default: the latest runs."
        ),
    ] = None,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    last: Annotated[int, typer.Option(min=1, help="Number of latest runs.")] = 5,
    out: Annotated[Path | None, typer.Option(hidden=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Put training runs side by side: their scores, and the settings that differ.

    Runs are grouped by their data version. Without RUN, those that have no score yet are left out.
    Their curves and images are on MLflow's own page: choose runs, then Compare.

    Example: streetseg compare --last 5
    """
    if out:
        raise StreetsegError(
            "compare writes no page any more: MLflow's own does this: 'make ui', choose runs, then "
            "Compare"
        )
    from streetseg.core.terminal import print_table
    from streetseg.tracking.compare_runs import Comparison, epochs_of
    from streetseg.tracking.read import read_runs

    comparison = Comparison(read_runs(load(params, set_).registry, names or (), last))
    if as_json:
        print(json.dumps(comparison.to_dict()))
        return
    if not names and comparison.scored.runs:
        for run in comparison.unscored:
            print(f"left out, without a score: {run.id[:8]} {run.name} ({epochs_of(run)})")
        comparison = comparison.scored
    if comparison.warning:
        print(f"warning: {comparison.warning}")
    groups = comparison.by_data_version
    for version, group in groups.items():
        if len(groups) > 1:
            print(f"data version {version or 'unknown'}")
        print_table(group.score_table())
    if comparison.settings:
        print()
        print_table(comparison.settings_table())
