"""The floors of the gate: scores that a model must reach whatever the champion does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from streetseg.config.params import Gate
from streetseg.core.errors import StreetsegError, did_you_mean
from streetseg.evaluation.result import Evaluation
from streetseg.evaluation.verdict import Condition, shown
from streetseg.metrics.cityscapes import classes_of
from streetseg.metrics.confusion import Scores, against_rest, category_iou


def floors(evaluation: Evaluation, params: Gate) -> Iterator[Condition]:
    """The floors of the mean IoU and of single categories."""
    scores, frames = evaluation.scores, frames_of(evaluation)
    yield _floor(
        "mean IoU",
        f"mean IoU over {scores.extent}",
        scores.miou,
        params.miou_floor,
        frames,
        "no labelled pixel",
        "See in report.html what it confuses; train longer, on more frames or with other settings. "
        "The floor is `gate.miou_floor`.",
    )
    for category, floor in params.iou_floors.items():
        yield _floor(
            f"IoU of {category}",
            f"IoU of {title_of(category, scores.categories)}",
            _iou(scores, category),
            floor,
            frames,
            "it does not occur",
            f"Train with more weight on {category} (`train.loss.class_weight_power`), or on more "
            f"frames that show it. The floor is in `gate.iou_floors`.",
        )


def condition_floors(evaluation: Evaluation, params: Gate) -> Iterator[Condition]:
    """The floors of conditions such as night, which each source with that condition must reach.

    Raises:
        StreetsegError: a floor names a condition that the frames do not have.
    """
    groups = [each for each in evaluation.metrics.get("groups") or [] if each["condition"]]
    known = sorted({each["condition"] for each in groups})
    for condition, floor in params.condition_floors.items():
        if condition not in known:
            has = f"the data have {', '.join(known)}" if known else "the data state none"
            raise StreetsegError(
                f"gate.condition_floors names '{condition}', which is no condition of the frames: "
                f"{did_you_mean(condition, known, has)}"
            )
        for group in groups:
            if group["condition"] != condition:
                continue
            where = " in ".join(filter(None, (condition, group["source"])))
            yield _floor(
                f"mean IoU at {where}",
                f"mean IoU at {where}",
                math.nan if group["miou"] is None else group["miou"],
                floor,
                f"{group['frames']} {evaluation.split} frames",
                "no labelled pixel",
                f"Train on more frames of {condition}, or augment with its weather. The floor is "
                "in `gate.condition_floors`.",
            )


def columns_of(category: str, names: Sequence[str]) -> list[int]:
    """A category of the label space, or its classes of a category of Cityscapes."""
    members = [category] if category in names else classes_of(category, names)
    return [names.index(name) for name in members]


def title_of(category: str, names: Sequence[str]) -> str:
    """What sentences call a category: with its classes, if they are merged."""
    members = ", ".join(names[column] for column in columns_of(category, names))
    return category if category in names else f"{category} ({members})"


def _iou(scores: Scores, category: str) -> float:
    if category in scores.iou:
        return scores.iou[category]
    columns = columns_of(category, scores.categories)
    return float(category_iou(against_rest(scores.category_confusion, columns))[0])


def _floor(
    name: str, title: str, score: float, floor: float, frames: str, why_none: str, advice: str
) -> Condition:
    if math.isnan(score):
        sentence = f"{title} does not exist ({why_none}) on {frames}: not at the floor of {floor:g}"
        return Condition(name, None, floor, False, sentence, advice)
    passed = bool(score >= floor)
    side = "at or above" if passed else "below"
    sentence = f"{title} is {shown(score, floor)} on {frames}: {side} the floor of {floor:g}"
    return Condition(name, float(score), floor, passed, sentence, advice)


def frames_of(evaluation: Evaluation) -> str:
    """What sentences call the frames, as ``24 val frames``."""
    return f"{len(evaluation.frames)} {evaluation.split} frames"
