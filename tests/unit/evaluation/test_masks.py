"""Scores of masks by their numbering: recognized, stated or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.numbering import Ids
from streetseg.evaluation.masks import score_folders
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.metrics.confusion import confusion_of_categories, score
from tests.conftest import Command, Trained

SPACE = LabelSpace.load("cityscapes")
SHAPE = (48, 64)
TRAIN_ID = np.full(256, IGNORE, np.uint8)
for each in SPACE.drawn:
    TRAIN_ID[each.id] = each.train_id


def streets(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True label ids, and label ids that are right for two thirds of the pixels."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 34, SHAPE, np.uint8)
    wrong = random.random(SHAPE) < 1 / 3
    return truth, np.where(wrong, random.integers(0, 34, SHAPE, np.uint8), truth)


Encode = Callable[[np.ndarray], bytes]


def write(root: Path, predicted: Encode, true: Encode = encode_png) -> tuple[Path, Path]:
    """Folders of predictions and truth: three frames, encoded from label ids."""
    predictions, truth = root / "predictions", root / "export" / "gtFine" / "val"
    predictions.mkdir(parents=True)
    truth.mkdir(parents=True)
    for number in range(3):
        true_ids, predicted_ids = streets(number)
        (truth / f"a_0_{number}_gtFine_labelIds.png").write_bytes(true(true_ids))
        (predictions / f"a_0_{number}.png").write_bytes(predicted(predicted_ids))
    return predictions, truth


def looked_up(table: np.ndarray) -> Encode:
    return lambda ids: encode_png(cv2.LUT(ids, table))


def as_we_write_them(ids: np.ndarray) -> bytes:
    return encode_palette_png(cv2.LUT(ids, SPACE.category_of), SPACE.palette)


def expected_of_categories() -> tuple[float, float]:
    """The two scores of the streets, from the counts of their categories."""
    total = np.zeros((256, 256), np.int64)
    for number in range(3):
        truth, predicted = streets(number)
        total += confusion_of_categories(truth, SPACE.category_of[predicted], SPACE)
    scores = score(total, SPACE)
    return scores.miou, scores.miou_official


@pytest.mark.parametrize(
    ("encode", "ids"),
    [
        (as_we_write_them, None),
        (as_we_write_them, "category"),
        (looked_up(SPACE.category_of), "category"),
    ],
)
def test_category_ids_are_scored_as_categories(
    tmp_path: Path, encode: Encode, ids: Ids | None
) -> None:
    found = score_folders(*write(tmp_path, encode), SPACE, ids)
    assert (found.scores.miou, found.scores.miou_official) == expected_of_categories()
    assert found.numberings == {"truth": "label", "predictions": "category"}


def test_train_ids_are_scored_as_their_labels(tmp_path: Path) -> None:
    found = score_folders(*write(tmp_path, looked_up(TRAIN_ID)), SPACE, "train")
    total = np.zeros((256, 256), np.int64)
    for number in range(3):
        truth, predicted = streets(number)
        np.add.at(total, (truth, np.where(TRAIN_ID[predicted] == IGNORE, 0, predicted)), 1)
    assert found.scores.to_dict() == score(total, SPACE).to_dict()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (TRAIN_ID, r"a_0_0\.png holds id 255, .* does not define: .* unless --ids train or --ids"),
        (
            np.minimum(TRAIN_ID, 18),
            r"the ids 0-18, more likely train ids .* by --ids train or",
        ),
        (SPACE.category_of, r"the ids 0-7, more likely category ids .* by --ids category or"),
    ],
)
def test_ids_of_another_numbering_are_never_scored_in_silence(
    tmp_path: Path, table: np.ndarray, said: str
) -> None:
    folders = write(tmp_path, looked_up(table))
    with pytest.raises(StreetsegError, match=said) as refused:
        score_folders(*folders, SPACE)
    assert "\n" not in str(refused.value)


def test_masks_of_few_ids_are_scored_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = np.where(SPACE.category_of == SPACE.category_id("vehicle"), 7, 0).astype(np.uint8)
    folders = write(tmp_path, looked_up(table))
    found = score_folders(*folders, SPACE)
    assert found.scores.iou["vehicle"] == 0
    told = capsys.readouterr().err
    assert f"warning: the predictions in {folders[0]} hold the ids 0, 7, which are read as" in told
    assert "may be category or train ids: say which by --ids label or --ids category\n" in told
    assert score_folders(*folders, SPACE, "category").scores.iou["vehicle"] > 0.3
    assert score_folders(*folders, SPACE, "label").to_dict() == found.to_dict()
    assert capsys.readouterr().err.count("warning") == 0


def test_label_ids_that_look_otherwise_are_scored_if_stated(tmp_path: Path) -> None:
    few = np.arange(256, dtype=np.uint8) % 8
    found = score_folders(*write(tmp_path, looked_up(few), looked_up(few)), SPACE, "label", "label")
    assert found.scores.categories[:2] == ["void", "flat"]
    assert not any(found.scores.category_confusion[2:].any(axis=1))


def test_stated_ids_that_a_palette_contradicts_get_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = write(tmp_path, as_we_write_them)
    assert score_folders(*folders, SPACE, "train").numberings["predictions"] == "train"
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1  # not for each mask
    assert "a_0_0.png has the palette of category ids, and is read as train ids, as --ids" in said
    score_folders(*folders, SPACE, "category")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("ids", "table"), [("train", TRAIN_ID), ("category", SPACE.category_of)])
def test_a_truth_of_another_numbering_is_refused_unless_it_is_stated(
    tmp_path: Path, ids: Ids, table: np.ndarray
) -> None:
    folders = write(tmp_path, encode_png, looked_up(table))
    said = f"by --truth-ids {ids}|unless --truth-ids train"
    with pytest.raises(StreetsegError, match=said):
        score_folders(*folders, SPACE)
    found = score_folders(*folders, SPACE, truth_ids=ids)
    total = np.zeros((256, 256), np.int64)
    for number in range(3):
        truth, predicted = streets(number)
        if ids == "category":
            truth = SPACE.representative_ids[SPACE.category_of[truth]]
        counted = TRAIN_ID[truth] != IGNORE if ids == "train" else np.full(SHAPE, True)
        np.add.at(total, (truth[counted], predicted[counted]), 1)
    assert found.scores.to_dict() == score(total, SPACE).to_dict()


def test_a_value_that_a_stated_numbering_lacks_is_named(tmp_path: Path) -> None:
    folders = write(tmp_path, encode_png)
    with pytest.raises(StreetsegError, match=r"a_0_0\.png holds category id \d+, which .* define"):
        score_folders(*folders, SPACE, "category")


def test_a_predicted_255_is_a_miss_without_a_category_for_it(tmp_path: Path) -> None:
    space = LabelSpace.load("kitti-road")
    predictions, truth = tmp_path / "p", tmp_path / "t"
    for folder, name in ((truth, "a_gtFine_labelIds.png"), (predictions, "a.png")):
        folder.mkdir()
        (folder / name).write_bytes(encode_png(np.array([[0, 1, 255]], np.uint8)))
    (predictions / "a.png").write_bytes(encode_png(np.array([[0, 255, 0]], np.uint8)))
    found = score_folders(predictions, truth, space, "category").scores
    assert found.recall == {"background": 1, "road": 0}


def test_an_export_is_scored_by_the_names_that_it_lists(tmp_path: Path) -> None:
    names = ["building", "car", "person", "road"]
    ids = {label.name: label.id for label in SPACE.labels}
    table = np.zeros(256, np.uint8)
    for number, name in enumerate(names, 1):
        table[ids[name]] = number
    kept = np.where(table > 0, np.arange(256), 0).astype(np.uint8)
    folders = write(tmp_path, looked_up(kept), looked_up(table))
    listing = tmp_path / "export" / "label_colors.txt"
    listing.write_text("".join(f"9 9 9 {name}\n" for name in names))
    found = score_folders(*folders, SPACE)
    expected = score_folders(*write(tmp_path / "again", looked_up(kept), looked_up(kept)), SPACE)
    assert found.scores.to_dict() == expected.scores.to_dict()
    assert found.numberings == {"truth": str(listing), "predictions": "label"}


def test_what_predict_writes_is_scored_as_it_is(
    streetseg: Command, cityscapes: Path, trained: Trained, tmp_path: Path
) -> None:
    images = sorted((cityscapes / "leftImg8bit" / "val").rglob("*.png"))
    out, truth = tmp_path / "out", cityscapes / "gtFine" / "val"
    done = streetseg("predict", *images, "--model", trained.artifact, "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scored = ("evaluate", "--predictions", out, "--truth", truth)
    done = streetseg(*scored, "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    evaluation = json.loads((trained.evaluation / "evaluation.json").read_text())
    assert result["confusion"] == evaluation["confusion"]
    assert result["numberings"] == {"truth": "label", "predictions": "category"}
    said = streetseg(*scored, cwd=tmp_path).stdout
    assert said.startswith("ids of the truth: label\nids of the predictions: category\n")
    done = streetseg(*scored, "--ids", "label", cwd=tmp_path)
    assert done.returncode == 0, "a wrong statement is the user's own"
    done = streetseg("evaluate", "--ids", "label", cwd=tmp_path)
    assert (done.returncode, "need --predictions" in done.stderr) == (2, True)
