"""iIoU, held against the official evaluation of Cityscapes."""

from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official  # noqa: N813

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.masks import MaskScores, score_folders
from streetseg.images.encode import encode_png
from streetseg.metrics.instance_iou import instance_categories

SPACE = LabelSpace.load("cityscapes")
SHAPE = (48, 64)


def street(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Label ids and instance ids of a frame: blocks, of which those of objects are numbered."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 34, (6, 8))
    objects = np.isin(small, [label.id for label in SPACE.labels if label.instances])
    in_a_group = random.random(small.shape) < 0.2
    running = random.integers(0, 3, small.shape)
    instances = np.where(objects & ~in_a_group, small * 1000 + running, small)
    grow = np.ones((8, 8), int)
    return np.kron(small, grow).astype(np.uint8), np.kron(instances, grow).astype(np.uint16)


def mostly_right(truth: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random(SHAPE) < 0.4, random.integers(0, 34, SHAPE), truth)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and truth of three frames."""
    predictions, truth = tmp_path / "predictions", tmp_path / "truth"
    predictions.mkdir()
    truth.mkdir()
    for number in range(3):
        ids, instances = street(number)
        predicted = mostly_right(ids, number + 10).astype(np.uint8)
        if number == 2:
            predicted = SPACE.representative_ids[SPACE.category_of[predicted]]
        name = f"aachen_000000_{number:06d}"
        (predictions / f"{name}.png").write_bytes(encode_png(predicted))
        (truth / f"{name}_gtFine_labelIds.png").write_bytes(encode_png(ids))
        (truth / f"{name}_gtFine_instanceIds.png").write_bytes(encode_png(instances))
    return predictions, truth


def test_it_is_the_one_of_the_benchmarks_own_script(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, truth = folders
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # its name until NumPy 2.4
    arguments = official.args
    arguments.evalInstLevelScore, arguments.quiet, arguments.JSONOutput = True, True, False
    arguments.evalPixelAccuracy = False
    expected = official.evaluateImgLists(
        sorted(map(str, predictions.glob("*.png"))),
        sorted(map(str, truth.glob("*labelIds.png"))),
        arguments,
    )
    found = score_folders(*folders, SPACE)
    wanted = {name: expected["categoryInstScores"][name] for name in ("human", "vehicle")}
    assert found.iiou == pytest.approx(wanted, abs=1e-9)
    benchmark = found.to_dict()["benchmark"]
    assert benchmark["miiou"] == pytest.approx(expected["averageScoreInstCategories"], abs=1e-6)
    assert found.scores.miou_official == pytest.approx(expected["averageScoreCategories"], abs=1e-9)


def test_only_categories_of_objects_alone_have_one() -> None:
    assert instance_categories(SPACE) == ["human", "vehicle"]
    assert instance_categories(LabelSpace.load("kitti-road")) == []


def test_without_instance_ids_there_is_none(folders: tuple[Path, Path]) -> None:
    for path in folders[1].glob("*instanceIds.png"):
        path.unlink()
    found: MaskScores = score_folders(*folders, SPACE)
    assert found.iiou is None
    assert found.to_dict()["benchmark"] is None


NAME = "aachen_000000_000001_gtFine_instanceIds.png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no gtFine_instanceIds.png beside it"),
        (b"text", "cannot be decoded"),
        (encode_png(np.zeros(SHAPE, np.uint8)), "16-bit instance ids"),
        (encode_png(np.zeros((4, 4), np.uint16)), "of another size"),
        (encode_png(np.full(SHAPE, 40_001, np.uint16)), "an object of label 40"),
        (encode_png(np.zeros(SHAPE, np.uint16))[:-20], "is truncated"),
    ],
)
def test_instance_ids_that_cannot_be_used_are_named(
    folders: tuple[Path, Path], content: bytes | None, said: str
) -> None:
    path = folders[1] / NAME
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StreetsegError, match=said) as caught:
        score_folders(*folders, SPACE)
    assert "aachen_000000_000001" in str(caught.value)
    assert "\n" not in str(caught.value)
