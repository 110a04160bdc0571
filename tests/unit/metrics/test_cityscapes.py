"""The tables of the Cityscapes benchmark, held against its own script."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.evaluation.masks import score_folders
from streetseg.images.decode import decode_ids
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.metrics.cityscapes import ScoreTable, classes_of, read_tables, tables_of
from tests.conftest import Command
from tests.support import source_layouts as layouts
from tests.support.cityscapes_layout import write_frames
from tests.support.official_script import Masks, official_scores, write_masks

CLASSES, CATEGORIES = LabelSpace.load("cityscapes-19"), LabelSpace.load("cityscapes")
OBJECTS = [label.id for label in CATEGORIES.labels if label.instances]
SHAPE = (48, 64)


def numbered(ids: np.ndarray, seed: int, crowds: float = 0.2) -> np.ndarray:
    """Instance ids of label ids in blocks of 8x8: some objects of a label are numbered alike."""
    random = np.random.default_rng(seed)
    blocks = np.kron(random.integers(0, 3, (6, 8)), np.ones((8, 8), int))
    crowd = np.kron(random.random((6, 8)) < crowds, np.ones((8, 8), bool))
    is_object = np.isin(ids, OBJECTS) & ~crowd
    return np.where(is_object, ids * np.int64(1000) + blocks, ids).astype(np.uint16)


def random_ids(seed: int, low: int = 0, high: int = 34) -> np.ndarray:
    small = np.random.default_rng(seed).integers(low, high, (6, 8))
    return np.kron(small, np.ones((8, 8))).astype(np.uint8)


def all_of(number: int) -> np.ndarray:
    return np.full(SHAPE, number, np.uint8)


def mostly_right(seed: int, wrong: float = 0.4) -> Masks:
    """A street, and predictions of any label id, those that are not evaluated among them."""
    ids, random = random_ids(seed), np.random.default_rng(seed + 100)
    guess = random.integers(0, 34, SHAPE, np.uint8)
    return ids, numbered(ids, seed), np.where(random.random(SHAPE) < wrong, guess, ids)


def framed(ids: np.ndarray, predicted: np.ndarray, seed: int = 0) -> Masks:
    return ids, numbered(ids, seed), predicted


def lone_pixel(label: int, predicted: int) -> Masks:
    ids = all_of(3)
    ids[5, 7] = label
    instances = ids.astype(np.uint16)
    instances[5, 7] = label * 1000 + 1 if label in OBJECTS else label
    return ids, instances, all_of(predicted)


CASES: dict[str, list[Masks]] = {
    "random": [framed(random_ids(1), random_ids(2))],
    "mostly right, several frames": [mostly_right(seed) for seed in range(3, 8)],
    "perfect": [framed(random_ids(6), random_ids(6))],
    "ignored everywhere in the truth": [framed(all_of(4), random_ids(7))],
    "ignored everywhere in the prediction": [framed(random_ids(8), all_of(0))],
    "classes that never occur": [framed(random_ids(9, 7, 13), random_ids(10, 7, 34))],
    "predicted but never there": [framed(all_of(7), all_of(24))],
    "objects of ignored labels": [framed(random_ids(11, 29, 31), random_ids(12, 26, 33))],
    "caravans predicted for cars": [framed(all_of(26), all_of(29))],
    "one pixel of a person, found": [lone_pixel(24, 24)],
    "one pixel of a rider, taken for a person": [lone_pixel(25, 24)],
    "one pixel of a wall, missed": [lone_pixel(12, 11)],
    "objects without numbers": [(ids := random_ids(13, 24, 34), ids.astype(np.uint16), ids)],
    "no objects": [framed(random_ids(14, 0, 24), random_ids(15, 0, 24))],
    "an instance id that the label image lacks": [
        (all_of(7), np.full(SHAPE, 26_000, np.uint16) + np.eye(*SHAPE, dtype=np.uint16), all_of(26))
    ],
}
CASES["all of these together"] = [frame for frames in CASES.values() for frame in frames]


def without_nan(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


def agree(ours: ScoreTable, theirs: dict, kind: str) -> None:
    """Whether all values, and the means, are those of the script to 1e-9."""
    words = {"classes": ("class", "Classes"), "categories": ("category", "Categories")}[kind]
    iou, iiou = (theirs[f"{words[0]}{scores}"] for scores in ("Scores", "InstScores"))
    assert without_nan(ours.iou) == pytest.approx(without_nan(iou), abs=1e-9)
    assert without_nan(ours.iiou or {}) == pytest.approx(without_nan(iiou), abs=1e-9)
    means = theirs[f"averageScore{words[1]}"], theirs[f"averageScoreInst{words[1]}"]
    assert (ours.miou, ours.miiou) == pytest.approx(means, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("labels", [CLASSES, CATEGORIES], ids=lambda labels: labels.name)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_they_are_those_of_the_benchmarks_own_script(
    case: str, labels: LabelSpace, tmp_path: Path
) -> None:
    folders = write_masks(tmp_path, CASES[case])
    expected = official_scores(*folders)
    tables = score_folders(*folders, labels, "label", "label").tables
    assert [*tables] == ["classes", "categories"]
    for kind, table in tables.items():
        agree(table, expected, kind)
    assert len(tables["classes"].iou) == 19
    assert len(tables["categories"].iou) == 7
    assert len(tables["classes"].iiou or {}) == 8
    assert [*(tables["categories"].iiou or {})] == ["human", "vehicle"]


def test_a_drawn_street_is_scored_as_by_the_script(cityscapes: Path, tmp_path: Path) -> None:
    """Frames as a data set has them; each connected part of an object's label is an object."""
    frames: list[Masks] = []
    for number, path in enumerate(sorted((cityscapes / "gtFine" / "val").rglob("*.png"))):
        ids = decode_ids(path.read_bytes())
        instances = ids.astype(np.uint16)
        for label in OBJECTS:
            _, parts = cv2.connectedComponents((ids == label).astype(np.uint8))
            instances[parts > 0] = label * 1000 + parts[parts > 0]
        shifted = np.roll(ids, (2, -3 * number), axis=(0, 1))
        frames.append((ids, instances, shifted))
    folders = write_masks(tmp_path, frames)
    expected = official_scores(*folders)
    tables = score_folders(*folders, CLASSES).tables
    for kind, table in tables.items():
        agree(table, expected, kind)
    assert 0 < tables["classes"].miiou < tables["categories"].miiou < 1


def test_each_frame_is_scored_as_by_the_script(tmp_path: Path) -> None:
    frames = CASES["mostly right, several frames"]
    rows = score_folders(*write_masks(tmp_path / "all", frames), CLASSES).rows
    assert [row["frame"] for row in rows] == [f"aachen_000000_{n:06d}" for n in range(len(frames))]
    for number, frame in enumerate(frames):
        expected = official_scores(*write_masks(tmp_path / str(number), [frame]))
        means = {
            "class_miou": expected["averageScoreClasses"],
            "class_miiou": expected["averageScoreInstClasses"],
            "category_miou": expected["averageScoreCategories"],
            "category_miiou": expected["averageScoreInstCategories"],
        }
        assert {name: rows[number][name] for name in means} == pytest.approx(means, abs=1e-9)


def test_train_ids_are_scored_as_the_script_scores_their_label_ids(tmp_path: Path) -> None:
    """255 becomes id 0, as submissions have it."""
    train_id = np.full(256, IGNORE, np.uint8)
    for label in CLASSES.drawn:
        train_id[label.id] = label.train_id
    frames = [mostly_right(seed) for seed in range(20, 23)]
    as_labels = [
        (ids, instances, np.where(train_id[predicted] == IGNORE, 0, predicted))
        for ids, instances, predicted in frames
    ]
    expected = official_scores(*write_masks(tmp_path / "labels", as_labels))
    predictions, truth = write_masks(tmp_path / "train", frames)
    for path in predictions.glob("*.png"):
        path.write_bytes(encode_png(train_id[decode_ids(path.read_bytes())]))
    for labels in (CLASSES, CATEGORIES):
        for kind, table in score_folders(predictions, truth, labels, "train").tables.items():
            agree(table, expected, kind)


def test_masks_of_classes_tell_their_numbering(tmp_path: Path) -> None:
    """As 'predict' writes them: a palette of the colours of the 19 classes."""
    frames = [mostly_right(seed, wrong=0) for seed in range(3)]
    predictions, truth = write_masks(tmp_path, frames)
    for path in predictions.glob("*.png"):
        ids = np.clip(decode_ids(path.read_bytes()), 24, 28) - 13
        path.write_bytes(encode_palette_png(ids.astype(np.uint8), CLASSES.palette))
    found = score_folders(predictions, truth, CLASSES)
    assert found.numberings == {"truth": "label", "predictions": "train"}
    assert [*found.tables] == ["classes", "categories"]
    assert found.tables["classes"].iou["truck"] == 1


def test_masks_of_eight_categories_have_no_table_of_classes(tmp_path: Path) -> None:
    frames = CASES["mostly right, several frames"]
    predictions, truth = write_masks(tmp_path, frames)
    representative = [
        (ids, instances, CATEGORIES.representative_ids[CATEGORIES.category_of[predicted]])
        for ids, instances, predicted in frames
    ]
    expected = official_scores(*write_masks(tmp_path / "representative", representative))
    for path in predictions.glob("*.png"):
        path.write_bytes(encode_png(CATEGORIES.category_of[decode_ids(path.read_bytes())]))
    found = score_folders(predictions, truth, CATEGORIES, "category")
    assert [*found.tables] == ["categories"]
    agree(found.tables["categories"], expected, "categories")
    assert found.scores.iou_official == pytest.approx(found.tables["categories"].iou)


def test_without_instance_ids_the_iiou_alone_is_missing(tmp_path: Path) -> None:
    folders = write_masks(tmp_path, [(random_ids(1), None, random_ids(2))])
    expected = official_scores(*folders, instances=False)
    found = score_folders(*folders, CLASSES)
    assert found.tables["classes"].iiou is None
    assert found.tables["classes"].miou == pytest.approx(expected["averageScoreClasses"], abs=1e-9)
    assert found.to_dict()["benchmark"]["classes"]["miiou"] is None


def test_only_label_spaces_with_the_ids_of_cityscapes_have_tables(tmp_path: Path) -> None:
    both = ["classes", "categories"]
    assert tables_of(CLASSES, by_category=True) == tables_of(CLASSES, by_category=False) == both
    assert tables_of(CATEGORIES, by_category=False) == both
    assert tables_of(CATEGORIES, by_category=True) == ["categories"]
    carla = LabelSpace.load("carla")
    assert tables_of(carla, by_category=False) == []
    people = {**CATEGORIES.to_dict(), "name": "mine", "categories": [
        {"name": "people", "color": [0, 0, 0]}, {"name": "rest", "color": [1, 1, 1]}
    ]}  # fmt: skip
    for label in people["labels"]:
        label["category"] = "people" if label["category"] == "human" else "rest"
    own = LabelSpace.from_dict(people)
    assert tables_of(own, by_category=False) == both
    assert tables_of(own, by_category=True) == []


def test_tables_survive_being_written_down(tmp_path: Path) -> None:
    found = score_folders(*write_masks(tmp_path, CASES["random"]), CLASSES)
    content = json.loads(json.dumps(found.to_dict()["benchmark"]))
    assert content["name"] == "Cityscapes"
    read = read_tables(content)
    for kind, table in found.tables.items():
        assert read[kind].iou == pytest.approx(table.iou, abs=0, nan_ok=True)
        assert read[kind].iiou == pytest.approx(table.iiou, abs=0, nan_ok=True)
        assert (read[kind].miou, read[kind].miiou) == (table.miou, table.miiou)
    assert read_tables(None) == read_tables({"name": "KITTI road", "max_f1": 0.5}) == {}


def test_a_category_has_its_evaluated_classes() -> None:
    assert classes_of("human", CLASSES.names) == ["person", "rider"]
    assert classes_of("vehicle", ["bus", "caravan", "boat"]) == ["bus"]
    assert classes_of("void", CLASSES.names) == classes_of("zebra", CLASSES.names) == []


def test_the_command_prints_both_tables_and_writes_a_row_for_each_frame(
    streetseg: Command, tmp_path: Path
) -> None:
    predictions, truth = write_masks(tmp_path, [mostly_right(seed) for seed in range(3)])
    expected = official_scores(predictions, truth)
    call = ("evaluate", "--predictions", predictions, "--truth", truth)
    done = streetseg(*call, "--csv", tmp_path / "out" / "frames.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    classes = lines[lines.index(["Cityscapes,", "classes", "IoU", "iIoU"]) + 1 :][:20]
    categories = lines[lines.index(["Cityscapes,", "categories", "IoU", "iIoU"]) + 1 :][:8]
    road, bicycle = expected["classScores"]["road"], expected["classScores"]["bicycle"]
    assert classes[0] == ["road", f"{road:.3f}", "-"]
    of_bicycle = f"{expected['classInstScores']['bicycle']:.3f}"
    assert classes[18] == ["bicycle", f"{bicycle:.3f}", of_bicycle]
    for table, kind in ((classes, "Classes"), (categories, "Categories")):
        means = (expected[f"averageScore{kind}"], expected[f"averageScoreInst{kind}"])
        assert table[-1] == ["mean", *(f"{mean:.3f}" for mean in means)]
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["frame"] for row in rows] == [f"aachen_000000_{n:06d}" for n in range(3)]
    benchmark = json.loads(streetseg(*call, "--json", cwd=tmp_path).stdout)["benchmark"]
    scores = without_nan(expected["classScores"])
    assert benchmark["classes"]["iou"] == pytest.approx(scores, abs=1e-9)
    assert benchmark["categories"]["miiou"] == pytest.approx(
        expected["averageScoreInstCategories"], abs=1e-9
    )


def test_a_csv_that_cannot_be_written_is_one_line(streetseg: Command, tmp_path: Path) -> None:
    predictions, truth = write_masks(tmp_path, [mostly_right(1)])
    (tmp_path / "file").write_text("")
    done = streetseg(
        "evaluate", "--predictions", predictions, "--truth", truth,
        "--csv", tmp_path / "file" / "frames.csv", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot write" in done.stderr.splitlines()[-1]
    done = streetseg("evaluate", "--csv", "frames.csv", cwd=tmp_path)
    assert (done.returncode, "need --predictions" in done.stderr) == (2, True)


def test_instance_ids_of_the_evaluation_split_are_prepared(tmp_path: Path) -> None:
    root = layouts.cityscapes(tmp_path / "source")
    ids = np.full(layouts.SIZE, 26_001, np.uint16)
    for path in (root / "gtFine").rglob("*_gtFine_labelIds.png"):
        path.with_name(path.name.replace("label", "instance")).write_bytes(encode_png(ids))
    for source, kept in (("cityscapes-19", True), ("cityscapes", False)):
        dataset = layouts.prepared(source, root)
        for row in dataset.rows("val"):
            found = dataset.instances(row)
            assert (found is not None) is kept
            assert found is None or (found == 26_001).all()
        assert all(dataset.instances(row) is None for row in dataset.rows("train"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "there is no .*munster.*where other frames have instance ids"),
        (
            lambda path: path.write_bytes(encode_png(np.zeros((4, 4), np.uint16))),
            "is of another size than the label ids beside it: fix or remove the frame",
        ),
        (
            lambda path: path.write_bytes(encode_png(np.full(layouts.SIZE, 40_001, np.uint16))),
            "holds an object of label 40, which .* does not define: fix or remove the frame",
        ),
    ],
)
def test_instance_ids_that_cannot_be_used_stop_prepare(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    root = write_frames(tmp_path / "source", size=layouts.SIZE)
    paths = [*(root / "gtFine" / "val").rglob("*_gtFine_labelIds.png")]
    for path in paths:
        path = path.with_name(path.name.replace("label", "instance"))
        path.write_bytes(encode_png(np.full(layouts.SIZE, 26_001, np.uint16)))
    spoil(path)
    with pytest.raises(StreetsegError, match=said) as refused:
        layouts.prepared("cityscapes-19", root)
    assert "\n" not in str(refused.value)
    assert not Path(f"{root}-prepared").exists()


def test_ground_truth_that_is_all_ignored_has_no_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = np.resize(np.arange(7, dtype=np.uint8), SHAPE)
    folders = write_masks(tmp_path, [(ids, ids.astype(np.uint16), random_ids(1))])
    found = score_folders(*folders, CLASSES)
    assert without_nan(dict(found.tables["classes"].iou)) == {}
    assert math.isnan(found.scores.miou)
    assert "may be train ids: say which by --truth-ids label" in capsys.readouterr().err
    with pytest.raises(StreetsegError, match="more likely train ids"):
        score_folders(*write_masks(tmp_path / "swapped", [(random_ids(1), None, ids)]), CLASSES)
