"""The gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streetseg.config.params import Gate
from streetseg.core.errors import StreetsegError
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.evaluation.verdict import Condition, Verdict
from tests.support.evaluations import CATEGORIES, champion_of, evaluation_of

BETTER = "probability that it is better"
LOW = Gate(miou_floor=0)


def counts(frames: int = 24, seed: int = 0, hits: float = 0.8) -> np.ndarray:
    """Confusion matrices of the same truth for any fraction of hits: int64[frames, 3, 3]."""
    truth = np.random.default_rng(seed).integers(500, 2000, (frames, 3))
    hit = (hits * truth).astype(int)
    confusion = np.zeros((frames, 3, 3), np.int64)
    for category in range(3):
        confusion[:, category, category] = hit[:, category]
        confusion[:, category, (category + 1) % 3] = (truth - hit)[:, category]
    return confusion


def changed(counts: np.ndarray, seed: int, *, better: bool) -> np.ndarray:
    """A model that is better (or worse) on every frame.

    On each frame at least one pixel, and at random many, of a category go from miss to hit (or
    back), and none the other way. Then hits rise and no union grows in any sum of frames, so every
    mean IoU over frames rises. A higher mean IoU on each frame alone would not say that much.
    """
    random = np.random.default_rng(seed)
    result = counts.copy()
    for frame in result:
        for category in random.permutation(3)[: random.integers(1, 4)]:
            other = (category + random.integers(1, 3)) % 3
            source, target = (other, category) if better else (category, other)
            if pixels := frame[category, source]:
                pixels = random.integers(1, pixels + 1)
                frame[category, source] -= pixels
                frame[category, target] += pixels
    return result


def noisy(frames: int, seed: int) -> np.ndarray:
    """Confusion matrices of any content, of which some categories are missing on some frames."""
    random = np.random.default_rng(seed)
    return random.integers(1, 200, (frames, 3, 3)) * random.integers(0, 2, (frames, 3, 1))


def evaluation(**changes: object) -> Evaluation:
    """Without a champion."""
    return evaluation_of(counts(), **changes)


def with_scores(miou: float = 0.6, **iou: float) -> Evaluation:
    """Without a champion, with these scores whatever the counts say."""
    scores = evaluation().scores
    return evaluation(scores=replace(scores, miou=miou, iou=scores.iou | iou))


def beside(ours: np.ndarray, champion: np.ndarray, **changes: object) -> Evaluation:
    """Beside a champion; ``changes`` are to its scores."""
    return evaluation_of(ours, champion=champion_of(champion, **changes))


def compare(
    ours: np.ndarray, champion: np.ndarray, params: Gate = LOW, **changes: object
) -> Verdict:
    """The verdict on a model beside a champion; ``changes`` are to the champion's scores."""
    return judge(beside(ours, champion, **changes), params)


def named(verdict: Verdict, name: str) -> Condition:
    (condition,) = [each for each in verdict.conditions if each.name == name]
    return condition


# Floors


@pytest.mark.parametrize(
    ("miou", "passed"),
    [(0.61, True), (0.6, True), (0.599, False), (0.0, False), (np.nan, False)],
)
def test_it_opens_at_the_floor(miou: float, passed: bool) -> None:
    assert judge(with_scores(miou=miou), Gate(miou_floor=0.6)).passed is passed


def test_a_closed_gate_explains_itself() -> None:
    verdict = judge(with_scores(miou=0.5), Gate(miou_floor=0.6))
    assert verdict.reasons == [
        "mean IoU over 3 categories is 0.500 on 24 val frames: below the floor of 0.6"
    ]
    page = verdict.to_markdown()
    assert page.startswith("# Gate closed: nothing is registered")
    assert "Run `new` on 24 val frames of data version `1234.dir`" in page
    assert "| mean IoU                      | 0.500    | at least 0.6 | **failed** |" in page
    assert verdict.reasons[0] in page
    assert "What to do next" in page
    assert "gate.miou_floor" in page


def test_a_score_just_below_the_floor_does_not_look_like_it() -> None:
    assert "is 0.599999 on" in judge(with_scores(miou=0.599999), Gate()).reasons[0]


def test_a_score_that_does_not_exist_closes_it_even_at_a_floor_of_zero() -> None:
    verdict = judge(with_scores(miou=np.nan), Gate(miou_floor=0))
    assert not verdict.passed
    assert "does not exist (no labelled pixel)" in verdict.reasons[0]


def test_each_category_may_have_a_floor_of_its_own() -> None:
    scored = with_scores(road=0.9, human=0.3, vehicle=np.nan)
    floors = Gate(miou_floor=0, iou_floors={"road": 0.8, "human": 0.4, "vehicle": 0})
    assert judge(scored, floors).reasons == [
        "IoU of human is 0.300 on 24 val frames: below the floor of 0.4",
        "IoU of vehicle does not exist (it does not occur) on 24 val frames: not at the floor of 0",
    ]


def test_each_condition_may_have_a_floor() -> None:
    groups = [
        {"source": source, "condition": condition, "frames": frames, "miou": miou}
        for source, condition, frames, miou in (
            ("acdc", "", 12, 0.5),
            ("acdc", "night", 8, 0.31),
            ("acdc", "rain", 4, 0.7),
            ("dark-zurich", "night", 2, 0.45),
        )
    ]
    scored = replace(with_scores(miou=0.5), metrics={"groups": groups})
    at_night = Gate(miou_floor=0, condition_floors={"night": 0.4})
    assert judge(scored, at_night).reasons == [
        "mean IoU at night in acdc is 0.310 on 8 val frames: below the floor of 0.4"
    ]
    assert judge(scored, Gate(miou_floor=0, condition_floors={"night": 0.3, "rain": 0.7})).passed
    with pytest.raises(StreetsegError, match="no condition of the frames: the data have night, r"):
        judge(scored, Gate(miou_floor=0, condition_floors={"fog": 0.3}))
    with pytest.raises(StreetsegError, match=r"condition_floors names 'night'.*data state none"):
        judge(with_scores(miou=0.5), at_night)


@pytest.mark.parametrize("seed", range(20))
def test_raising_a_floor_never_opens_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    scored = evaluation_of(noisy(6, seed))
    low = random.uniform(0, 0.6, 3)
    high = low + random.uniform(0, 0.4, 3)
    lower, higher = (
        judge(scored, Gate(miou_floor=a, iou_floors={"road": b, "human": c})).passed
        for a, b, c in (low, high)
    )
    assert lower or not higher


@pytest.mark.parametrize(("n_seen", "passed"), [(None, True), (0, True), (2, False)])
def test_a_score_on_frames_it_was_trained_on_closes_it(n_seen: int | None, passed: bool) -> None:
    verdict = judge(evaluation(n_seen_in_training=n_seen), LOW)
    assert verdict.passed is passed
    assert passed is ("it was trained on 2 of the 24 val frames" not in verdict.reasons[0])


# The champion


def test_without_a_champion_the_floors_alone_decide_and_that_is_said() -> None:
    verdict = judge(evaluation(), LOW)
    assert verdict.passed
    assert verdict.reasons[1] == "compared with nothing: there was no other champion"
    assert named(verdict, BETTER).passed is None
    assert verdict.tags() == {
        "gate": "passed",
        "gate_compared_with": "nothing: there was no other champion",
    }


def test_a_better_model_passes_and_the_probability_is_said() -> None:
    verdict = compare(counts(hits=0.9), counts(hits=0.8))
    assert verdict.passed
    assert verdict.probability is not None
    assert verdict.probability > 0.99
    assert verdict.reasons[1] == (
        "99.99 % sure to be better than the champion, version 3: mean IoU 0.817 against 0.666 on "
        "the same 24 frames (drives unknown: each frame counts as one)"
    )
    assert verdict.tags() == {
        "gate": "passed",
        "gate_compared_with": "version 3",
        "gate_probability": f"{verdict.probability:.4f}",
    }
    page = verdict.to_markdown()
    assert page.startswith("# Gate open: the model is registered")
    assert "compared with version 3, the champion (run `old`), scored again on the same" in page
    assert "`streetseg promote`" in page
    assert "the service then takes it" in page


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("frames", [4, 9, 30])
def test_better_on_every_frame_passes_and_worse_on_every_frame_never(
    frames: int, seed: int
) -> None:
    """On four frames of any size it is too little: it happens by chance in one case of 16."""
    champion = noisy(frames, seed) + 1
    params = Gate(miou_floor=0, protected=[], confidence=0.95 if frames == 30 else 0.75)
    assert compare(changed(champion, seed, better=True), champion, params).passed
    assert not compare(changed(champion, seed, better=False), champion, params).passed


def test_a_model_like_the_champion_is_not_better() -> None:
    verdict = compare(counts(), counts(), Gate(miou_floor=0, confidence=0.5))
    assert not verdict.passed
    assert verdict.reasons[0].startswith("only 0.01 % sure, not 50 %, to be better")
    assert "Keep the champion" in verdict.to_markdown()


@pytest.mark.parametrize(("drives", "passed"), [([0] * 6, False), ([0, 0, 0, 1, 1, 1], True)])
def test_one_drive_is_never_enough(drives: list[int], passed: bool) -> None:
    scored = beside(counts(6, hits=0.9), counts(6, hits=0.5))
    verdict = judge(replace(scored, drives=np.array(drives).astype(str)), LOW)
    assert verdict.passed is passed
    assert named(verdict, BETTER).measured is (None if not passed else verdict.probability)
    sample = "on the same 6 frames of 2 drives (few)" if passed else "on the same 6 frames of 1 dri"
    assert sample in verdict.reasons[1 if passed else 0]
    assert passed is ("frames of several drives" not in verdict.to_markdown())


@pytest.mark.parametrize(("frames", "confidence"), [(8, 0.95), (24, 0.95), (24, 0.8)])
def test_models_that_are_equally_good_pass_as_seldom_as_declared(
    frames: int, confidence: float
) -> None:
    random = np.random.default_rng(0)
    params, passed, trials = Gate(miou_floor=0, confidence=confidence, protected=[]), 0, 300
    for _ in range(trials):
        truth = random.integers(50, 2000, (frames, 3))
        ease = random.normal(1.5, 0.8, (frames, 3))
        pair = []
        for _ in range(2):
            skill = ease + random.normal(0, 0.3, (frames, 3)) + random.normal(0, 0.3, (frames, 1))
            hit = 1 / (1 + np.exp(-skill))
            shares = np.repeat((1 - hit)[..., None] / 2, 3, axis=2)
            shares[:, range(3), range(3)] = hit
            pair.append(random.multinomial(truth, shares))
        passed += compare(*pair, params).passed
    assert 0.3 * (1 - confidence) <= passed / trials <= 1.5 * (1 - confidence)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_frames_changes_nothing(seed: int) -> None:
    ours, champion = changed(counts(hits=0.7), seed, better=True), counts(hits=0.75)
    order = np.random.default_rng(seed).permutation(len(ours))
    assert compare(ours, champion) == compare(ours[order], champion[order])


# Old and new frames


def on_two_sources(old_hits: float, new_hits: float, drives: int = 12) -> Evaluation:
    """24 frames of Cityscapes and 12 of a new city; the champion has 0.8 hits on all."""
    ours = np.concatenate([counts(24, hits=old_hits), counts(12, seed=1, hits=new_hits)])
    champion = np.concatenate([counts(24), counts(12, seed=1)])
    names = [f"old{number}" for number in range(24)]
    names += [f"new{number % drives}" for number in range(12)]
    scored = replace(beside(ours, champion), drives=np.array(names))
    return replace(scored, sources=np.array(["cityscapes"] * 24 + ["newcity"] * 12))


def test_it_says_where_a_model_gained_and_lost() -> None:
    verdict = judge(on_two_sources(0.8, 0.9), LOW)
    assert verdict.passed
    assert verdict.reasons[2:4] == [
        "on cityscapes: 0.666 (champion 0.666, +0.000), 99.99 % sure to be no more than 0.01 "
        "worse there, on 24 frames of 24 drives",
        "on newcity: 0.818 (champion 0.666, +0.151), 99.99 % sure to be no more than 0.01 worse "
        "there, on 12 frames of 12 drives",
    ]
    assert "probability that it is no worse on cityscapes" in verdict.to_markdown()


def test_a_gain_on_new_frames_does_not_pay_for_a_loss_on_old_ones() -> None:
    scored = on_two_sources(0.78, 0.95)
    verdict = judge(scored, Gate(miou_floor=0, protected=[]))
    assert not verdict.passed
    assert verdict.probability is not None
    assert verdict.probability > 0.95, "better in the mean of all frames"
    (reason,) = verdict.reasons
    assert reason.startswith("on cityscapes: 0.639 (champion 0.666, -0.027), only 0.01 % sure")
    assert "It lost on cityscapes" in verdict.to_markdown()
    assert judge(scored, Gate(miou_floor=0, protected=[], source_tolerance=0.03)).passed


def test_a_source_of_one_drive_cannot_be_judged_unless_any_loss_is_allowed() -> None:
    scored = on_two_sources(0.85, 0.9, drives=1)
    (reason,) = judge(scored, LOW).reasons
    assert "on newcity: 0.818 (champion 0.666, +0.151): nobody can say whether" in reason
    any_loss = judge(scored, Gate(miou_floor=0, source_tolerance=1))
    assert any_loss.passed
    assert named(any_loss, "probability that it is no worse on newcity").passed is None


def test_the_evaluation_of_several_sources_by_an_earlier_build_is_refused() -> None:
    groups = [{"source": name, "condition": "", "miou": 0.5} for name in ("cityscapes", "acdc")]
    scored = beside(counts(hits=0.9), counts())
    with pytest.raises(StreetsegError, match=r"source of each frame.*run 'streetseg evalu"):
        judge(replace(scored, metrics={"groups": groups}), LOW)


# A champion that is no yardstick


@pytest.mark.parametrize(
    ("changes", "why", "advice"),
    [
        ({"n_seen_in_training": 5}, "it was trained on 5 of the 24 frames", "neither model"),
        (
            {"label_space": "kitti-road", "miou": np.nan, "reason": "of another label space"},
            "its label space is kitti-road, this model's streets",
            "`registry.model_name` of their own",
        ),
        (
            {"categories": ["road", "human"]},
            "its categories are road, human, this model's road, human, vehicle",
            "`registry.model_name` of their own",
        ),
        ({"miou": np.nan, "reason": "it cannot be loaded"}, "it cannot be loaded", "can be scored"),
        ({"miou": np.nan}, "it has no score on these frames", "can be scored"),
    ],
)
def test_a_refused_champion_closes_it_until_a_person_says_otherwise(
    changes: dict, why: str, advice: str
) -> None:
    ours, champion = counts(hits=0.9), counts(hits=0.8)
    verdict = compare(ours, champion, **changes)
    assert not verdict.passed
    assert verdict.probability is None
    (reason,) = verdict.reasons
    assert "version 3, is no fair yardstick" in reason
    assert why in reason
    assert advice in verdict.to_markdown()
    assert "gate.against_champion=false" in verdict.to_markdown()

    alone = compare(ours, champion, Gate(miou_floor=0, against_champion=False), **changes)
    assert alone.passed
    assert alone.tags()["gate_compared_with"] == "nothing: gate.against_champion is false"


def test_what_the_champion_was_trained_on_may_be_unknown() -> None:
    verdict = compare(counts(hits=0.9), counts(hits=0.8), n_seen_in_training=None)
    assert verdict.passed
    assert "whether the champion was trained on these frames is not known" in verdict.reasons[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": None},
        {"champion": replace(champion_of(counts()), counts=None)},
        {"champion": champion_of(counts(23))},
        {"champion": champion_of(counts(24, seed=1))},
        {"counts": counts(23), "champion": champion_of(counts(23))},
        {
            "counts": counts()[:, :2, :2],
            "champion": replace(champion_of(counts()), counts=counts()[:, :2, :2]),
        },
    ],
    ids=[
        "none",
        "only ours",
        "fewer",
        "other truth",
        "other frames",
        "other categories",
    ],
)
def test_counts_that_are_not_of_the_same_frames_are_an_error(changes: dict) -> None:
    scored = replace(beside(counts(), counts()), **changes)
    with pytest.raises(StreetsegError, match="on the same frames"):
        judge(scored, LOW)


# Protected categories


def worse_at(category: str, fraction: float, counts: np.ndarray) -> np.ndarray:
    """A model that takes this fraction of the hits of a category for road."""
    row = CATEGORIES.index(category)
    result = counts.copy()
    lost = (fraction * result[:, row, row]).astype(int)
    result[:, row, row] -= lost
    result[:, row, 0] += lost
    return result


def test_a_protected_category_that_got_worse_closes_it_whatever_the_mean() -> None:
    champion = counts(hits=0.6)
    ours = worse_at("human", 0.6, counts(hits=0.95))
    verdict = compare(ours, champion)
    assert named(verdict, BETTER).passed
    assert named(verdict, "probability that vehicle is no worse").passed
    assert not verdict.passed
    (reason,) = verdict.reasons
    assert reason.startswith("only 0.01 % sure, not 80 %, to be no more than 0.01 worse for human")
    assert "on those that show it, 24 frames (drives unknown: each frame counts as one)" in reason
    assert "worse at human on these frames" in verdict.to_markdown()
    assert compare(ours, champion, Gate(miou_floor=0, protected=["vehicle"])).passed


@pytest.mark.parametrize(("tolerance", "passed"), [(0.0, False), (0.02, True)])
def test_a_protected_category_may_lose_as_much_as_is_tolerated(
    tolerance: float, passed: bool
) -> None:
    champion = counts(hits=0.8)
    ours = worse_at("human", 0.015, champion)
    verdict = compare(ours, champion, Gate(miou_floor=0, tolerance=tolerance))
    assert named(verdict, "probability that human is no worse").passed is passed


def test_a_protected_category_that_few_frames_show_is_not_taken_on_trust() -> None:
    champion, ours = counts(hits=0.8), counts(hits=0.9)
    for confusion in (champion, ours):
        confusion[1:, 1] = 0
    verdict = compare(ours, champion)
    assert named(verdict, "probability that human is no worse").measured is None
    assert verdict.reasons == [
        "human is protected and is shown by 1 frame of 1 drive alone, so nobody can say whether it "
        "got worse"
    ]


def test_a_protected_category_that_no_frame_shows_closes_it() -> None:
    champion, ours = counts(hits=0.8), counts(hits=0.9)
    for confusion in (champion, ours):
        confusion[:, 1] = 0
    verdict = compare(ours, champion)
    assert verdict.reasons == [
        "human is protected and occurs in none of the 24 frames, so nobody can say whether it got "
        "worse"
    ]
    assert compare(ours, champion, Gate(miou_floor=0, protected=["vehicle"])).passed


def test_a_label_space_without_the_protected_categories_is_not_held_to_them() -> None:
    names = ["road", "grass", "sky"]
    champion = champion_of(counts(hits=0.8), categories=names, label_space="parks")
    scored = evaluation_of(counts(hits=0.9), names, champion, label_space="parks")
    verdict = judge(scored, LOW)
    assert verdict.passed
    assert named(verdict, "probability that human is no worse").passed is None
    assert "the label space parks has no such category, so it is not" in verdict.reasons[2]


def test_a_protected_category_is_that_of_its_classes_together() -> None:
    """A rider taken for a person is no loss of people; one taken for road is."""
    names = ["road", "person", "rider"]
    before = counts(hits=0.9)
    before[:, 2, 2] += before[:, 2, 0]
    before[:, 2, 0] = 0
    champion = champion_of(before, categories=names)
    name = "probability that human is no worse"
    for taken_for, passed in ((1, True), (0, False)):
        ours = before.copy()
        lost = ours[:, 2, 2] // 2
        ours[:, 2, 2] -= lost
        ours[:, 2, taken_for] += lost
        verdict = judge(evaluation_of(ours, names, champion), LOW)
        condition = named(verdict, name)
        assert condition.passed is passed
        assert "worse for human (person, rider): IoU" in condition.sentence
    assert named(verdict, "probability that vehicle is no worse").passed is None


def test_a_floor_of_a_category_is_that_of_its_classes_together() -> None:
    confusion = np.array([[[80, 20, 0], [0, 50, 50], [10, 40, 50]]])
    scored = evaluation_of(confusion, ["road", "person", "rider"])
    iou = (50 + 50 + 40 + 50) / (50 + 50 + 40 + 50 + 10 + 20)
    floor = named(judge(scored, Gate(miou_floor=0, iou_floors={"human": 0.8})), "IoU of human")
    assert floor.measured == pytest.approx(iou)
    assert floor.sentence.startswith("IoU of human (person, rider) is 0.864 on 1 val frames")
    with pytest.raises(StreetsegError, match="allow_never_predicted names 'human'"):
        judge(scored, Gate(miou_floor=0, allow_never_predicted=["human"]))


@pytest.mark.parametrize("setting", ["protected", "iou_floors", "allow_never_predicted"])
def test_a_name_that_the_label_space_lacks_is_an_error_with_the_nearest(setting: str) -> None:
    value = {"pedestrain": 0.1} if setting == "iou_floors" else ["pedestrain"]
    names = ["road", "pedestrian", "vehicle"]
    with pytest.raises(StreetsegError) as error:
        judge(evaluation_of(counts(), names), Gate(miou_floor=0, **{setting: value}))
    assert str(error.value) == (
        f"gate.{setting} names 'pedestrain', which is no category of the label space 'streets': "
        "did you mean 'pedestrian'?"
    )


def test_a_name_like_no_category_is_an_error_that_lists_them() -> None:
    with pytest.raises(StreetsegError, match="it has road, human, vehicle"):
        judge(evaluation(), Gate(miou_floor=0, protected=["zebra"]))


# Categories that no frame shows, or that the model never predicts


def test_a_pixel_of_a_category_that_no_frame_shows_decides_nothing() -> None:
    champion, ours = counts(hits=0.8), counts(hits=0.9)
    for confusion in (champion, ours):
        confusion[:, :2, 0] += confusion[:, :2, 2]
        confusion[:, 2] = confusion[:, :, 2] = 0
    params = Gate(miou_floor=0, protected=["human"])
    before = compare(ours, champion, params)
    assert before.passed
    ours[0, 0, 0] -= 1
    ours[0, 0, 2] += 1
    after = compare(ours, champion, params)
    assert after.passed
    assert after.conditions[0].measured == pytest.approx(before.conditions[0].measured, abs=1e-4)
    assert "mean IoU over 2 of 3 categories" in after.reasons[0]
    ours[:, 0, 0] -= 3
    ours[:, 0, 2] += 3  # on every frame, and still the means are over road and human
    assert named(compare(ours, champion, params), BETTER).measured > 0.99


def never(category: str, confusion: np.ndarray) -> np.ndarray:
    """A model that takes a category for the next one."""
    result, column = confusion.copy(), CATEGORIES.index(category)
    result[:, :, (column + 1) % 3] += result[:, :, column]
    result[:, :, column] = 0
    return result


def test_a_category_that_is_never_predicted_closes_it_even_without_a_champion() -> None:
    scored = evaluation_of(never("human", counts(hits=0.9)))
    verdict = judge(scored, Gate(miou_floor=0, protected=[]))
    assert verdict.reasons == ["it never predicts human on 24 val frames, which show it"]
    (condition,) = [each for each in verdict.conditions if each.failed]
    assert (condition.measured, condition.required) == (pytest.approx(2 / 3), 1)
    assert "gate.allow_never_predicted" in verdict.to_markdown()

    allowed = judge(scored, Gate(miou_floor=0, allow_never_predicted=["human"]))
    assert allowed.passed
    assert "it never predicts human: gate.allow_never_predicted allows it" in allowed.reasons


def test_a_category_that_occurs_nowhere_or_has_no_official_score_need_not_be_predicted() -> None:
    absent = counts(hits=0.9)
    absent[:, 0, 0] += absent[:, 0, 1]
    absent[:, 1] = absent[:, :, 1] = 0
    assert judge(evaluation_of(absent), LOW).passed
    scored = evaluation_of(never("human", counts(hits=0.9)))
    void = replace(scored.scores, iou_official={"road": 0.9, "vehicle": 0.9})
    assert judge(replace(scored, scores=void), LOW).passed


# The drives


def test_equally_good_models_pass_as_seldom_as_declared_on_few_drives() -> None:
    random = np.random.default_rng(0)
    params, drives = Gate(miou_floor=0, protected=[]), np.repeat(np.arange(3), 8).astype(str)
    passed, trials = 0, 300
    for _ in range(trials):
        truth = random.integers(50, 2000, (24, 3))
        pair = []
        for _ in range(2):
            skill = 1.5 + np.repeat(random.normal(0, 0.3, 3), 8) + random.normal(0, 0.4, 24)
            hits = random.binomial(truth, 1 / (1 + np.exp(-skill))[:, None])
            confusion = np.zeros((24, 3, 3), np.int64)
            for category in range(3):
                confusion[:, category, category] = hits[:, category]
                confusion[:, category, (category + 1) % 3] = (truth - hits)[:, category]
            pair.append(confusion)
        passed += judge(replace(beside(*pair), drives=drives), params).passed
    assert 0.03 <= passed / trials <= 0.07


def test_drives_of_different_length_are_said_to_be_few() -> None:
    drives = np.array(["long"] * 22 + ["a", "b"])
    verdict = judge(replace(beside(counts(hits=0.9), counts()), drives=drives), LOW)
    assert "on the same 24 frames of 3 drives (few: as good as 1.2 of one length)" in "".join(
        verdict.reasons
    )


def test_frames_of_unknown_drives_are_told_beside_the_others_and_may_be_few() -> None:
    drives = np.array(["long"] * 12 + ["", "", *"abcdefghij"])
    verdict = judge(replace(beside(counts(hits=0.9), counts()), drives=drives), LOW)
    said = "24 frames (some of unknown drives: such a frame counts as one; few: as good as 3.7 of "
    assert said in "".join(verdict.reasons)
    verdict = judge(beside(counts(6, hits=0.9), counts(6)), LOW)
    said = "6 frames (drives unknown: each frame counts as one; few)"
    assert said in "".join(verdict.reasons)


# The folder


def write(folder: Path, scored: Evaluation, **arrays: np.ndarray) -> Path:
    (folder / "evaluation.json").write_text(json.dumps(scored.to_dict()))
    np.savez_compressed(folder / "frames.npz", **arrays)
    return folder


def test_an_evaluation_is_read_with_the_counts_of_both_models(tmp_path: Path) -> None:
    ours, champion = counts(hits=0.9), counts(hits=0.8)
    write(tmp_path, beside(ours, champion), counts=ours, champion_counts=champion)
    verdict = judge(read_evaluation(tmp_path), LOW)
    assert verdict.reasons == compare(ours, champion).reasons
    assert verdict.tags() == compare(ours, champion).tags()
    assert json.loads(json.dumps(verdict.to_dict()))["passed"] is True


def test_an_evaluation_of_an_early_release_has_its_drives_by_name(tmp_path: Path) -> None:
    ours, champion = counts(hits=0.9), counts(hits=0.8)
    names = np.array([f"aachen_{number // 8:06d}_{number:06d}" for number in range(24)])
    write(tmp_path, beside(ours, champion), counts=ours, champion_counts=champion, frames=names)
    reasons = judge(read_evaluation(tmp_path), LOW).reasons
    assert "the same 24 frames of 3 drives (few)" in reasons[1]


def test_an_evaluation_beside_no_champion_needs_no_counts(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation().to_dict()))
    assert read_evaluation(tmp_path).counts is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"miou": 0.5}', json.dumps(evaluation().to_dict() | {"frames": 24})],
)
def test_what_is_no_evaluation_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(StreetsegError, match=r"no evaluation in .*: run 'streetseg ev"):
        read_evaluation(tmp_path)


def test_what_is_read_is_written_the_same(tmp_path: Path) -> None:
    metrics = {"boundary_miou": 0.25, "intervals": {"miou": [0.1, 0.2], "iou": {"road": None}}}
    scored = replace(beside(counts(), counts(hits=0.5)), metrics=metrics)
    content = scored.to_dict()
    assert Evaluation.from_dict(content).to_dict() == content
    assert Evaluation.from_dict(content).metrics == metrics


def test_an_evaluation_of_an_early_release_is_read() -> None:
    content = evaluation().to_dict()
    for key in ("precision", "recall", "trained_on_these", "champion"):
        del content[key]
    early = Evaluation.from_dict(content)
    assert judge(early, LOW).passed
    assert early.intervals == {}
    assert early.champion is early.n_seen_in_training is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"counts": counts()}, "frames.npz does not hold the counts of both models"),
        (
            {"counts": counts(hits=0.7), "champion_counts": counts()},
            "frames.npz is of another evaluation than evaluation.json",
        ),
    ],
)
def test_a_folder_that_does_not_fit_together_is_one_clear_line(
    tmp_path: Path, arrays: dict, message: str
) -> None:
    write(tmp_path, beside(counts(), counts()), **arrays)
    with pytest.raises(StreetsegError, match=message):
        read_evaluation(tmp_path)


def test_a_broken_file_of_counts_is_one_clear_line(tmp_path: Path) -> None:
    write(tmp_path, beside(counts(), counts()))
    (tmp_path / "frames.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(StreetsegError, match="run 'streetseg evaluate' again"):
        read_evaluation(tmp_path)
