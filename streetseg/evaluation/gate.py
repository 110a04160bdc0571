"""The gate: floors for a model's scores, and a comparison with the champion on the same frames.

The comparison leaves out each drive in turn and scores both models on the others
(:mod:`streetseg.metrics.jackknife`). A condition that cannot be measured fails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from streetseg.config.params import Gate
from streetseg.core.errors import StreetsegError, did_you_mean
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.floors import (
    columns_of,
    condition_floors,
    floors,
    frames_of,
    title_of,
)
from streetseg.evaluation.result import ChampionScores, Evaluation
from streetseg.evaluation.sources import SourceScore, scores_by_source
from streetseg.evaluation.verdict import Condition, Verdict
from streetseg.metrics.confusion import against_rest, mean_iou
from streetseg.metrics.jackknife import FEW_DRIVES, Drives, Estimate, Jackknife

BETTER = "probability that it is better"
FLOORS_ALONE = "To let the floors alone decide this once, set `gate.against_champion=false`."


DEFAULT_PROTECTED = Gate().protected
ROUNDING = 1e-9
"""A loss of exactly the tolerance is tolerated."""


def check_categories(params: Gate, labels: LabelSpace) -> None:
    """Check that the settings of the gate name categories of a label space.

    ``iou_floors`` and ``protected`` may also name a category of Cityscapes that the label space has
    classes of, such as human for person and rider. The default of ``gate.protected`` is no error
    where the label space has neither.

    Raises:
        StreetsegError: a setting names another category.
    """
    _check_names(params, labels.names, labels.name)


def _check_names(params: Gate, names: Sequence[str], label_space: str) -> None:
    settings = {
        "iou_floors": [*params.iou_floors],
        "protected": [] if params.protected == DEFAULT_PROTECTED else params.protected,
        "allow_never_predicted": params.allow_never_predicted,
    }
    for setting, categories in settings.items():
        merging = setting != "allow_never_predicted"
        known = [*names, *(name for name in categories if merging and columns_of(name, names))]
        if unknown := next((name for name in categories if name not in known), None):
            hint = did_you_mean(unknown, names, f"it has {', '.join(names)}")
            raise StreetsegError(
                f"gate.{setting} names '{unknown}', which is no category of the label space "
                f"'{label_space}': {hint}"
            )


def judge(evaluation: Evaluation, params: Gate) -> Verdict:
    """Check an evaluation against the conditions of the gate.

    Raises:
        StreetsegError: the counts of model and champion are missing or of different frames, or a
            setting names an unknown category or condition, or the scores are of the split test.
    """
    evaluation.refuse_test()
    _check_names(params, evaluation.scores.categories, evaluation.label_space)
    champion = evaluation.champion
    conditions = [
        *floors(evaluation, params),
        *condition_floors(evaluation, params),
        *_never_predicted(evaluation, params),
        *_seen_frames(evaluation),
    ]
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
        f"Run `{evaluation.run_id}` on {frames_of(evaluation)} of data version "
        f"`{evaluation.data_version}`, compared with {compared_with}"
    )
    if champion and probability is not None:
        about += f", the champion (run `{champion.run_id}`), scored again on the same frames"
    return Verdict.of(
        conditions, about=f"{about}.", compared_with=compared_with, probability=probability
    )


def _never_predicted(evaluation: Evaluation, params: Gate) -> Iterator[Condition]:
    """Categories that occur and are never predicted; void, which has no official score, may be."""
    scores = evaluation.scores
    true, predicted = (scores.category_confusion.sum(axis=axis) > 0 for axis in (1, 0))
    occurring = [name for name, occurs in zip(scores.categories, true, strict=True) if occurs]
    missed = [
        name
        for name, is_missed in zip(scores.categories, true & ~predicted, strict=True)
        if is_missed and name in (scores.iou_official or scores.iou)
    ]
    allowed = [name for name in missed if name in params.allow_never_predicted]
    name = "share of the categories shown that it predicts"
    if refused := [name for name in missed if name not in allowed]:
        yield Condition(
            name,
            1 - len(refused) / len(occurring),
            1.0,
            False,
            f"it never predicts {', '.join(refused)} on {frames_of(evaluation)}, which show it",
            f"Train with more weight on {', '.join(refused)} (`train.loss.class_weight_power`, "
            "`train.augment.rare_crop`), or name it in `gate.allow_never_predicted`.",
        )
    if allowed:
        sentence = f"it never predicts {', '.join(allowed)}: gate.allow_never_predicted allows it"
        yield Condition(name, None, None, None, sentence)


def _seen_frames(evaluation: Evaluation) -> Iterator[Condition]:
    if n_seen := evaluation.n_seen_in_training:
        yield Condition(
            "share of frames it was not trained on",
            1 - n_seen / len(evaluation.frames),
            1.0,
            False,
            f"it was trained on {n_seen} of the {frames_of(evaluation)}, which flatters its scores",
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


def _paired(
    evaluation: Evaluation, champion: ChampionScores, columns: Sequence[int] | None = None
) -> Jackknife:
    """The gains of the model over the champion on the same frames, by category.

    With ``columns``, category 0 is the union of these and 1 the rest.
    """
    counts, champion_counts, drives = evaluation.counts, champion.counts, evaluation.drives
    n_categories = len(evaluation.scores.categories)
    if (
        counts is None
        or champion_counts is None
        or not 0 < len(counts) == len(evaluation.frames)
        or (drives is not None and len(drives) != len(counts))
        or counts.shape[1:] != (n_categories, n_categories)
        or counts.shape != champion_counts.shape
        or (counts.sum(axis=2) != champion_counts.sum(axis=2)).any()
    ):
        raise StreetsegError(
            "the evaluation does not hold the counts of model and champion on the same frames: run "
            "'streetseg evaluate' again"
        )
    if columns is not None:
        counts, champion_counts = (
            against_rest(each, columns) for each in (counts, champion_counts)
        )
    return Jackknife(counts, evaluation.drives_of_frames, minus=champion_counts)


def _compare(evaluation: Evaluation, champion: ChampionScores, params: Gate) -> Iterator[Condition]:
    gains = _paired(evaluation, champion)
    yield _better(evaluation, champion, params.confidence, gains)
    yield from _no_worse_on_sources(evaluation, params)
    names = evaluation.scores.categories
    for category in params.protected:
        if columns_of(category, names):
            yield _no_worse(evaluation, champion, category, params)
        else:
            sentence = (
                f"{category} is protected by default, but the label space "
                f"{evaluation.label_space} has no such category, so it is not"
            )
            yield Condition(f"probability that {category} is no worse", None, None, None, sentence)


def _better(
    evaluation: Evaluation, champion: ChampionScores, required: float, gains: Jackknife
) -> Condition:
    n_frames, gain = len(evaluation.frames), gains.mean()
    sample = f"the same {_sample(n_frames, gain, gains.drives)}"
    probability = gain.probability_above(0)  # a tie is not better
    if probability is None:
        return Condition(
            BETTER,
            None,
            required,
            False,
            f"nobody can say whether it is better than the champion, version {champion.version}, "
            f"on other drives: both were scored on {sample}",
            f"Evaluate on frames of several drives. {FLOORS_ALONE}",
        )
    passed = probability >= required
    miou, champion_miou = (float(mean_iou(iou)) for iou in gains.totals)
    sentence = (
        f"{_sure(passed, probability, required)} better than the champion, version "
        f"{champion.version}: mean IoU {miou:.3f} against {champion_miou:.3f} on {sample}"
    )
    if champion.n_seen_in_training is None:
        sentence += "; whether the champion was trained on these frames is not known"
    advice = (
        "It may be better, but these frames cannot show it: evaluate on more drives, or train a "
        "model that is better by more."
        if miou > champion_miou
        else "Keep the champion: this model is not better."
    )
    return Condition(BETTER, probability, required, passed, sentence, advice)


def _no_worse(
    evaluation: Evaluation, champion: ChampionScores, category: str, params: Gate
) -> Condition:
    name, required = f"probability that {category} is no worse", params.protected_confidence
    names = evaluation.scores.categories
    title, columns = title_of(category, names), columns_of(category, names)
    gains = _paired(evaluation, champion, columns)
    n_showing, gain = gains.frames_showing(0), gains.category(0)
    probability = gain.probability_above(-params.tolerance - ROUNDING)
    if probability is None:
        where = (
            f"is shown by {_plural(n_showing, 'frame')} of {_plural(gain.drives, 'drive')} alone"
            if n_showing
            else f"occurs in none of the {len(evaluation.frames)} frames"
        )
        return Condition(
            name,
            None,
            required,
            False,
            f"{title} is protected and {where}, so nobody can say whether it got worse",
            f"Evaluate on several drives that show {category}, or take it out of `gate.protected`.",
        )
    passed = probability >= required
    iou, champion_iou = (iou[0] for iou in gains.totals)
    sentence = (
        f"{_sure(passed, probability, required)} no more than {params.tolerance:g} worse for "
        f"{title}: IoU {iou:.3f} against {champion_iou:.3f} on those that "
        f"show it, {_sample(n_showing, gain, gains.drives)}"
    )
    advice = (
        f"It is worse at {category} on these frames: train with more weight on it "
        "(`train.loss.class_weight_power`, `train.augment.rare_crop`), evaluate on more frames, or "
        "allow for it (`gate.tolerance`)."
        if iou < champion_iou - params.tolerance
        else f"These frames cannot rule out that {category} got worse: evaluate on more drives "
        "that show it."
    )
    return Condition(name, probability, required, passed, sentence, advice)


def _no_worse_on_sources(evaluation: Evaluation, params: Gate) -> Iterator[Condition]:
    """The old and the new frames, each for themselves, if the data have several sources."""
    groups = evaluation.metrics.get("groups") or []
    if evaluation.sources is None and len({group["source"] for group in groups}) > 1:
        raise StreetsegError(
            "the evaluation of several sources does not hold the source of each frame, as those "
            "of an earlier build: run 'streetseg evaluate' again"
        )
    for source in scores_by_source(evaluation):
        yield _no_worse_on(source, params)


def _no_worse_on(source: SourceScore, params: Gate) -> Condition:
    name, required = (
        f"probability that it is no worse on {source.name}",
        params.protected_confidence,
    )
    gain, tolerance = source.difference, params.source_tolerance
    scores = (
        f"on {source.name}: {source.miou:.3f} (champion {source.champion_miou:.3f}, "
        f"{gain.value:+.3f})"
    )
    if math.isnan(gain.value):
        scores = f"on {source.name}: no labelled pixel"
    sample = _sample(source.frames, gain, source.drives)
    if tolerance == 1:
        sentence = f"{scores}, on {sample}; gate.source_tolerance = 1 allows any loss"
        return Condition(name, None, None, None, sentence)
    probability = gain.probability_above(-tolerance - ROUNDING)
    if probability is None:
        return Condition(
            name,
            None,
            required,
            False,
            f"{scores}: nobody can say whether it got worse on other drives than this {sample}",
            f"Evaluate on several drives of {source.name}, or allow any loss there "
            "(`gate.source_tolerance=1`).",
        )
    passed = probability >= required
    sentence = (
        f"{scores}, {_sure(passed, probability, required)} no more than {tolerance:g} worse there, "
        f"on {sample}"
    )
    advice = (
        f"It lost on {source.name}: train on more of its frames or longer, or allow for it "
        "(`gate.source_tolerance`)."
        if gain.value < -tolerance
        else f"These frames cannot rule out that it got worse on {source.name}: evaluate on more "
        "drives of it."
    )
    return Condition(name, probability, required, passed, sentence, advice)


def _sample(n_frames: int, estimate: Estimate, drives: Drives) -> str:
    """Frames and drives in words: what an estimate rests on."""
    frames, notes = _plural(n_frames, "frame"), []
    if not drives.n_unknown:
        frames += f" of {_plural(estimate.drives, 'drive')}"
    elif drives.n_unknown == len(drives.of):
        notes.append("drives unknown: each frame counts as one")
    else:
        notes.append("some of unknown drives: such a frame counts as one")
    effective = estimate.effective_drives
    if effective < FEW_DRIVES and estimate.drives > 1:
        equal = f": as good as {effective:.1f} of one length"
        notes.append(f"few{equal if effective < estimate.drives - 0.5 else ''}")
    return f"{frames} ({'; '.join(notes)})" if notes else frames


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _sure(passed: bool, probability: float, required: float) -> str:
    if passed:
        return f"{_percent(probability)} sure to be"
    return f"only {_percent(probability)} sure, not {_percent(required)}, to be"


def _percent(probability: float) -> str:
    """Rounded down, so that a value below a requirement never looks like it."""
    steps = 10 if 0.01 <= probability <= 0.99 else 100
    return f"{math.floor(100 * steps * probability + 1e-6) / steps:g} %"
