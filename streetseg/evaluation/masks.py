"""Scores of folders of id masks, from any source."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.data.instances import all_exist, read_instances
from streetseg.data.labels import LabelSpace
from streetseg.data.numbering import Ids
from streetseg.evaluation.mask_reader import IdMasks
from streetseg.metrics.cityscapes import (
    CityscapesScores,
    ScoreTable,
    benchmark_entry,
    flat_scores,
    tables_of,
)
from streetseg.metrics.confusion import Scores, confusion_matrix, score
from streetseg.metrics.instance_iou import Objects

TRUTH, INSTANCES = "_gtFine_labelIds.png", "_gtFine_instanceIds.png"

OVERLAY = "_overlay.png"
"""The end of the images that 'streetseg predict' writes beside its masks."""


@dataclass(frozen=True)
class MaskScores:
    """Scores of a folder of masks."""

    scores: Scores
    tables: Mapping[str, ScoreTable]
    """Those of the Cityscapes benchmark, ``classes`` and ``categories``, where they apply."""
    rows: Sequence[Mapping[str, Any]]
    """The name (``frame``) and the scores of each frame; NaN where a score does not exist."""
    numberings: dict[str, str]
    """Of ``truth`` and ``predictions``: label, train or category, or a ``label_colors.txt``."""

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that does not exist is null."""
        return {
            "frames": self.frames,
            "numberings": self.numberings,
            **self.scores.to_dict(),
            "benchmark": benchmark_entry(self.tables) if self.tables else None,
        }

    def write_csv(self, path: Path) -> None:
        """Write a row for each frame; a score that does not exist is empty.

        Raises:
            StreetsegError: the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self.rows[0]], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({name: "" if value != value else value for name, value in row.items()})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.getvalue())
        except OSError as error:
            raise StreetsegError(f"cannot write {path}: {error.strerror}") from None


def score_folders(
    predictions: Path,
    truth: Path,
    labels: LabelSpace,
    ids: Ids | None = None,
    truth_ids: Ids | None = None,
) -> MaskScores:
    """Score a folder of id masks against a folder of ``*_labelIds.png``, both searched recursively.

    A prediction belongs to ``<name>_gtFine_labelIds.png`` if its file name is ``<name>``, or starts
    with ``<name>`` and a character that is neither a letter nor a digit; if several match, to the
    longest ``<name>``. It has the size of the truth. With ``<name>_gtFine_instanceIds.png`` beside
    a truth of label ids, the iIoU is computed too.

    Args:
        ids: the numbering of the predictions. None: what their palettes or a ``label_colors.txt``
            say, else label ids. A predicted 255 is void for train and category ids, or a miss where
            the label space has no void.
        truth_ids: likewise of the truth, where 255 is ignored for train and category ids.

    Raises:
        StreetsegError: no truth, a frame without exactly one prediction, instance ids for some
            frames only, an invalid mask, or ids that another numbering fits better.
    """
    pairs = list(_pair_masks(predictions, truth))
    is_cityscapes = bool(tables_of(labels, by_category=False))
    has_instances = is_cityscapes and all_exist(instances_path(path) for path, _ in pairs)
    true_masks = IdMasks(truth, labels, truth_ids, "--truth-ids {}")
    predicted_masks = IdMasks(predictions, labels, ids, "--ids {}", predicted=True)
    total, benchmark = np.zeros((256, 256), np.int64), CityscapesScores()
    frames: list[tuple[str, Scores, dict[str, ScoreTable]]] = []
    for truth_path, predicted_path in track(pairs, total=len(pairs), description="score"):
        true_ids, predicted_ids = true_masks.read(truth_path), predicted_masks.read(predicted_path)
        if true_ids.shape != predicted_ids.shape:
            raise StreetsegError(
                f"{predicted_path} is {predicted_ids.shape[1]}x{predicted_ids.shape[0]} but its "
                f"truth is {true_ids.shape[1]}x{true_ids.shape[0]}: scores are taken at the size "
                "of the truth"
            )
        confusion, objects = confusion_matrix(true_ids, predicted_ids), None
        if has_instances and true_masks.numbering == "label":
            instances = read_instances(instances_path(truth_path), true_ids.shape, labels)
            objects = Objects.of(instances, predicted_ids)
        total += confusion
        frame = CityscapesScores()
        for each in (benchmark, frame):
            each.count(confusion, objects)
        name = truth_path.name.removesuffix(TRUTH)
        frames.append((name, score(confusion, labels), frame.tables))
    for masks in (true_masks, predicted_masks):
        masks.refuse_improbable()
    fitting = tables_of(labels, true_masks.by_category or predicted_masks.by_category)
    return MaskScores(
        score(total, labels),
        _only(fitting, benchmark.tables),
        [_row(name, scores, _only(fitting, tables)) for name, scores, tables in frames],
        {"truth": true_masks.numbering, "predictions": predicted_masks.numbering},
    )


def _only(names: Iterable[str], tables: Mapping[str, ScoreTable]) -> dict[str, ScoreTable]:
    return {name: tables[name] for name in names}


def _row(name: str, scores: Scores, tables: Mapping[str, ScoreTable]) -> dict[str, Any]:
    return {
        "frame": name,
        "pixel_accuracy": scores.pixel_accuracy,
        "miou": scores.miou,
        "miou_official": scores.miou_official,
        **{f"iou_{category}": value for category, value in scores.iou.items()},
        **flat_scores(tables),
    }


def instances_path(truth: Path) -> Path:
    """The file of instance ids beside a file of label ids."""
    return truth.with_name(truth.name.removesuffix(TRUTH) + INSTANCES)


def _pair_masks(predictions: Path, truth: Path) -> Iterator[tuple[Path, Path]]:
    """(truth, prediction) of each frame."""
    truths = sorted(truth.rglob(f"*{TRUTH}"))
    if not truths:
        raise StreetsegError(f"{truth} holds no *{TRUTH}")
    matching: dict[str, list[Path]] = {path.name.removesuffix(TRUTH): [] for path in truths}
    for mask in predictions.rglob("*.png"):
        if mask.name.endswith(OVERLAY):
            continue
        prefixes = [mask.name[: end.start()] for end in re.finditer(r"[\W_]", mask.name)]
        if name := next((prefix for prefix in reversed(prefixes) if prefix in matching), None):
            matching[name].append(mask)
    for path in truths:
        name = path.name.removesuffix(TRUTH)
        if len(matching[name]) != 1:
            raise StreetsegError(
                f"{path} needs one prediction named {name}*.png below {predictions}, "
                f"there are {len(matching[name])}"
            )
        yield path, matching[name][0]
