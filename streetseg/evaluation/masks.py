"""Scores of folders of id masks, from any source."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
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
from streetseg.evaluation.truth import LabelIdFiles, TrueMask, Truth, suffixes
from streetseg.metrics.cityscapes import (
    CityscapesScores,
    ScoreTable,
    benchmark_entry,
    flat_scores,
    tables_of,
)
from streetseg.metrics.confusion import Scores, confusion_matrix, score
from streetseg.metrics.instance_iou import Objects

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
    """Score a folder of id masks against a folder of ``*_gtFine_labelIds.png``, at any depth.

    With ``<name>_gtFine_instanceIds.png`` beside a truth of label ids, the iIoU is computed too.

    Args:
        ids: the numbering of the predictions. None: what their palettes or a ``label_colors.txt``
            say, else label ids. A predicted 255 is void for train and category ids, or a miss where
            the label space has no void.
        truth_ids: likewise of the truth, where 255 is ignored for train and category ids.

    Raises:
        StreetsegError: as :func:`score_masks`, or there is no truth.
    """
    return score_masks(predictions, LabelIdFiles(truth, labels, truth_ids), ids)


def score_masks(predictions: Path, truth: Truth, ids: Ids | None = None) -> MaskScores:
    """Score a folder of id masks, at any depth, against ground truth of any source.

    A prediction belongs to a frame if its path ends with the frame's name, or with the path of its
    image or label, up to the end of the file's name or a character that is neither a letter nor a
    digit; if several match, to the longest. It has the size of the truth.

    Args:
        ids: the numbering of the predictions, as :func:`score_folders` takes it.

    Raises:
        StreetsegError: a frame without exactly one prediction, instance ids for some frames only,
            an invalid mask, or ids that another numbering fits better.
    """
    labels, pairs = truth.labels, pair_masks(predictions, truth)
    is_cityscapes = bool(tables_of(labels, by_category=False))
    instances = [mask.instances for mask in truth.masks if mask.instances]
    has_instances = is_cityscapes and len(instances) == len(truth.masks) and all_exist(instances)
    masks = IdMasks(predictions, labels, ids, "--ids {}", predicted=True)
    predicted = masks.read(path for _, path in pairs)
    total, benchmark = np.zeros((256, 256), np.int64), CityscapesScores()
    frames: list[tuple[str, Scores, dict[str, ScoreTable]]] = []
    tracked = track(pairs, total=len(pairs), description="score")
    for (mask, path), true_ids, predicted_ids in zip(tracked, truth.read(), predicted, strict=True):
        if true_ids.shape != predicted_ids.shape:
            raise StreetsegError(
                f"{path} is {predicted_ids.shape[1]}x{predicted_ids.shape[0]} but its "
                f"truth is {true_ids.shape[1]}x{true_ids.shape[0]}: scores are taken at the size "
                "of the truth"
            )
        confusion, objects = confusion_matrix(true_ids, predicted_ids), None
        if has_instances and mask.instances and truth.numberings == {"label"}:
            objects = Objects.of(
                read_instances(mask.instances, true_ids.shape, labels), predicted_ids
            )
        total += confusion
        frame = CityscapesScores()
        for each in (benchmark, frame):
            each.count(confusion, objects)
        frames.append((mask.name, score(confusion, labels), frame.tables))
    fitting = tables_of(labels, by_category="category" in truth.numberings | masks.numberings)
    return MaskScores(
        score(total, labels),
        _only(fitting, benchmark.tables),
        [_row(name, scores, _only(fitting, tables)) for name, scores, tables in frames],
        {
            "truth": ", ".join(sorted(truth.numberings)),
            "predictions": ", ".join(sorted(masks.numberings)),
        },
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


def pair_masks(predictions: Path, truth: Truth) -> list[tuple[TrueMask, Path]]:
    """The truth and the prediction of each frame; StreetsegError unless each has exactly one."""
    of_key: dict[str, list[int]] = {key: [] for other in truth.others for key in other.keys}
    for number, mask in enumerate(truth.masks):
        for key in mask.keys:
            of_key.setdefault(key, []).append(number)
    matching: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(predictions.rglob("*.png")):
        if not path.name.endswith(OVERLAY):
            keys = _keys_of_prediction(path.relative_to(predictions))
            found = (of_key[key] for key in keys if key in of_key)
            for number in next((each for each in found if len(each) < 2), []):
                matching[number].append(path)
    for number, mask in enumerate(truth.masks):
        if (count := len(matching[number])) != 1:
            raise StreetsegError(
                f"{mask.path} needs one prediction named {mask.name}*.png below {predictions}, "
                f"there are {count}"
            )
    return [(mask, matching[number][0]) for number, mask in enumerate(truth.masks)]


def _keys_of_prediction(path: Path) -> Iterator[str]:
    """What a prediction may belong to by its relative path, longest first."""
    ends = [match.start() for match in re.finditer(r"[\W_]", path.name)]
    for end in (*suffixes(path.parent), ""):
        for stop in reversed(ends):
            yield f"{end}/{path.name[:stop]}" if end else path.name[:stop]
