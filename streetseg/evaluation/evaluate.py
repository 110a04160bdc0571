"""Scoring a model on a prepared dataset: one pass over the frames, each of which is read once."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.config.params import Params
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import cores
from streetseg.core.progress import track
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.data.sources import EVALUATED
from streetseg.evaluation.baseline import BaselineModel, Champion, count_seen_frames
from streetseg.evaluation.ranked_frames import RankedFrames
from streetseg.evaluation.report import write_report
from streetseg.evaluation.tta import augmented_answers
from streetseg.images.errors import BadImageError
from streetseg.inference.artifact import read_config
from streetseg.inference.segmenter import Segmenter, softmax
from streetseg.inference.self_check import check_onnx
from streetseg.inference.upsampling import categories_at
from streetseg.metrics.accumulator import ConfusionAccumulator, plain_interval
from streetseg.metrics.bootstrap import interval, mean_iou, resampled_iou
from streetseg.metrics.boundary_iou import boundary_confusion
from streetseg.metrics.calibration import Calibration
from streetseg.metrics.confusion import (
    Scores,
    category_iou,
    category_miou,
    mean,
    plain_number,
    plain_numbers,
)
from streetseg.metrics.road_f1 import LABEL_SPACE as ROAD_LABELS
from streetseg.metrics.road_f1 import RoadCurve
from streetseg.metrics.slices import Slice, slices
from streetseg.monitoring.drift import Observation, Reference, observe
from streetseg.reports.drawing import confusion_picture, prediction_sheet

SHEET_FRAMES = 5
DRIVABLE_LABELS = ("bdd100k-drivable", "bdd100k-drivable-2018")


@dataclass(frozen=True)
class Performance:
    """What an answer costs on this machine."""

    latency_ms: float
    """Median time from a prepared frame to its categories at native size, one at a time."""
    megabytes: float
    """Of all files of the artifact, 10^6 bytes each."""
    onnx_megabytes: float
    """Of the graph alone, which is what a service loads."""
    cores: int
    device: str


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a split, as kept in ``evaluation.json`` and ``frames.npz``."""

    data_version: str
    split: str
    run_id: str
    labels: LabelSpace
    scores: Scores
    frames: list[tuple[str, float]]
    """(name, mIoU of that frame alone), best first."""
    names: list[str]
    """Of the frames in the order of the index, as in ``counts``."""
    counts: np.ndarray
    """int64[F, C, C], the confusion of categories (truth, prediction) of each frame."""
    intervals: dict[str, Any]
    """95 % intervals (low, high): of ``miou``, ``miou_official`` and ``boundary_miou``, and under
    ``iou`` of each category. NaN on fewer than two frames, of a category that show it."""
    boundary_iou: dict[str, float]
    calibration: Calibration
    slices: dict[str, list[Slice]]
    benchmark: dict[str, Any] | None
    """The data set's own metric, where it has one beside the official score."""
    performance: Performance
    augmented: dict[str, float] | None
    """mIoU with each kind of test-time augmentation that was asked for."""
    trained_on_these: int | None
    """How many of the frames the model was trained on; None if it does not say."""
    champion: BaselineModel | None
    reference: Reference
    """What drift is measured from once the model serves."""

    @property
    def boundary_miou(self) -> float:
        """Mean Boundary IoU over the categories that occur."""
        return mean(np.array([*self.boundary_iou.values()]))

    def headline(self) -> dict[str, float]:
        """The scores that runs are compared by; those that do not exist are left out."""
        scores = {"miou": self.scores.miou, "miou_official": self.scores.miou_official}
        scores |= {f"iou_{name}": value for name, value in self.scores.iou.items()}
        return {name: value for name, value in scores.items() if not math.isnan(value)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that does not exist is null."""
        whole, by_category = ("miou", "miou_official", "boundary_miou"), self.intervals["iou"]
        return {
            "data_version": self.data_version,
            "split": self.split,
            "run_id": self.run_id,
            "label_space": self.labels.name,
            **self.scores.to_dict(),
            "boundary_miou": plain_number(self.boundary_miou),
            "boundary_iou": plain_numbers(self.boundary_iou),
            "intervals": {
                **{name: plain_interval(self.intervals[name]) for name in whole},
                "iou": {name: plain_interval(ends) for name, ends in by_category.items()},
            },
            "calibration": self.calibration.to_dict(),
            "slices": {
                name: [part.to_dict() for part in parts] for name, parts in self.slices.items()
            },
            "benchmark": self.benchmark,
            "performance": {
                "latency_ms": round(self.performance.latency_ms, 2),
                "megabytes": round(self.performance.megabytes, 2),
                "onnx_megabytes": round(self.performance.onnx_megabytes, 2),
                "cores": self.performance.cores,
                "device": self.performance.device,
            },
            "augmented": plain_numbers(self.augmented) if self.augmented else None,
            "trained_on_these": self.trained_on_these,
            "champion": self.champion.to_dict() if self.champion else None,
            "frames": [{"frame": name, "miou": plain_number(miou)} for name, miou in self.frames],
            "reference": self.reference.to_dict(),
        }


def evaluate(
    artifact: Path,
    dataset: PreparedDataset,
    params: Params,
    destination: Path,
    champion: Champion | None = None,
    precision: str | None = None,
) -> Evaluation:
    """Score what would be served: the ONNX graph, its answer brought to native size.

    Writes ``evaluation.json``, ``frames.npz``, ``predictions.png``, ``confusion.png`` and
    ``report.html`` to ``destination``, whole or not at all.

    Args:
        artifact: the model.
        dataset: the frames; those of the split ``val`` are scored.
        params: the recipe.
        destination: the folder to write.
        champion: a model to score on the same frames. If it is the same model, it is left out.
        precision: of the graph, as :class:`streetseg.inference.segmenter.Segmenter` takes it.

    Raises:
        StreetsegError: no such artifact, no labels at native size, they do not fit each other,
            or the graph computes something else than the artifact's example says.
    """
    model = Segmenter(artifact, precision)
    check_onnx(artifact, model)
    if model.size != dataset.size or model.labels != dataset.labels:
        raise StreetsegError(
            f"the model ({model.labels.name}, {model.size}) and the dataset "
            f"({dataset.labels.name}, {dataset.size}) differ in label space or size"
        )
    rows = dataset.rows(EVALUATED)
    rival = _rival(champion, model, dataset, rows)
    labels = dataset.labels
    answers = augmented_answers(model, artifact, params.evaluate.tta)
    tally, augmented = (
        ConfusionAccumulator(labels),
        {kind: ConfusionAccumulator(labels) for kind in answers},
    )
    outlines: list[np.ndarray] = []
    calibration = Calibration()
    observations: list[Observation] = []
    road = RoadCurve(labels) if labels.name == ROAD_LABELS else None
    seconds = []

    for row in track(rows, total=len(rows), description="evaluate"):
        image, truth = np.array(dataset.image(row)), _truth(dataset, row)
        began = time.perf_counter()
        logits = model.logits(image[None])[0]
        categories = categories_at(logits, truth.shape)
        seconds.append(time.perf_counter() - began)
        tally.add(truth, categories)
        outlines.append(
            boundary_confusion(labels.category_of[truth], categories, len(labels.names))
        )
        probabilities = softmax(logits)
        calibration.add(probabilities, dataset.categories(row))
        observations.append(observe(image, logits))
        if road:
            road.add(truth, probabilities)
        for kind, answer in answers.items():
            augmented[kind].add(truth, categories_at(answer(image), truth.shape))
        if rival and rival.model:
            rival.tally.add(truth, categories_at(rival.model.logits(image[None])[0], truth.shape))

    counts, scores = tally.counts, tally.scores
    per_frame = np.stack(outlines)
    boundary_iou = category_iou(per_frame.sum(axis=0))
    mious = [category_miou(each) for each in counts]
    ranking = np.argsort([-miou for miou in mious], kind="stable")
    index = dataset.index.iloc[rows]
    names = index["frame"].tolist()
    evaluation = Evaluation(
        data_version=dataset.version,
        split=EVALUATED,
        run_id=model.info["run_id"],
        labels=labels,
        scores=scores,
        frames=[(names[place], mious[place]) for place in ranking],
        names=names,
        counts=counts,
        intervals=tally.intervals()
        | {"boundary_miou": interval(mean_iou(resampled_iou(per_frame)[:, :-1]), len(rows))},
        boundary_iou=dict(zip(labels.names, boundary_iou[:-1].tolist(), strict=True)),
        calibration=calibration,
        slices=slices(index, counts),
        benchmark=_benchmark(scores, labels, road),
        performance=_performance(model, artifact, seconds),
        augmented={kind: each.scores.miou for kind, each in augmented.items()} or None,
        trained_on_these=count_seen_frames(artifact, dataset, rows),
        champion=rival,
        reference=Reference.of(observations, labels.names, dataset.version, EVALUATED),
    )
    ranked = RankedFrames(model, dataset, rows[ranking], evaluation.frames)
    with atomic_folder(destination, "evaluation.json") as folder:
        (folder / "evaluation.json").write_text(json.dumps(evaluation.to_dict(), indent=1) + "\n")
        _save_frames(evaluation, folder / "frames.npz")
        _draw_sheet(ranked, evaluation, folder / "predictions.png")
        confusion_picture(scores.category_confusion, labels, folder / "confusion.png")
        write_report(evaluation, ranked, folder / "confusion.png", folder / "report.html")
    return evaluation


def _rival(
    champion: Champion | None, model: Segmenter, dataset: PreparedDataset, rows: np.ndarray
) -> BaselineModel | None:
    if champion is None:
        return None
    if read_config(champion.artifact)["run_id"] == model.info["run_id"]:
        print(
            f"this model is the champion, version {champion.version}: nothing to compare with",
            file=sys.stderr,
        )
        return None
    rival = BaselineModel(champion, dataset, rows)
    if rival.reason:
        print(
            f"the champion, version {rival.version}, is not scored: {rival.reason}",
            file=sys.stderr,
        )
    return rival


def _truth(dataset: PreparedDataset, row: int) -> np.ndarray:
    try:
        return dataset.label_ids(row)
    except (OSError, BadImageError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        frame = dataset.index.frame[row]
        raise StreetsegError(
            f"{dataset.path} has no labels of {frame} at native size ({reason}): prepare or fetch "
            "the data again"
        ) from None


def _benchmark(scores: Scores, labels: LabelSpace, road: RoadCurve | None) -> dict[str, Any] | None:
    """The data set's own metric; iIoU needs instance ids, which are not prepared.

    BDD100K's own score of drivable areas (``evaluate_drivable`` of bdd100k's toolkit) averages the
    IoU of direct and alternative where the truth is not background: the official score of that
    label space.
    """
    if road:
        return road.to_dict()
    if labels.name in DRIVABLE_LABELS:
        return {
            "name": "BDD100K drivable area",
            "miou": plain_number(scores.miou_official),
            "iou": plain_numbers(scores.iou_official),
        }
    return None


def _performance(model: Segmenter, artifact: Path, seconds: list[float]) -> Performance:
    return Performance(
        latency_ms=float(np.median(seconds)) * 1000,
        megabytes=sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file()) / 1e6,
        onnx_megabytes=model.graph.stat().st_size / 1e6,
        cores=cores(),
        device=model.device,
    )


def _draw_sheet(ranked: RankedFrames, evaluation: Evaluation, path: Path) -> None:
    """Frames spread evenly from the best to the worst."""
    scores, frames = evaluation.scores, len(evaluation.frames)
    title = (
        f"{frames} {evaluation.split} frames: mIoU {scores.miou:.3f} over "
        f"{len(evaluation.labels.names)} categories, official category score "
        f"{scores.miou_official:.3f}; from the best frame to the worst"
    )
    lines = []
    for place in np.linspace(0, frames - 1, min(SHEET_FRAMES, frames)).round().astype(int):
        shown = ranked.show(place)
        caption = f"{shown.name}: mIoU {shown.miou:.2f}, {place + 1} of {frames}"
        lines.append((caption, shown.rgb, shown.truth, shown.predicted))
    prediction_sheet(lines, evaluation.labels, title, path)


def _save_frames(evaluation: Evaluation, path: Path) -> None:
    arrays = {"frames": np.array(evaluation.names), "counts": evaluation.counts}
    if evaluation.champion and evaluation.champion.model:
        arrays["champion_counts"] = evaluation.champion.tally.counts
    np.savez_compressed(path, allow_pickle=False, **arrays)
