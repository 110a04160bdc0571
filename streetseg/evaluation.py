"""Scoring a model on a prepared dataset, or folders of id masks against their truth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.atomic import new_folder
from streetseg.config import Params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.imaging import BadImageError, decode_ids
from streetseg.inference import Segmenter, categories_at
from streetseg.labels import IGNORE, LabelSpace
from streetseg.metrics import Scores, confusion_matrix, confusion_of_categories, score
from streetseg.pictures import prediction_sheet
from streetseg.progress import track
from streetseg.report import write_report

SHEET_FRAMES = 5


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a split, as kept in ``evaluation.json``."""

    data_version: str
    split: str
    run_id: str
    labels: LabelSpace
    scores: Scores
    frames: list[tuple[str, float]]
    """(name, mIoU of that frame alone), best first."""

    def headline(self) -> dict[str, float]:
        """The scores that runs are compared by; those that do not exist are left out."""
        scores = {"miou": self.scores.miou, "miou_official": self.scores.miou_official}
        scores |= {f"iou_{name}": value for name, value in self.scores.iou.items()}
        return {name: value for name, value in scores.items() if not math.isnan(value)}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that does not exist is null."""
        return {
            "data_version": self.data_version,
            "split": self.split,
            "run_id": self.run_id,
            "label_space": self.labels.name,
            **scores_to_dict(self.scores, self.labels),
            "frames": [{"frame": name, "miou": _number(value)} for name, value in self.frames],
        }


def evaluate(
    artifact: Path, dataset: PreparedDataset, params: Params, destination: Path
) -> Evaluation:
    """Score what would be served: the ONNX graph, its answer brought to native size.

    Writes ``evaluation.json``, ``predictions.png`` and ``report.html`` to ``destination``, whole
    or not at all.

    Raises:
        StreetsegError: no such artifact or split, or they do not fit each other.
    """
    model = Segmenter(artifact)
    if model.size != dataset.size or model.labels != dataset.labels:
        raise StreetsegError(
            f"the model ({model.labels.name}, {model.size}) and the dataset "
            f"({dataset.labels.name}, {dataset.size}) differ in label space or size"
        )
    rows = dataset.rows(params.evaluate.split)
    total = np.zeros((256, 256), np.int64)
    per_frame: dict[int, float] = {}
    for row in track(rows, total=len(rows), description="evaluate"):
        truth = dataset.label_ids(row)
        categories = categories_at(_logits(model, dataset, row), truth.shape)
        counts = confusion_of_categories(truth, categories, model.labels)
        total += counts
        per_frame[int(row)] = score(counts, model.labels).miou
    ranked = sorted(per_frame, key=per_frame.__getitem__, reverse=True)
    evaluation = Evaluation(
        data_version=dataset.version,
        split=params.evaluate.split,
        run_id=model.info["run_id"],
        labels=model.labels,
        scores=score(total, model.labels),
        frames=[(dataset.index.frame[row], per_frame[row]) for row in ranked],
    )

    with new_folder(destination, "evaluation.json") as folder:
        (folder / "evaluation.json").write_text(json.dumps(evaluation.to_dict(), indent=1) + "\n")
        _draw_sheet(model, dataset, ranked, evaluation, folder / "predictions.png")
        write_report(evaluation, folder / "predictions.png", folder / "report.html")
    return evaluation


def score_folders(predictions: Path, truth: Path, labels: LabelSpace) -> tuple[Scores, int]:
    """Score id masks in one folder against ``*_labelIds.png`` in another, both searched deeply.

    A prediction belongs to ``<name>_gtFine_labelIds.png`` if its file name begins with
    ``<name>``; its pixels are label ids, at the size of the truth.

    Returns:
        The scores and the number of frames.

    Raises:
        StreetsegError: no truth, a frame without exactly one prediction, or a mask that is not
            what it should be.
    """
    total = np.zeros((256, 256), np.int64)
    pairs = list(_pair_masks(predictions, truth))
    for truth_path, predicted_path in track(pairs, total=len(pairs), description="score"):
        true_ids = _read_mask(truth_path, labels)
        predicted_ids = _read_mask(predicted_path, labels)
        if true_ids.shape != predicted_ids.shape:
            raise StreetsegError(
                f"{predicted_path} is {predicted_ids.shape[1]}x{predicted_ids.shape[0]} but its "
                f"truth is {true_ids.shape[1]}x{true_ids.shape[0]}: scores are taken at the size "
                "of the truth"
            )
        total += confusion_matrix(true_ids, predicted_ids)
    return score(total, labels), len(pairs)


def scores_to_dict(scores: Scores, labels: LabelSpace) -> dict[str, Any]:
    """Plain data for JSON; a score that does not exist is null."""
    return {
        "miou": _number(scores.miou),
        "miou_official": _number(scores.miou_official),
        "pixel_accuracy": _number(scores.pixel_accuracy),
        "iou": {name: _number(value) for name, value in scores.iou.items()},
        "dice": {name: _number(value) for name, value in scores.dice.items()},
        "iou_official": {name: _number(value) for name, value in scores.iou_official.items()},
        "categories": labels.names,
        "confusion": scores.category_confusion.tolist(),
    }


def _logits(model: Segmenter, dataset: PreparedDataset, row: int) -> np.ndarray:
    return model.logits(np.array(dataset.image(row))[None])[0]


def _draw_sheet(
    model: Segmenter,
    dataset: PreparedDataset,
    ranked: list[int],
    evaluation: Evaluation,
    path: Path,
) -> None:
    """Frames spread evenly from the best to the worst."""
    places = np.linspace(0, len(ranked) - 1, min(SHEET_FRAMES, len(ranked))).round().astype(int)
    lines = []
    for place in places:
        row = ranked[place]
        name, miou = evaluation.frames[place]
        predicted = _logits(model, dataset, row).argmax(axis=0).astype(np.uint8)
        caption = f"{name}: mIoU {miou:.2f}, {place + 1} of {len(ranked)}"
        lines.append((caption, dataset.image(row), dataset.categories(row), predicted))
    scores = evaluation.scores
    title = (
        f"{len(ranked)} {evaluation.split} frames: mIoU {scores.miou:.3f} over "
        f"{len(model.labels.names)} categories, official category score {scores.miou_official:.3f}"
        "; from the best frame to the worst"
    )
    prediction_sheet(lines, model.labels, title, path)


def _pair_masks(predictions: Path, truth: Path) -> Iterator[tuple[Path, Path]]:
    suffix = "_gtFine_labelIds.png"
    truths = sorted(truth.rglob(f"*{suffix}"))
    if not truths:
        raise StreetsegError(f"{truth} holds no *{suffix}")
    masks = sorted(predictions.rglob("*.png"))
    for path in truths:
        name = path.name.removesuffix(suffix)
        matching = [mask for mask in masks if mask.name.startswith(name)]
        if len(matching) != 1:
            raise StreetsegError(
                f"{path} needs one prediction named {name}*.png below {predictions}, "
                f"there are {len(matching)}"
            )
        yield path, matching[0]


def _read_mask(path: Path, labels: LabelSpace) -> np.ndarray:
    try:
        ids = decode_ids(path.read_bytes())
    except (BadImageError, OSError) as error:
        raise StreetsegError(f"{path} {error}") from None
    unknown = np.setdiff1d(ids, np.flatnonzero(labels.category_of != IGNORE))
    if unknown.size:
        raise StreetsegError(
            f"{path} holds id {unknown[0]}, which the label space '{labels.name}' does not "
            "define: masks must hold label ids"
        )
    return ids


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
