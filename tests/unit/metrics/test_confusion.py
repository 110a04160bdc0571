"""Scores, held against the official evaluation of Cityscapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official  # noqa: N813

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.masks import score_folders
from streetseg.images.encode import encode_png
from streetseg.metrics.confusion import (
    against_rest,
    category_iou,
    category_miou,
    confusion_matrix,
    confusion_of_categories,
    score,
)

SPACE = LabelSpace.load("cityscapes")
SHAPE = (24, 40)
NEVER = dict.fromkeys(SPACE.names, float("nan"))


def random_ids(seed: int, below: int = 34) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, SHAPE).astype(np.uint8)


def mostly_right(seed: int) -> tuple[np.ndarray, np.ndarray]:
    truth = random_ids(seed)
    wrong = np.random.default_rng(seed + 1).random(SHAPE) < 0.3
    return truth, np.where(wrong, random_ids(seed + 2), truth)


def all_of(number: int) -> np.ndarray:
    return np.full(SHAPE, number, np.uint8)


CASES = {
    "random ids, ignored ones among them": [(random_ids(1), random_ids(2))],
    "mostly right": [mostly_right(3)],
    "several frames": [mostly_right(seed) for seed in (10, 20, 30)],
    "representative ids as predictions": [
        (random_ids(4), SPACE.representative_ids[random_ids(5, below=8)])
    ],
    "perfect": [(random_ids(6), random_ids(6))],
    "void everywhere in the truth": [(all_of(0), random_ids(7))],
    "void everywhere in the prediction": [(random_ids(8), all_of(0))],
    "predicted but never there": [(all_of(7), all_of(24))],
    "an ignored label of the same category": [(all_of(7), all_of(9))],
    "one pixel that counts": [(np.where(random_ids(9) == 5, 26, 3).astype(np.uint8), all_of(26))],
}


def official_scores(truth: Path, predictions: Path) -> dict[str, float]:
    """What the benchmark's own script says of the files in two folders."""
    arguments = official.args
    arguments.evalInstLevelScore = False
    arguments.evalPixelAccuracy = False
    arguments.quiet = True
    arguments.JSONOutput = False
    truths = sorted(str(path) for path in truth.glob("*.png"))
    masks = sorted(str(path) for path in predictions.glob("*.png"))
    result = official.evaluateImgLists(masks, truths, arguments)
    return {**result["categoryScores"], "mean": result["averageScoreCategories"]}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_official_score_is_the_one_of_the_benchmarks_own_script(
    case: str, tmp_path: Path
) -> None:
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    truth.mkdir()
    predictions.mkdir()
    for number, (true_ids, predicted_ids) in enumerate(CASES[case]):
        name = f"aachen_000000_{number:06d}"
        (truth / f"{name}_gtFine_labelIds.png").write_bytes(encode_png(true_ids))
        (predictions / f"{name}_pred.png").write_bytes(encode_png(predicted_ids))
    expected = official_scores(truth, predictions)
    masks = score_folders(predictions, truth, SPACE)
    assert masks.frames == len(CASES[case])
    scores = masks.scores
    assert scores.miou_official == pytest.approx(expected.pop("mean"), abs=1e-9, nan_ok=True)
    del expected["void"]  # has no valid label, so no score
    assert scores.iou_official == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("case", CASES)
def test_every_pixel_is_counted_once(case: str) -> None:
    for truth, predicted in CASES[case]:
        counts = np.zeros((256, 256), np.int64)
        np.add.at(counts, (truth, predicted), 1)
        assert (confusion_matrix(truth, predicted) == counts).all()


def test_a_predicted_category_is_counted_as_the_label_that_represents_it() -> None:
    truth, categories = random_ids(1), random_ids(2, below=8)
    counts = confusion_matrix(truth, SPACE.representative_ids[categories])
    assert (confusion_of_categories(truth, categories, SPACE) == counts).all()


def test_plain_scores_count_void_as_a_category() -> None:
    truth = np.array([0, 0, 7, 7, 7, 11], np.uint8)
    predicted = np.array([0, 7, 7, 7, 11, 11], np.uint8)
    scores = score(confusion_matrix(truth, predicted), SPACE)
    assert scores.iou["void"] == 1 / 2
    assert scores.iou["flat"] == 2 / 4
    assert scores.iou["construction"] == 1 / 2
    assert scores.dice["flat"] == 4 / 6
    assert scores.precision == pytest.approx(
        {**NEVER, "void": 1, "flat": 2 / 3, "construction": 1 / 2}, nan_ok=True
    )
    assert scores.recall == pytest.approx(
        {**NEVER, "void": 1 / 2, "flat": 2 / 3, "construction": 1}, nan_ok=True
    )
    assert scores.miou == 1 / 2
    assert scores.pixel_accuracy == 4 / 6
    assert np.isnan(scores.iou["sky"])


@pytest.mark.parametrize("name", ["bdd100k-drivable", "bdd100k-drivable-2018"])
def test_the_official_score_of_drivable_areas_is_the_one_of_bdd100k(name: str) -> None:
    """Its toolkit drops pixels that are truly background, whose number is the last, or unlabelled,
    and averages the other two."""
    space = LabelSpace.load(name)
    random = np.random.default_rng(0)
    truth, predicted = random.choice([0, 1, 2, 255], SHAPE), random.integers(0, 3, SHAPE)
    number = space.category_of.astype(int)  # direct 0, alternative 1, background 2
    expected = []
    for area in (0, 1):
        counted = np.isin(number[truth], (0, 1))
        here = (number[truth] == area) & counted
        called = (number[predicted] == area) & counted
        expected.append((here & called).sum() / (here | called).sum())
    counts = confusion_matrix(truth.astype(np.uint8), predicted.astype(np.uint8))
    scores = score(counts, space)
    assert scores.iou_official == pytest.approx({"direct": expected[0], "alternative": expected[1]})
    assert scores.miou_official == pytest.approx(np.mean(expected))


def test_nothing_labelled_has_no_score() -> None:
    empty = score(np.zeros((256, 256), np.int64), SPACE)
    assert np.isnan([empty.miou, empty.miou_official, empty.pixel_accuracy]).all()


def test_counts_do_not_overflow() -> None:
    confusion = confusion_matrix(all_of(7), all_of(7)) * 10**7
    assert confusion.dtype == np.int64
    assert score(confusion, SPACE).category_confusion[1, 1] == SHAPE[0] * SHAPE[1] * 10**7


def test_each_category_is_represented_by_a_label_that_counts() -> None:
    assert SPACE.representative_ids.tolist() == [0, 7, 11, 17, 21, 23, 24, 26]


def test_a_category_that_never_occurs_is_left_out_of_the_mean() -> None:
    assert category_miou(np.array([[2, 0, 0], [2, 4, 0], [0, 0, 0]])) == pytest.approx(
        (2 / 4 + 4 / 6) / 2
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    truth.mkdir()
    predictions.mkdir()
    (truth / "a_0_0_gtFine_labelIds.png").write_bytes(encode_png(all_of(7)))
    (predictions / "a_0_0.png").write_bytes(encode_png(all_of(7)))
    return predictions, truth


@pytest.mark.parametrize("prediction", ["{}.png", "{}_pred.png", "{}-leftImg8bit.png"])
def test_a_name_may_begin_with_another(tmp_path: Path, prediction: str) -> None:
    for name, label in (("frame_1", 7), ("frame_10", 11), ("frame_1_b", 21)):
        (tmp_path / f"{name}_gtFine_labelIds.png").write_bytes(encode_png(all_of(label)))
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / "masks" / prediction.format(name)).write_bytes(encode_png(all_of(label)))
    found = score_folders(tmp_path / "masks", tmp_path, SPACE)
    assert (found.frames, found.scores.miou_official) == (3, 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p, t: (t / "a_0_0_gtFine_labelIds.png").unlink(), "holds no"),
        (lambda p, t: (p / "a_0_0.png").unlink(), "there are 0"),
        (lambda p, t: (p / "a_0_0_b.png").write_bytes(encode_png(all_of(7))), "there are 2"),
        (
            lambda p, t: (p / "a_0_0.png").write_bytes(encode_png(np.zeros((8, 8), np.uint8))),
            "is 8x8 but its truth is 40x24",
        ),
        (lambda p, t: (p / "a_0_0.png").write_bytes(encode_png(all_of(77))), "holds id 77"),
        (lambda p, t: (p / "a_0_0.png").write_bytes(b"text"), "cannot be decoded"),
    ],
)
def test_masks_that_cannot_be_scored_are_named(
    folders: tuple[Path, Path], spoil, said: str
) -> None:
    spoil(*folders)
    with pytest.raises(StreetsegError, match=said) as caught:
        score_folders(*folders, SPACE)
    assert "\n" not in str(caught.value)


def test_255_is_no_vehicle_in_truth_and_prediction(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    half = all_of(7)
    half[:12] = 255
    for path in (predictions / "a_0_0.png", truth / "a_0_0_gtFine_labelIds.png"):
        sound = path.read_bytes()
        path.write_bytes(encode_png(half))
        with pytest.raises(StreetsegError, match=rf"{path} holds id 255, .* does not define"):
            score_folders(*folders, SPACE)
        path.write_bytes(sound)


def test_a_predicted_id_without_a_category_is_a_miss(tmp_path: Path) -> None:
    space = LabelSpace.load("kitti-road")
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    truth_path = tmp_path / "truth" / "a_gtFine_labelIds.png"
    predicted_path = tmp_path / "predicted" / "a.png"
    for path, ids in ((truth_path, truth), (predicted_path, np.minimum(truth, 1))):
        path.parent.mkdir()
        path.write_bytes(encode_png(ids))
    assert score_folders(predicted_path.parent, truth_path.parent, space).scores.miou == 1
    predicted_path.write_bytes(encode_png(np.array([[0, 1, 255, 0]], np.uint8)))
    found = score_folders(predicted_path.parent, truth_path.parent, space).scores
    assert found.iou == found.recall == {"background": 1, "road": 1 / 2}
    assert found.pixel_accuracy == 2 / 3


def test_merged_categories_have_the_iou_of_their_union() -> None:
    confusion = np.random.default_rng(0).integers(0, 99, (5, 4, 4))
    merged = against_rest(confusion, [1, 3])
    assert merged.shape == (5, 2, 2)
    hits = confusion[:, [1, 3]][:, :, [1, 3]].sum((1, 2))
    assert merged[:, 0, 0].tolist() == hits.tolist()
    assert merged[:, 0].sum(1).tolist() == confusion[:, [1, 3]].sum((1, 2)).tolist()
    assert merged[:, :, 0].sum(1).tolist() == confusion[:, :, [1, 3]].sum((1, 2)).tolist()
    assert (merged.sum((1, 2)) == confusion.sum((1, 2))).all()
    one = against_rest(confusion, [2])
    assert (category_iou(one)[:, 0] == category_iou(confusion)[:, 2]).all()
