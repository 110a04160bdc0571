"""Scoring a model on a prepared dataset, in one pass over the frames."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from streetseg.config.params import Params
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.core.sampling import evenly_spaced
from streetseg.data.dataset import PreparedDataset
from streetseg.data.splits import EVALUATED
from streetseg.evaluation.baseline import Champion, count_seen_frames, open_baseline
from streetseg.evaluation.curves import Curves
from streetseg.evaluation.metrics import METRICS, Subject, benchmark, join_results
from streetseg.evaluation.ranked_frames import RankedFrames
from streetseg.evaluation.report import write_report
from streetseg.evaluation.result import Evaluation, FrameScore, write_evaluation
from streetseg.evaluation.sources import scores_by_source
from streetseg.evaluation.windows import window_scores
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import check_onnx
from streetseg.inference.upsampling import categories_at, shown_part, softmax
from streetseg.metrics.accumulator import ConfusionAccumulator
from streetseg.metrics.confusion import category_miou
from streetseg.metrics.metric import ScoredFrame
from streetseg.reports.drawing import SheetRow, draw_confusion, draw_predictions

N_SHEET_FRAMES = 5


def evaluate(
    artifact: Path | Segmenter,
    dataset: PreparedDataset,
    params: Params,
    destination: Path,
    champion: Champion | None = None,
    precision: str | None = None,
    split: str = EVALUATED,
    curves: Curves | None = None,
) -> Evaluation:
    """Score the ONNX graph at native size on the frames of a split, ``val`` or ``test``.

    With the fit ``crop``, the part of each frame that the network sees is scored.

    Writes ``evaluation.json``, ``frames.npz``, ``frames.csv``, ``predictions.png``,
    ``confusion.png`` and ``report.html`` to ``destination``, all of them or none.

    Args:
        artifact: a model's folder, or the model opened from it.
        champion: a model to score on the same frames; ignored if it is the same model.
        precision: of the graph that is opened, as
            :class:`streetseg.inference.segmenter.Segmenter` takes it.
        curves: of the run that trained the model, for the page; None if they are not known.

    Raises:
        StreetsegError: the artifact is missing or does not fit the dataset, labels at native size
            are missing, the graph does not reproduce the artifact's example, or a frame for
            ``evaluate.window`` is missing at native size.
    """
    model = artifact if isinstance(artifact, Segmenter) else Segmenter(artifact, precision)
    check_onnx(model.artifact, model)
    _check_fit(model, dataset)
    rows = dataset.rows(split)
    dataset.require_labelled(rows, "to evaluate on")
    index = dataset.index.iloc[rows]
    confusion = ConfusionAccumulator(dataset.labels)
    baseline = open_baseline(champion, model, dataset, rows)
    windows = window_scores(model, dataset, rows, params, benchmark(dataset.labels))
    subject = Subject(model, dataset, index, params.evaluate.tta, windows)
    metrics = [confusion, *filter(None, (make(subject) for make in METRICS.values()))]

    frames = list(zip(rows, dataset.drives(rows), strict=True))
    for row, drive in track(frames, total=len(rows), description="evaluate"):
        frame = _score_frame(model, dataset, row, drive)
        for metric in metrics:
            metric.add(frame)
        if baseline:
            baseline.add(frame)

    names = index["frame"].tolist()
    mious = [category_miou(counts) for counts in confusion.counts]
    ranking = np.argsort([-miou for miou in mious], kind="stable")
    evaluation = Evaluation(
        data_version=dataset.version,
        split=split,
        run_id=model.info["run_id"],
        label_space=dataset.labels.name,
        scores=confusion.scores,
        frames=[FrameScore(names[position], mious[position]) for position in ranking],
        n_seen_in_training=count_seen_frames(model.artifact, dataset, rows),
        champion=baseline.result() if baseline else None,
        metrics=join_results(metrics),
        counts=confusion.counts,
        drives=confusion.drives,
        sources=index["source"].to_numpy(np.str_) if "source" in index else None,
        confusion=confusion.total,
        graph_precision=model.precision,
    )
    by_source = [each.to_dict() for each in scores_by_source(evaluation)]
    evaluation = replace(evaluation, metrics=evaluation.metrics | {"sources": by_source or None})
    ranked = RankedFrames(model, dataset, rows[ranking], evaluation.frames)
    with atomic_folder(destination, "evaluation.json") as folder:
        write_evaluation(evaluation, folder, names)
        _draw(evaluation, ranked, folder, curves)
    return evaluation


def _check_fit(model: Segmenter, dataset: PreparedDataset) -> None:
    if model.labels != dataset.labels:
        raise StreetsegError(
            f"the label space of the model ({model.labels.name}) is not that of the dataset "
            f"({dataset.labels.name}): evaluate it on data of its own label space"
        )
    if (model.size, model.fit) != (dataset.size, dataset.fit):
        raise StreetsegError(
            f"the model takes frames of {list(model.size)} with fit={model.fit}, the dataset holds "
            f"{list(dataset.size)} with fit={dataset.fit}: prepare with prepare.size="
            f"{list(model.size)} and prepare.fit={model.fit} to evaluate it"
        )


def _score_frame(model: Segmenter, dataset: PreparedDataset, row: int, drive: str) -> ScoredFrame:
    placement = dataset.placement(row)
    image, truth = np.array(dataset.image(row)), dataset.label_ids(row)[placement.source]
    instances = dataset.instances(row)
    began = time.perf_counter()
    logits = shown_part(model.logits(image[None])[0], placement)
    categories = categories_at(logits, truth.shape)
    seconds = time.perf_counter() - began
    return ScoredFrame(
        labels=dataset.labels,
        image=image,
        truth=truth,
        small_truth=dataset.categories(row)[placement.target],
        logits=logits,
        probabilities=softmax(logits),
        categories=categories,
        seconds=seconds,
        drive=drive,
        placement=placement,
        instances=None if instances is None else instances[placement.source],
    )


def _draw(
    evaluation: Evaluation, ranked: RankedFrames, folder: Path, curves: Curves | None
) -> None:
    labels, scores, n_frames = ranked.dataset.labels, evaluation.scores, len(evaluation.frames)
    title = (
        f"{n_frames} {evaluation.split} frames: mIoU {scores.miou:.3f} over "
        f"{scores.extent}, {evaluation.official_name} "
        f"{scores.miou_official:.3f}; from the best frame to the worst"
    )
    rows = []
    for rank in evenly_spaced(n_frames, N_SHEET_FRAMES):
        frame = ranked.predict(rank)
        caption = f"{frame.score.name}: mIoU {frame.score.miou:.2f}, {rank + 1} of {n_frames}"
        rows.append(SheetRow(caption, frame.rgb, frame.truth, frame.predicted))
    draw_predictions(rows, labels, title, folder / "predictions.png")
    draw_confusion(scores.category_confusion, labels.names, folder / "confusion.png")
    write_report(evaluation, ranked, folder / "confusion.png", folder, curves)
