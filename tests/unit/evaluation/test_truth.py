"""Masks scored against the labels of a source, read by its own patterns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streetseg.config.params import Data
from streetseg.core.errors import StreetsegError
from streetseg.data.collection import load_sources
from streetseg.data.labels import IGNORE
from streetseg.evaluation.masks import MaskScores, score_masks
from streetseg.evaluation.truth import SourceLabels
from streetseg.images.encode import encode_png
from tests.conftest import Command
from tests.support.public_sets import public_set


def scored(
    root: Path, source: str, ids: str | None = None, split: str = "val", target: str = "auto"
) -> MaskScores:
    sources = load_sources(Data(source=source, root=root, target=target))
    return score_masks(root / "masks", SourceLabels(sources, root, split), ids)


def write_mask(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(ids))


def iou_by_hand(true: np.ndarray, predicted: np.ndarray, classes: int) -> list[float]:
    """The IoU of each class; pixels whose truth is ``IGNORE`` do not count."""
    counted = true != IGNORE
    result = []
    for number in range(classes):
        is_true, is_predicted = (true == number) & counted, (predicted == number) & counted
        result.append((is_true & is_predicted).sum() / (is_true | is_predicted).sum())
    return result


def test_colours_of_camvid_are_read_by_its_patterns(tmp_path: Path) -> None:
    frames = public_set(tmp_path, "camvid-32")
    true, predicted = [], []
    labels = load_sources(Data(source="camvid-32", target="own")).labels
    masks = SourceLabels(
        load_sources(Data(source="camvid-32", target="own")), tmp_path, "val"
    ).masks
    for mask in masks:
        (image,) = [each for each in frames if Path(each).stem == mask.name]
        guess = np.roll(frames[image], 3, axis=1)
        write_mask(tmp_path / "masks" / f"{mask.name}.png", guess)
        true.append(labels.category_of[frames[image]])
        predicted.append(labels.category_of[guess])
    assert masks
    found = scored(tmp_path, "camvid-32", "label", target="own")
    expected = iou_by_hand(np.array(true), np.array(predicted), len(labels.names))
    assert [found.scores.iou[name] for name in labels.names] == pytest.approx(expected)
    assert min(expected) < 0.7
    assert found.numberings == {"truth": "colors", "predictions": "label"}


def test_train_ids_of_bdd100k_are_read_by_its_patterns_without_images(tmp_path: Path) -> None:
    frames = public_set(tmp_path, "bdd100k")
    (image,) = [each for each in frames if "/val/" in each]
    for each in (tmp_path / "images").rglob("*.jpg"):
        each.unlink()
    guess = np.roll(frames[image], 3, axis=1)
    write_mask(tmp_path / "masks" / f"{Path(image).stem}_pred.png", guess)
    found = scored(tmp_path, "bdd100k", "train", target="cityscapes-19")
    expected = iou_by_hand(frames[image], guess, 19)
    assert [*found.scores.iou.values()] == pytest.approx(expected)
    assert found.tables["classes"].miou == pytest.approx(np.mean(expected))
    assert found.numberings == {"truth": "train", "predictions": "train"}


def test_polygons_are_drawn(tmp_path: Path) -> None:
    truth = tmp_path / "gtFine/val/ulm/ulm_000000_000000_gtFine_polygons.json"
    truth.parent.mkdir(parents=True)
    road = [[0, 0], [39, 0], [39, 19], [0, 19]]
    car = [[0, 0], [9, 0], [9, 19], [0, 19]]
    objects = [{"label": "road", "polygon": road}, {"label": "car", "polygon": car}]
    truth.write_text(json.dumps({"imgHeight": 20, "imgWidth": 40, "objects": objects}))
    ids = np.full((20, 40), 7, np.uint8)
    ids[:, :20] = 26
    write_mask(tmp_path / "masks" / "ulm_000000_000000.png", ids)
    found = scored(tmp_path, "cityscapes-polygons", "label").scores
    assert found.iou["vehicle"] == pytest.approx(10 / 20)
    assert found.iou["flat"] == pytest.approx(20 / 30)


def test_frames_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    frames = public_set(tmp_path, "kitti-step")
    (image,) = [each for each in frames if "/val/" in each]
    other = image.replace("/0000/", "/0001/")
    for kind in ("images", "panoptic_maps"):
        for path in [*(tmp_path / kind).rglob("*val*/0000/*.png")]:
            copy = path.parent.parent / "0001" / path.name
            copy.parent.mkdir()
            copy.write_bytes(path.read_bytes())
    for each, shift in ((image, 0), (other, 3)):
        guess = np.roll(frames[image], shift, axis=1)
        write_mask(tmp_path / "masks" / f"{each}_mask.png", guess)
    scores = scored(tmp_path, "kitti-step", "train").rows
    assert scores[0]["miou"] == 1
    assert scores[1]["miou"] < 0.75


def test_predictions_of_other_splits_are_left_out(tmp_path: Path) -> None:
    frames = public_set(tmp_path, "camvid-32")
    for image, ids in frames.items():
        write_mask(tmp_path / "masks" / f"{Path(image).stem}_L.png", ids)
    assert scored(tmp_path, "camvid-32", "label").frames == 2
    with pytest.raises(StreetsegError, match="holds no labels of the split 'test'"):
        scored(tmp_path, "camvid-32", "label", split="test")


def test_the_command_reads_the_truth_by_a_source(streetseg: Command, tmp_path: Path) -> None:
    frames = public_set(tmp_path, "bdd100k")
    (image,) = [each for each in frames if "/val/" in each]
    guess = np.roll(frames[image], 3, axis=1)
    write_mask(tmp_path / "masks" / f"{Path(image).stem}.png", guess)
    options = ("--predictions", tmp_path / "masks", "--truth", tmp_path)
    called = streetseg("evaluate", *options, "--source", "bdd100k", "--ids", "train", "--json")
    assert called.returncode == 0, called.stderr
    expected = np.mean(iou_by_hand(frames[image], guess, 19))
    assert json.loads(called.stdout)["benchmark"]["classes"]["miou"] == pytest.approx(expected)
    untold = streetseg("evaluate", *options)
    assert "for labels in another layout, say which by --source" in untold.stderr
    twice = streetseg("evaluate", *options, "--source", "bdd100k", "--truth-ids", "train")
    assert twice.returncode == 2
