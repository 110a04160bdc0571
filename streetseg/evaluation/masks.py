"""Scores of folders of id masks, from any source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.data.labels import LabelSpace
from streetseg.data.numbering import Ids
from streetseg.evaluation.mask_reader import IdMasks
from streetseg.images.decode import decode_instances, read_image
from streetseg.metrics.confusion import (
    Scores,
    confusion_matrix,
    mean_iou,
    plain_number,
    plain_numbers,
    score,
)
from streetseg.metrics.instance_iou import FIRST_INSTANCE, InstanceIou

TRUTH, INSTANCES = "_gtFine_labelIds.png", "_gtFine_instanceIds.png"

OVERLAY = "_overlay.png"
"""The end of the images that 'streetseg predict' writes beside its masks."""


@dataclass(frozen=True)
class MaskScores:
    """Scores of a folder of masks."""

    scores: Scores
    frames: int
    iiou: dict[str, float] | None
    """iIoU of each category that has instances; None without instance ids beside the truth."""
    numberings: dict[str, str]
    """Of ``truth`` and ``predictions``: label, train or category, or a ``label_colors.txt``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that does not exist is null."""
        benchmark = None
        if self.iiou:
            benchmark = {
                "name": "Cityscapes iIoU of categories",
                "miiou": plain_number(float(mean_iou(np.array([*self.iiou.values()])))),
                "iiou": plain_numbers(self.iiou),
            }
        return {
            "frames": self.frames,
            "numberings": self.numberings,
            **self.scores.to_dict(),
            "benchmark": benchmark,
        }


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
            say, else label ids. A predicted 255 is void for train and category ids.
        truth_ids: likewise of the truth, where 255 is ignored for train and category ids.

    Raises:
        StreetsegError: no truth, a frame without exactly one prediction, instance ids for some
            frames only, an invalid mask, or ids that another numbering fits better.
    """
    total = np.zeros((256, 256), np.int64)
    pairs = list(_pair_masks(predictions, truth))
    has_instances = _all_have_instances([path for path, _ in pairs])
    instance_iou = InstanceIou(labels) if has_instances else None
    true_masks = IdMasks(truth, labels, truth_ids, "--truth-ids {}")
    predicted_masks = IdMasks(predictions, labels, ids, "--ids {}", predicted=True)
    for truth_path, predicted_path in track(pairs, total=len(pairs), description="score"):
        true_ids, predicted_ids = true_masks.read(truth_path), predicted_masks.read(predicted_path)
        if true_ids.shape != predicted_ids.shape:
            raise StreetsegError(
                f"{predicted_path} is {predicted_ids.shape[1]}x{predicted_ids.shape[0]} but its "
                f"truth is {true_ids.shape[1]}x{true_ids.shape[0]}: scores are taken at the size "
                "of the truth"
            )
        total += confusion_matrix(true_ids, predicted_ids)
        if instance_iou and true_masks.numbering == "label":
            instances = _read_instances(instances_path(truth_path), true_ids.shape, labels)
            instance_iou.add(instances, predicted_ids)
    for masks in (true_masks, predicted_masks):
        masks.refuse_improbable()
    in_label_ids = true_masks.numbering == "label"
    iiou = instance_iou.result(total) if instance_iou and in_label_ids else None
    numberings = {"truth": true_masks.numbering, "predictions": predicted_masks.numbering}
    return MaskScores(score(total, labels), len(pairs), iiou, numberings)


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


def _all_have_instances(truths: list[Path]) -> bool:
    without = [path for path in truths if not instances_path(path).exists()]
    if without and len(without) < len(truths):
        raise StreetsegError(
            f"{without[0]} has no {INSTANCES[1:]} beside it, where other frames have: the iIoU "
            "needs that of every frame, so add it or remove the others"
        )
    return not without


def _read_instances(path: Path, size: tuple[int, ...], labels: LabelSpace) -> np.ndarray:
    ids = read_image(path, decode_instances)
    if ids.shape != size:
        raise StreetsegError(f"{path} is of another size than the label ids beside it")
    objects = ids[ids > FIRST_INSTANCE]
    unknown = np.setdiff1d(objects // FIRST_INSTANCE, [label.id for label in labels.labels])
    if unknown.size:
        raise StreetsegError(
            f"{path} holds an object of label {unknown[0]}, which the label space '{labels.name}' "
            "does not define"
        )
    return ids
