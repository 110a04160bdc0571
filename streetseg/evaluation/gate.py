"""The gate: floors for a model's scores, and a comparison with the champion on the same frames.

The comparison uses the paired bootstrap (Efron and Tibshirani, 1993): frames are drawn with
replacement, and both models are scored on each draw. A condition that cannot be measured fails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from streetseg.config.params import Gate
from streetseg.core.errors import StreetsegError
from streetseg.evaluation.result import ChampionScores, Evaluation
from streetseg.evaluation.verdict import Condition, Verdict, shown
from streetseg.metrics.bootstrap import bootstrap_probability, mean_iou, resampled_iou
from streetseg.metrics.confusion import category_iou, category_miou

BETTER = "probability that it is better"
FLOORS_ALONE = "To let the floors alone decide this once, set `gate.against_champion=false`."


class PairedCounts(NamedTuple):
    """Confusion (truth, prediction) of the same frames in the same order: int64[F, C, C] each."""

    challenger: np.ndarray
    champion: np.ndarray


def judge(evaluation: Evaluation, params: Gate) -> Verdict:
    """Check an evaluation against the conditions of the gate.

    Raises:
        StreetsegError: the counts of model and champion are missing or of different frames.
    """
    champion = evaluation.champion
    conditions = [*_floors(evaluation, params), *_seen_frames(evaluation)]
    probability = None
    if champion is None or not params.against_champion:
        why = "gate.against_champion is false" if champion else "there was no other champion"
        compared_with = f"nothing: {why}"
        conditions.append(Condition(BETTER, None, None, None, f"compared with {compared_with}"))
    elif refusal := _why_refused(evaluation, champion):
        compared_with = f"nothing: the champion, version {champion.version}, is refused"
        conditions.append(_refused(champion, *refusal, params.confidence))
    else:
        compared_with = f"version {champion.version}"
        comparison = list(_compare(evaluation, champion, params))
        probability = comparison[0].measured
        conditions += comparison
    about = (
        f"Run `{evaluation.run_id}` on {_frames(evaluation)} of data version "
        f"`{evaluation.data_version}`, compared with {compared_with}"
    )
    if champion and probability is not None:
        about += f", the champion (run `{champion.run_id}`), scored again on the same frames"
    return Verdict.of(
        conditions, about=f"{about}.", compared_with=compared_with, probability=probability
    )


def _floors(evaluation: Evaluation, params: Gate) -> Iterator[Condition]:
    scores, frames = evaluation.scores, _frames(evaluation)
    names = scores.categories
    yield _floor(
        "mean IoU",
        f"mean IoU over {len(names)} categories",
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
            f"IoU of {category}",
            scores.iou.get(category, math.nan),
            floor,
            frames,
            "it does not occur" if category in names else f"the categories are {', '.join(names)}",
            f"Train with more weight on {category} (`train.loss.class_weight_power`), or on more "
            f"frames that show it. The floor is in `gate.iou_floors`.",
        )


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


def _seen_frames(evaluation: Evaluation) -> Iterator[Condition]:
    if n_seen := evaluation.n_seen_in_training:
        yield Condition(
            "share of frames it was not trained on",
            1 - n_seen / len(evaluation.frames),
            1.0,
            False,
            f"it was trained on {n_seen} of the {_frames(evaluation)}, which flatters its scores",
            "Evaluate on frames that it was not trained on: of other cities, in the split `val`.",
        )


def _why_refused(evaluation: Evaluation, champion: ChampionScores) -> tuple[str, str] | None:
    """Why a comparison with the champion would be unfair, and what to do; None if it is fair."""
    own_names = evaluation.scores.categories
    another_name = "Give models of another label space a `registry.model_name` of their own."
    if champion.label_space != evaluation.label_space:
        spaces = f"{champion.label_space}, this model's {evaluation.label_space}"
        return f"its label space is {spaces}", another_name
    if champion.categories != own_names:
        names = f"{', '.join(champion.categories)}, this model's {', '.join(own_names)}"
        return f"its categories are {names}", another_name
    if not champion.is_scored:
        return (
            champion.reason or "it has no score on these frames",
            "Evaluate on frames that the champion can be scored on.",
        )
    if n_seen := champion.n_seen_in_training:
        return (
            f"it was trained on {n_seen} of the {len(evaluation.frames)} frames",
            "Evaluate on frames that neither model was trained on: split the data as it was for "
            "the champion, or promote a model that was trained without them.",
        )
    return None


def _refused(champion: ChampionScores, why: str, advice: str, confidence: float) -> Condition:
    sentence = (
        f"the champion, version {champion.version}, is no fair yardstick: {why}; so nobody can "
        "say whether this model is better"
    )
    return Condition(BETTER, None, confidence, False, sentence, f"{advice} {FLOORS_ALONE}")


def _paired_counts(evaluation: Evaluation, champion: ChampionScores) -> PairedCounts:
    """The counts of both models, sorted so that the order of the frames does not matter."""
    counts, champion_counts = evaluation.counts, champion.counts
    n_categories = len(evaluation.scores.categories)
    if (
        counts is None
        or champion_counts is None
        or not 0 < len(counts) == len(evaluation.frames)
        or counts.shape[1:] != (n_categories, n_categories)
        or counts.shape != champion_counts.shape
        or (counts.sum(axis=2) != champion_counts.sum(axis=2)).any()
    ):
        raise StreetsegError(
            "the evaluation does not hold the counts of model and champion on the same frames: run "
            "'streetseg evaluate' again"
        )
    flat = [each.reshape(len(each), -1) for each in (counts, champion_counts)]
    order = np.lexsort(np.concatenate(flat, axis=1).T)
    return PairedCounts(counts[order], champion_counts[order])


def _compare(evaluation: Evaluation, champion: ChampionScores, params: Gate) -> Iterator[Condition]:
    pair = _paired_counts(evaluation, champion)
    samples, champion_samples = (resampled_iou(counts) for counts in pair)
    is_better = mean_iou(samples) > mean_iou(champion_samples)  # a tie is not better
    yield _better(champion, params.confidence, pair, is_better)
    names = evaluation.scores.categories
    for category in params.protected:
        if category in names:
            column = names.index(category)
            gains = samples[:, column] - champion_samples[:, column]
            yield _no_worse(category, column, params, pair, gains)
        else:
            sentence = (
                f"{category} is protected, but the label space {evaluation.label_space} has no "
                "such category"
            )
            yield Condition(f"probability that {category} is no worse", None, None, None, sentence)


def _better(
    champion: ChampionScores, required: float, pair: PairedCounts, is_better: np.ndarray
) -> Condition:
    """``is_better``: whether the challenger's mean IoU is higher, bool[resamples]."""
    n_frames = len(pair.champion)
    probability = bootstrap_probability(is_better, n_frames)
    passed = probability >= required
    miou, champion_miou = (category_miou(counts.sum(axis=0)) for counts in pair)
    sentence = (
        f"{_sure(passed, probability, required)} better than the champion, version "
        f"{champion.version}: mean IoU {miou:.3f} against {champion_miou:.3f} on the same "
        f"{n_frames} frames"
    )
    if champion.n_seen_in_training is None:
        sentence += "; whether the champion was trained on these frames is not known"
    advice = (
        "It may be better, but these frames cannot show it: evaluate on more, or train a model "
        "that is better by more."
        if miou > champion_miou
        else "Keep the champion: this model is not better."
    )
    return Condition(BETTER, probability, required, passed, sentence, advice)


def _no_worse(
    category: str, column: int, params: Gate, pair: PairedCounts, gains: np.ndarray
) -> Condition:
    """``gains``: IoU of the category, the challenger's minus the champion's, float64[resamples]."""
    name, required = f"probability that {category} is no worse", params.protected_confidence
    n_showing = int(pair.champion[:, column].any(axis=1).sum())
    if not n_showing:
        return Condition(
            name,
            None,
            required,
            False,
            f"{category} is protected and occurs in none of the {len(pair.champion)} frames, so "
            "nobody can say whether it got worse",
            f"Evaluate on frames that show {category}, or take it out of `gate.protected`.",
        )
    valid = gains[~np.isnan(gains)].round(9)
    probability = bootstrap_probability(valid >= -params.tolerance, n_showing)
    passed = probability >= required
    iou, champion_iou = (category_iou(counts.sum(axis=0))[column] for counts in pair)
    sentence = (
        f"{_sure(passed, probability, required)} no more than {params.tolerance:g} worse for "
        f"{category}: IoU {iou:.3f} against {champion_iou:.3f} on the "
        f"{'1 frame that shows' if n_showing == 1 else f'{n_showing} frames that show'} it"
    )
    advice = (
        f"It is worse at {category} on these frames: train with more weight on it "
        "(`train.loss.class_weight_power`, `train.augment.rare_crop`), evaluate on more frames, or "
        "allow for it (`gate.tolerance`)."
        if iou < champion_iou - params.tolerance
        else f"These frames cannot rule out that {category} got worse: evaluate on more that show "
        "it."
    )
    return Condition(name, probability, required, passed, sentence, advice)


def _sure(passed: bool, probability: float, required: float) -> str:
    if passed:
        return f"{_percent(probability)} sure to be"
    return f"only {_percent(probability)} sure, not {_percent(required)}, to be"


def _frames(evaluation: Evaluation) -> str:
    return f"{len(evaluation.frames)} {evaluation.split} frames"


def _percent(probability: float) -> str:
    """Rounded down, so that a value below a requirement never looks like it."""
    steps = 10 if 0.01 <= probability <= 0.99 else 100
    return f"{math.floor(100 * steps * probability + 1e-6) / steps:g} %"
