"""The gate: may this model be registered?

Floors for its scores, and a comparison with the champion, scored again on the same frames. How sure
the comparison is comes from the paired bootstrap: the frames are drawn with replacement many times,
and both models are scored on each draw (Efron and Tibshirani, 1993). What was asked and cannot be
measured does not pass.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streetseg.config.params import Gate
from streetseg.core.errors import StreetsegError
from streetseg.evaluation.verdict import Condition, Verdict, shown
from streetseg.metrics.bootstrap import bootstrap_probability, mean_iou, resampled_iou
from streetseg.metrics.confusion import category_iou, category_miou

BETTER = "probability that it is better"
FLOORS_ALONE = "To let the floors alone decide this once, set `gate.against_champion=false`."


class FrameCounts(NamedTuple):
    """The confusion matrices (truth, prediction) of two models on the same frames."""

    challenger: np.ndarray
    """int64[F, C, C]."""
    champion: np.ndarray
    """int64[F, C, C], the same frames in the same order."""


def read_evaluation(folder: Path) -> tuple[dict[str, Any], FrameCounts | None]:
    """Read what the gate judges.

    Args:
        folder: what ``streetseg evaluate`` wrote.

    Returns:
        The content of ``evaluation.json``, and the counts of ``frames.npz`` if a champion was
        scored beside the model.

    Raises:
        StreetsegError: a file is missing or broken, or they are of different evaluations.
    """
    path = folder / "evaluation.json"
    try:
        evaluation = json.loads(path.read_text())
    except (OSError, ValueError):
        raise StreetsegError(f"no evaluation in {path}: run 'streetseg evaluate' first") from None
    champion = evaluation.get("champion")
    if champion is None or champion["miou"] is None:
        return evaluation, None
    path = folder / "frames.npz"
    try:
        with np.load(path) as arrays:
            frames = FrameCounts(arrays["counts"], arrays["champion_counts"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        raise StreetsegError(
            f"{path} does not hold the counts of both models: run 'streetseg evaluate' again"
        ) from None
    if frames.challenger.sum(axis=0).tolist() != evaluation["confusion"]:
        raise StreetsegError(
            f"{path} is of another evaluation than evaluation.json: run 'streetseg evaluate' again"
        )
    return evaluation, frames


def judge(
    evaluation: Mapping[str, Any], params: Gate, frames: FrameCounts | None = None
) -> Verdict:
    """Hold an evaluation against the gate's conditions.

    Args:
        evaluation: the content of ``evaluation.json``.
        params: the conditions.
        frames: the counts of both models, wherever a champion was scored.

    Raises:
        StreetsegError: a champion was scored and ``frames`` is missing, or not of the same frames.
    """
    champion: Any = evaluation.get("champion")
    conditions = [*_floors(evaluation, params), *_seen_frames(evaluation)]
    probability = None
    if unasked := _why_not_compared(evaluation, params):
        compared_with = f"nothing: {unasked}"
        conditions.append(Condition(BETTER, None, None, None, f"compared with {compared_with}"))
    elif refused := _why_refused(evaluation):
        compared_with = f"nothing: the champion, version {champion['version']}, is refused"
        conditions.append(_refusal(champion, *refused, params.confidence))
    else:
        compared_with = f"version {champion['version']}"
        compared = list(_compare(evaluation, params, _checked(evaluation, frames)))
        probability = compared[0].measured
        conditions += compared
    about = (
        f"Run `{evaluation['run_id']}` on {_frames(evaluation)} of data version "
        f"`{evaluation['data_version']}`, compared with {compared_with}"
    )
    if probability is not None:
        about += f", the champion (run `{champion['run_id']}`), scored again on the same frames"
    return Verdict.of(
        conditions, about=f"{about}.", compared_with=compared_with, probability=probability
    )


def _floors(evaluation: Mapping[str, Any], params: Gate) -> Iterator[Condition]:
    categories = evaluation["categories"]
    yield _floor(
        f"mean IoU over {len(categories)} categories",
        evaluation,
        evaluation["miou"],
        params.miou_floor,
        "no labelled pixel",
        "See in report.html what it confuses; train longer, on more frames or with other settings. "
        "The floor is `gate.miou_floor`.",
    )
    for category, floor in params.iou_floors.items():
        known = category in categories
        yield _floor(
            f"IoU of {category}",
            evaluation,
            evaluation["iou"][category] if known else None,
            floor,
            "it does not occur" if known else f"the categories are {', '.join(categories)}",
            f"Train with more weight on {category} (`train.loss.class_weight_power`), or on more "
            "frames that "
            f"show it. The floor is in `gate.iou_floors`.",
        )


def _floor(
    what: str,
    evaluation: Mapping[str, Any],
    score: float | None,
    floor: float,
    why_none: str,
    advice: str,
) -> Condition:
    if score is None or math.isnan(score):
        there, measured, passed = f"does not exist ({why_none})", None, False
    else:
        there, measured, passed = f"is {shown(score, floor)}", float(score), bool(score >= floor)
    side = "at or above" if passed else "below" if measured is not None else "not at"
    sentence = f"{what} {there} on {_frames(evaluation)}: {side} the floor of {floor:g}"
    name = what.partition(" over ")[0]
    return Condition(name, measured, floor, passed, sentence, advice)


def _seen_frames(evaluation: Mapping[str, Any]) -> Iterator[Condition]:
    """A score on frames that the model was trained on says nothing."""
    if seen := evaluation.get("trained_on_these"):
        yield Condition(
            "share of frames it was not trained on",
            1 - seen / len(evaluation["frames"]),
            1.0,
            False,
            f"it was trained on {seen} of the {_frames(evaluation)}, which flatters its scores",
            "Evaluate on frames that it was not trained on: of other cities, in the split `val`.",
        )


def _why_not_compared(evaluation: Mapping[str, Any], params: Gate) -> str:
    """Why no comparison is asked for; empty if one is."""
    if evaluation.get("champion") is None:
        return "there was no other champion"
    return "" if params.against_champion else "gate.against_champion is false"


def _why_refused(evaluation: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a comparison with the champion would not be fair, and what to do; None if it is."""
    champion = evaluation["champion"]
    for key, words in (("label_space", "its label space is"), ("categories", "its categories are")):
        theirs, ours = champion[key], evaluation[key]
        if theirs != ours:
            return (
                f"{words} {_listed(theirs)}, this model's {_listed(ours)}",
                "Give models of another label space a `registry.model_name` of their own.",
            )
    if champion["miou"] is None:
        return (
            champion.get("reason") or "it has no score on these frames",
            "Evaluate on frames that the champion can be scored on.",
        )
    if seen := champion.get("trained_on_these"):
        return (
            f"it was trained on {seen} of the {len(evaluation['frames'])} frames",
            "Evaluate on frames that neither model was trained on: split the data as it was for "
            "the champion, or promote a model that was trained without them.",
        )
    return None


def _refusal(champion: Mapping[str, Any], why: str, advice: str, confidence: float) -> Condition:
    sentence = (
        f"the champion, version {champion['version']}, is no fair yardstick: {why}; so nobody can "
        "say whether this model is better"
    )
    return Condition(BETTER, None, confidence, False, sentence, f"{advice} {FLOORS_ALONE}")


def _checked(evaluation: Mapping[str, Any], frames: FrameCounts | None) -> FrameCounts:
    """Both models' counts, in an order that does not depend on that of the frames.

    Raises:
        StreetsegError: they are missing, or not of the same labelled frames.
    """
    categories = len(evaluation["categories"])
    if (
        frames is None
        or not 0 < len(frames.challenger) == len(evaluation["frames"])
        or frames.challenger.shape[1:] != (categories, categories)
        or frames.challenger.shape != frames.champion.shape
        or (frames.challenger.sum(axis=2) != frames.champion.sum(axis=2)).any()
    ):
        raise StreetsegError(
            "the evaluation does not hold the counts of model and champion on the same frames: run "
            "'streetseg evaluate' again"
        )
    pairs = np.concatenate([counts.reshape(len(counts), -1) for counts in frames], axis=1)
    order = np.lexsort(pairs.T)
    return FrameCounts(*(counts[order] for counts in frames))


def _compare(
    evaluation: Mapping[str, Any], params: Gate, frames: FrameCounts
) -> Iterator[Condition]:
    ours, theirs = (resampled_iou(counts) for counts in frames)
    better = mean_iou(ours) > mean_iou(theirs)  # a tie is not better
    yield _better(evaluation["champion"], params.confidence, frames, better)
    for category in params.protected:
        if category in evaluation["categories"]:
            column = evaluation["categories"].index(category)
            difference = ours[:, column] - theirs[:, column]
            yield _no_worse(category, column, params, frames, difference)
        else:
            sentence = (
                f"{category} is protected, but the label space {evaluation['label_space']} has no "
                "such category"
            )
            yield Condition(f"probability that {category} is no worse", None, None, None, sentence)


def _better(
    champion: Mapping[str, Any], required: float, frames: FrameCounts, better: np.ndarray
) -> Condition:
    """``better``: whether our mean IoU is the higher one, bool[resamples]."""
    probability = bootstrap_probability(better, len(frames.champion))
    passed = probability >= required
    ours, theirs = (category_miou(counts.sum(axis=0)) for counts in frames)
    sentence = (
        f"{_sure(passed, probability, required)} better than the champion, version "
        f"{champion['version']}: mean IoU {ours:.3f} against {theirs:.3f} on the same "
        f"{len(frames.champion)} frames"
    )
    if champion.get("trained_on_these") is None:
        sentence += "; whether the champion was trained on these frames is not known"
    advice = (
        "It may be better, but these frames cannot show it: evaluate on more, or train a model "
        "that is better by more."
        if ours > theirs
        else "Keep the champion: this model is not better."
    )
    return Condition(BETTER, probability, required, passed, sentence, advice)


def _no_worse(
    category: str, column: int, params: Gate, frames: FrameCounts, difference: np.ndarray
) -> Condition:
    """``difference``: IoU of the category, ours less the champion's, float64[resamples]."""
    name, required = f"probability that {category} is no worse", params.protected_confidence
    showing = int(frames.champion[:, column].any(axis=1).sum())
    if not showing:
        return Condition(
            name,
            None,
            required,
            False,
            f"{category} is protected and occurs in none of the {len(frames.champion)} frames, so "
            "nobody can say whether it got worse",
            f"Evaluate on frames that show {category}, or take it out of `gate.protected`.",
        )
    known = difference[~np.isnan(difference)].round(9)
    probability = bootstrap_probability(known >= -params.tolerance, showing)
    passed = probability >= required
    ours, theirs = (category_iou(counts.sum(axis=0))[column] for counts in frames)
    sentence = (
        f"{_sure(passed, probability, required)} no more than {params.tolerance:g} worse for "
        f"{category}: IoU {ours:.3f} against {theirs:.3f} on the "
        f"{'1 frame that shows' if showing == 1 else f'{showing} frames that show'} it"
    )
    advice = (
        f"It is worse at {category} on these frames: train with more weight on it "
        "(`train.loss.class_weight_power`, `train.augment.rare_crop`), evaluate on more frames, or "
        "allow for it (`gate.tolerance`)."
        if ours < theirs - params.tolerance
        else f"These frames cannot rule out that {category} got worse: evaluate on more that show "
        "it."
    )
    return Condition(name, probability, required, passed, sentence, advice)


def _sure(passed: bool, probability: float, required: float) -> str:
    if passed:
        return f"{_percent(probability)} sure to be"
    return f"only {_percent(probability)} sure, not {_percent(required)}, to be"


def _frames(evaluation: Mapping[str, Any]) -> str:
    return f"{len(evaluation['frames'])} {evaluation['split']} frames"


def _percent(probability: float) -> str:
    """Rounded down, so that what falls short of a requirement never looks like it."""
    steps = 10 if 0.01 <= probability <= 0.99 else 100
    return f"{math.floor(100 * steps * probability + 1e-6) / steps:g} %"


def _listed(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
