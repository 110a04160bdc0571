"""The gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streetseg.config.params import Gate
from streetseg.core.errors import StreetsegError
from streetseg.evaluation.gate import FrameCounts, judge, read_evaluation
from streetseg.evaluation.verdict import Condition, Verdict
from streetseg.metrics.confusion import category_miou

CATEGORIES = ["road", "human", "vehicle"]
BETTER = "probability that it is better"
LOW = Gate(miou_floor=0)


def counts(frames: int = 24, seed: int = 0, hits: float = 0.8) -> np.ndarray:
    """Confusion matrices of the same truth for any fraction of hits: int64[frames, 3, 3]."""
    truth = np.random.default_rng(seed).integers(500, 2000, (frames, 3))
    kept = (hits * truth).astype(int)
    found = np.zeros((frames, 3, 3), np.int64)
    for category in range(3):
        found[:, category, category] = kept[:, category]
        found[:, category, (category + 1) % 3] = (truth - kept)[:, category]
    return found


def moved(found: np.ndarray, seed: int, *, better: bool) -> np.ndarray:
    """A model that is better (or worse) on every frame.

    On each frame at least one pixel, and at random many, of a category go from miss to hit (or
    back), and none the other way. Then hits rise and no union grows in any sum of frames, so every
    mean IoU over frames rises. A higher mean IoU on each frame alone would not say that much.
    """
    random = np.random.default_rng(seed)
    changed = found.copy()
    for frame in changed:
        for category in random.permutation(3)[: random.integers(1, 4)]:
            other = (category + random.integers(1, 3)) % 3
            source, target = (other, category) if better else (category, other)
            if pixels := frame[category, source]:
                pixels = random.integers(1, pixels + 1)
                frame[category, source] -= pixels
                frame[category, target] += pixels
    return changed


def noisy(frames: int, seed: int) -> np.ndarray:
    """Confusion matrices of any content, of which some categories are missing on some frames."""
    random = np.random.default_rng(seed)
    return random.integers(1, 200, (frames, 3, 3)) * random.integers(0, 2, (frames, 3, 1))


def iou(confusion: np.ndarray) -> dict[str, float | None]:
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    return {
        name: hit[place] / union[place] if union[place] else None
        for place, name in enumerate(CATEGORIES)
    }


def evaluation(
    ours: np.ndarray | None = None, champion: np.ndarray | None = None, **changes: Any
) -> dict:
    """What ``evaluation.json`` holds, as far as the gate reads it."""
    ours = counts() if ours is None else ours
    total = ours.sum(axis=0)
    found = {
        "run_id": "new",
        "data_version": "1234.dir",
        "label_space": "streets",
        "split": "val",
        "categories": CATEGORIES,
        "miou": category_miou(total),
        "iou": iou(total),
        "confusion": total.tolist(),
        "frames": [{"frame": str(number)} for number in range(len(ours))],
        "champion": None,
    }
    if champion is not None:
        found["champion"] = {
            "version": "3",
            "run_id": "old",
            "label_space": "streets",
            "categories": CATEGORIES,
            "miou": category_miou(champion.sum(axis=0)),
            "trained_on_these": 0,
        }
    return found | changes


def compare(ours: np.ndarray, champion: np.ndarray, params: Gate = LOW, **changes: Any) -> Verdict:
    """The verdict on a model beside a champion; ``changes`` are of the champion's entry."""
    given = evaluation(ours, champion)
    given["champion"] |= changes
    return judge(given, params, FrameCounts(ours, champion))


def named(verdict: Verdict, name: str) -> Condition:
    (found,) = [condition for condition in verdict.conditions if condition.name == name]
    return found


# Floors


@pytest.mark.parametrize(
    ("miou", "passed"),
    [(0.61, True), (0.6, True), (0.599, False), (0.0, False), (None, False), (np.nan, False)],
)
def test_it_opens_at_the_floor(miou: float | None, passed: bool) -> None:
    assert judge(evaluation(miou=miou), Gate(miou_floor=0.6)).passed is passed


def test_a_closed_gate_explains_itself() -> None:
    verdict = judge(evaluation(miou=0.5), Gate(miou_floor=0.6))
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
    assert "is 0.599999 on" in judge(evaluation(miou=0.599999), Gate()).reasons[0]


def test_a_score_that_does_not_exist_closes_it_even_at_a_floor_of_zero() -> None:
    verdict = judge(evaluation(miou=None), Gate(miou_floor=0))
    assert not verdict.passed
    assert "does not exist (no labelled pixel)" in verdict.reasons[0]


def test_each_category_may_have_a_floor_of_its_own() -> None:
    given = evaluation(iou={"road": 0.9, "human": 0.3, "vehicle": None})
    floors = Gate(miou_floor=0, iou_floors={"road": 0.8, "human": 0.4, "vehicle": 0, "humna": 0.1})
    assert judge(given, floors).reasons == [
        "IoU of human is 0.300 on 24 val frames: below the floor of 0.4",
        "IoU of vehicle does not exist (it does not occur) on 24 val frames: not at the floor of 0",
        "IoU of humna does not exist (the categories are road, human, vehicle) on 24 val frames: "
        "not at the floor of 0.1",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_raising_a_floor_never_opens_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    given = evaluation(noisy(6, seed))
    low = random.uniform(0, 0.6, 3)
    high = low + random.uniform(0, 0.4, 3)
    lower, higher = (
        judge(given, Gate(miou_floor=a, iou_floors={"road": b, "human": c})).passed
        for a, b, c in (low, high)
    )
    assert lower or not higher


@pytest.mark.parametrize(("seen", "passed"), [(None, True), (0, True), (2, False)])
def test_a_score_on_frames_it_was_trained_on_closes_it(seen: int | None, passed: bool) -> None:
    verdict = judge(evaluation(trained_on_these=seen), LOW)
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
        "99.87 % sure to be better than the champion, version 3: mean IoU 0.817 against 0.666 on "
        "the same 24 frames"
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
    champion = noisy(frames, seed) + 1
    params = Gate(miou_floor=0, protected=[])
    assert compare(moved(champion, seed, better=True), champion, params).passed
    assert not compare(moved(champion, seed, better=False), champion, params).passed


def test_a_model_like_the_champion_is_not_better() -> None:
    verdict = compare(counts(), counts(), Gate(miou_floor=0, confidence=0.5))
    assert not verdict.passed
    assert verdict.reasons[0].startswith("only 0.12 % sure, not 50 %, to be better")
    assert "Keep the champion" in verdict.to_markdown()


def test_three_frames_are_never_enough() -> None:
    assert not compare(counts(3, hits=0.9), counts(3, hits=0.5)).passed
    assert compare(counts(4, hits=0.9), counts(4, hits=0.5)).passed


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
    ours, champion = moved(counts(hits=0.7), seed, better=True), counts(hits=0.75)
    order = np.random.default_rng(seed).permutation(len(ours))
    assert compare(ours, champion) == compare(ours[order], champion[order])


# A champion that is no yardstick


@pytest.mark.parametrize(
    ("changes", "said", "advice"),
    [
        ({"trained_on_these": 5}, "it was trained on 5 of the 24 frames", "neither model"),
        (
            {"label_space": "kitti-road", "miou": None, "reason": "of another label space"},
            "its label space is kitti-road, this model's streets",
            "`registry.model_name` of their own",
        ),
        (
            {"categories": ["road", "human"]},
            "its categories are road, human, this model's road, human, vehicle",
            "`registry.model_name` of their own",
        ),
        ({"miou": None, "reason": "it cannot be loaded"}, "it cannot be loaded", "can be scored"),
        ({"miou": None}, "it has no score on these frames", "can be scored"),
    ],
)
def test_a_refused_champion_closes_it_until_a_person_says_otherwise(
    changes: dict, said: str, advice: str
) -> None:
    ours, champion = counts(hits=0.9), counts(hits=0.8)
    verdict = compare(ours, champion, **changes)
    assert not verdict.passed
    assert verdict.probability is None
    (reason,) = verdict.reasons
    assert "version 3, is no fair yardstick" in reason
    assert said in reason
    assert advice in verdict.to_markdown()
    assert "gate.against_champion=false" in verdict.to_markdown()

    alone = compare(ours, champion, Gate(miou_floor=0, against_champion=False), **changes)
    assert alone.passed
    assert alone.tags()["gate_compared_with"] == "nothing: gate.against_champion is false"


def test_what_the_champion_was_trained_on_may_be_unknown() -> None:
    verdict = compare(counts(hits=0.9), counts(hits=0.8), trained_on_these=None)
    assert verdict.passed
    assert "whether the champion was trained on these frames is not known" in verdict.reasons[1]


@pytest.mark.parametrize(
    "frames",
    [
        None,
        FrameCounts(counts(), counts(23)),
        FrameCounts(counts(24), counts(24, seed=1)),
        FrameCounts(counts(23), counts(23)),
        FrameCounts(counts()[:, :2, :2], counts()[:, :2, :2]),
    ],
    ids=["none", "fewer", "other truth", "of other frames", "other categories"],
)
def test_counts_that_are_not_of_the_same_frames_are_an_error(frames: FrameCounts | None) -> None:
    with pytest.raises(StreetsegError, match="on the same frames"):
        judge(evaluation(counts(), counts()), LOW, frames)


# Protected categories


def worse_at(category: str, share: float, found: np.ndarray) -> np.ndarray:
    """A model that takes this fraction of the hits of a category for road."""
    place = CATEGORIES.index(category)
    changed = found.copy()
    lost = (share * changed[:, place, place]).astype(int)
    changed[:, place, place] -= lost
    changed[:, place, 0] += lost
    return changed


def test_a_protected_category_that_got_worse_closes_it_whatever_the_mean() -> None:
    champion = counts(hits=0.6)
    ours = worse_at("human", 0.6, counts(hits=0.95))
    verdict = compare(ours, champion)
    assert named(verdict, BETTER).passed
    assert named(verdict, "probability that vehicle is no worse").passed
    assert not verdict.passed
    (reason,) = verdict.reasons
    assert reason.startswith("only 0.12 % sure, not 80 %, to be no more than 0.01 worse for human")
    assert "on the 24 frames that show it" in reason
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
    for found in (champion, ours):
        found[1:, 1] = 0
    verdict = compare(ours, champion)
    assert verdict.conditions[2].measured == 0.5, "one frame tells nothing"
    assert "on the 1 frame that shows it" in verdict.reasons[0]


def test_a_protected_category_that_no_frame_shows_closes_it() -> None:
    champion, ours = counts(hits=0.8), counts(hits=0.9)
    for found in (champion, ours):
        found[:, 1] = 0
    verdict = compare(ours, champion)
    assert verdict.reasons == [
        "human is protected and occurs in none of the 24 frames, so nobody can say whether it got "
        "worse"
    ]
    assert compare(ours, champion, Gate(miou_floor=0, protected=["vehicle"])).passed


def test_a_label_space_without_the_protected_categories_is_not_held_to_them() -> None:
    ours, champion = counts(hits=0.9), counts(hits=0.8)
    given = evaluation(ours, champion, categories=["road", "grass", "sky"], label_space="parks")
    given["champion"] |= {"categories": ["road", "grass", "sky"], "label_space": "parks"}
    verdict = judge(given, LOW, FrameCounts(ours, champion))
    assert verdict.passed
    assert named(verdict, "probability that human is no worse").passed is None
    assert "the label space parks has no such category" in verdict.reasons[2]


# The folder


def write(folder: Path, given: dict, **arrays: np.ndarray) -> Path:
    (folder / "evaluation.json").write_text(json.dumps(given))
    np.savez_compressed(folder / "frames.npz", **arrays)
    return folder


def test_an_evaluation_is_read_with_the_counts_of_both_models(tmp_path: Path) -> None:
    ours, champion = counts(hits=0.9), counts(hits=0.8)
    write(tmp_path, evaluation(ours, champion), counts=ours, champion_counts=champion)
    found, frames = read_evaluation(tmp_path)
    assert judge(found, LOW, frames) == compare(ours, champion)
    assert json.loads(json.dumps(judge(found, LOW, frames).to_dict()))["passed"] is True


def test_an_evaluation_beside_no_champion_needs_no_counts(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation()))
    assert read_evaluation(tmp_path)[1] is None


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"counts": counts()}, "frames.npz does not hold the counts of both models"),
        (
            {"counts": counts(hits=0.7), "champion_counts": counts()},
            "frames.npz is of another evaluation than evaluation.json",
        ),
    ],
)
def test_a_folder_that_does_not_fit_together_is_one_clear_line(
    tmp_path: Path, arrays: dict, said: str
) -> None:
    write(tmp_path, evaluation(counts(), counts()), **arrays)
    with pytest.raises(StreetsegError, match=said):
        read_evaluation(tmp_path)


def test_a_broken_file_of_counts_is_one_clear_line(tmp_path: Path) -> None:
    write(tmp_path, evaluation(counts(), counts()))
    (tmp_path / "frames.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(StreetsegError, match="run 'streetseg evaluate' again"):
        read_evaluation(tmp_path)
