"""Frames at native size in sliding windows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streetseg.config.params import Evaluate, Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE
from streetseg.data.prepare import prepare
from streetseg.data.sources import load_source
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.windows import WindowScores, sliding
from streetseg.images.decode import decode_ids, read_image
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import softmax
from streetseg.inference.windows import SlidingSegmenter, starts
from streetseg.metrics.cityscapes import CityscapesScores
from streetseg.metrics.confusion import confusion_of_categories, score
from streetseg.metrics.metric import ScoredFrame
from streetseg.models.load import load_torch
from tests.conftest import SIZE, Command, Trained
from tests.support.cityscapes_layout import write_frames

NATIVE = (128, 256)
"""(height, width) of the synthetic frames, twice that of the prepared ones."""


@pytest.fixture(scope="module")
def model(trained: Trained) -> Segmenter:
    return Segmenter(trained.artifact)


@pytest.fixture(scope="module")
def frames(cityscapes: Path) -> dict[str, np.ndarray]:
    """The images of val by name."""
    found = load_source("cityscapes").find(cityscapes)
    return {frame.name: read_image(frame.image) for frame in found if frame.split == "val"}


@pytest.mark.parametrize(
    ("length", "window", "overlap", "expected"),
    [
        (2048, 713, 1 / 3, [0, 476, 952, 1335]),  # PSPNet's crop and stride
        (1024, 713, 1 / 3, [0, 311]),
        (2048, 1024, 0.25, [0, 768, 1024]),  # SegFormer's
        (128, 64, 0, [0, 64]),
        (130, 64, 0, [0, 64, 66]),
        (64, 64, 0.9, [0]),
    ],
)
def test_windows_cover_the_frame_and_end_at_its_edge(
    length: int, window: int, overlap: float, expected: list[int]
) -> None:
    assert starts(length, window, overlap) == expected


def test_a_window_that_covers_the_frame_changes_no_bit(
    model: Segmenter, frames: dict[str, np.ndarray]
) -> None:
    covering = sliding(model, Evaluate(window=NATIVE))
    assert isinstance(covering, SlidingSegmenter)
    for rgb in frames.values():
        np.testing.assert_array_equal(covering.predict(rgb), model.predict(rgb))
        np.testing.assert_array_equal(covering.probabilities(rgb), model.probabilities(rgb))


def test_without_overlap_each_window_is_a_frame_of_its_own(
    model: Segmenter, frames: dict[str, np.ndarray]
) -> None:
    tiled = sliding(model, Evaluate(window=SIZE, overlap=0))
    for rgb in frames.values():
        expected = np.block(
            [
                [model.predict(rgb[top : top + 64, left : left + 128]) for left in (0, 128)]
                for top in (0, 64)
            ]
        )
        np.testing.assert_array_equal(tiled.predict(rgb), expected)


def test_where_windows_overlap_their_probabilities_are_averaged(
    model: Segmenter, frames: dict[str, np.ndarray]
) -> None:
    rgb = next(iter(frames.values()))[:64, :192]
    overlapping = sliding(model, Evaluate(window=SIZE, overlap=0.5))
    assert isinstance(overlapping, SlidingSegmenter)
    left, right = (softmax(model.logits(rgb[None, :, at : at + 128])[0]) for at in (0, 64))
    expected = np.concatenate(
        [left[:, :, :64], (left[:, :, 64:] + right[:, :, :64]) / 2, right[:, :, 64:]], axis=2
    )
    np.testing.assert_allclose(overlapping.probabilities(rgb), expected, atol=1e-6)


def test_a_side_that_is_shorter_than_the_window_is_padded(
    model: Segmenter, frames: dict[str, np.ndarray]
) -> None:
    rgb = next(iter(frames.values()))[:40]
    padded = np.concatenate([rgb[:, :128], np.zeros((24, 128, 3), np.uint8)])
    windows = sliding(model, Evaluate(window=SIZE, overlap=0))
    np.testing.assert_array_equal(windows.predict(rgb)[:, :128], model.predict(padded)[:40])


@pytest.mark.parametrize("window", [(96, 160), (51, 77)])
def test_windows_of_another_size_get_a_graph_of_their_own(
    trained: Trained, model: Segmenter, frames: dict[str, np.ndarray], window: tuple[int, int]
) -> None:
    other = sliding(model, Evaluate(window=window))
    assert isinstance(other, SlidingSegmenter)
    assert other.size == window
    rgb = next(iter(frames.values()))[: window[0], : window[1]]
    with torch.inference_mode():
        expected = load_torch(trained.artifact)(torch.from_numpy(rgb.copy())[None]).numpy()
    np.testing.assert_allclose(other.window.logits(rgb[None]), expected, atol=1e-3)


@pytest.fixture(scope="module")
def in_windows(
    trained: Trained,
    dataset: PreparedDataset,
    params: Params,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An evaluation with windows of the size of the network's input."""
    recipe = params.override({"evaluate.window": list(SIZE)})
    folder = tmp_path_factory.mktemp("windows") / "evaluation"
    evaluate(trained.artifact, dataset, recipe, folder)
    return folder


def test_native_frames_are_scored_beside_what_is_served(
    trained: Trained,
    in_windows: Path,
    model: Segmenter,
    dataset: PreparedDataset,
    frames: dict[str, np.ndarray],
) -> None:
    windows = sliding(model, Evaluate(window=SIZE))
    total = np.zeros((256, 256), np.int64)
    for row in dataset.rows("val"):
        predicted = windows.predict(frames[dataset.index["frame"][row]])
        total += confusion_of_categories(dataset.label_ids(row), predicted, dataset.labels)
    found = json.loads((in_windows / "evaluation.json").read_text())
    served = json.loads((trained.evaluation / "evaluation.json").read_text())
    assert found["windows"]["size"] == list(SIZE)
    assert found["windows"]["overlap"] == 0.333
    assert found["windows"]["miou"] == pytest.approx(score(total, dataset.labels).miou, abs=1e-6)
    assert found["windows"]["confusion"] != found["confusion"]
    assert found["miou"] == served["miou"], "what is served has no part in it"
    assert served["windows"] is None
    assert "windows of 128x64" in (in_windows / "report.html").read_text()


def test_a_benchmark_is_scored_in_windows_too(
    trained: Trained, model: Segmenter, dataset: PreparedDataset, params: Params
) -> None:
    rows = dataset.rows("val")[:1]
    root = params.data.root
    windows = SlidingSegmenter(model, model, 0.5)
    scores = WindowScores(windows, dataset, rows, root, CityscapesScores())
    row = int(rows[0])
    truth = dataset.label_ids(row)
    rgb = read_image(root / dataset.index["image"][row])
    probabilities = windows.probabilities(rgb)
    empty = np.zeros((0, 0), np.uint8)
    frame = ScoredFrame(dataset.labels, empty, empty, empty, empty, empty, empty, 0)
    scores.add(frame)
    expected = CityscapesScores()
    categories = probabilities.argmax(axis=0).astype(np.uint8)
    expected.add(
        replace(frame, truth=truth, categories=categories, instances=dataset.instances(row))
    )
    found = scores.result()["windows"]
    assert found["benchmark"] == expected.result()["benchmark"]
    assert found["benchmark"]["categories"]["miou"] is not None


def test_covered_frames_have_the_scores_that_they_have_without(
    trained: Trained, dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    recipe = params.override({"evaluate.window": list(NATIVE), "data.root": str(tmp_path)})
    shutil.copytree(params.data.root / "leftImg8bit", tmp_path / "leftImg8bit")
    found = evaluate(trained.artifact, dataset, recipe, tmp_path / "evaluation").to_dict()
    assert found["windows"]["confusion"] == found["confusion"]
    assert found["windows"]["miou_official"] == found["miou_official"]


def test_frames_that_were_prepared_at_native_size_need_no_others(
    params: Params, tmp_path: Path
) -> None:
    from streetseg.training.train import train

    few = {"train": {"aachen": 3}, "val": {"munster": 2}}
    recipe = params.override(
        {
            "data.root": str(write_frames(tmp_path / "source", few, (60, 90))),
            "data.prepared": str(tmp_path / "prepared"),
            "prepare.size": [60, 90],
            "train.augment.crop": [35, 51],
            "train.epochs": 1,
            "evaluate.window": [35, 51],
        }
    )
    dataset = PreparedDataset(prepare(recipe))
    labelled = sum(
        int((dataset.labels.category_of[dataset.label_ids(row)] != IGNORE).sum())
        for row in dataset.rows("val")
    )
    elsewhere = recipe.override({"data.root": str(tmp_path / "nowhere")})
    model = train(elsewhere, dataset, tmp_path / "model")
    found = evaluate(model.artifact, dataset, elsewhere, tmp_path / "evaluation").to_dict()
    assert np.sum(found["windows"]["confusion"]) == labelled


def test_a_warning_tells_that_windows_show_things_larger_than_the_training_did(
    trained: Trained,
    dataset: PreparedDataset,
    params: Params,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate(
        trained.artifact,
        dataset,
        params.override({"evaluate.window": list(SIZE)}),
        tmp_path / "evaluation",
    )
    told = capsys.readouterr().err
    assert "things are 2 times as large as in the prepared frames" in told
    assert "prepare.size=[128, 256] and train with train.augment.crop=[64, 128]" in told


def test_frames_that_are_not_here_are_asked_for_before_anything_is_scored(
    trained: Trained, dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    recipe = params.override({"evaluate.window": list(SIZE), "data.root": str(tmp_path)})
    with pytest.raises(StreetsegError, match=r"set data\.root .*prepare\.size=\[128, 256\]") as no:
        evaluate(trained.artifact, dataset, recipe, tmp_path / "evaluation")
    assert "\n" not in str(no.value)
    assert not (tmp_path / "evaluation").exists()


def test_a_frame_that_has_changed_is_not_scored(
    trained: Trained, dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    shutil.copytree(params.data.root / "leftImg8bit", tmp_path / "leftImg8bit")
    first, second = sorted(tmp_path.rglob("val/*/*.png"))[:2]
    first.write_bytes(second.read_bytes())
    recipe = params.override({"evaluate.window": list(SIZE), "data.root": str(tmp_path)})
    with pytest.raises(StreetsegError, match="is not the frame that was prepared"):
        evaluate(trained.artifact, dataset, recipe, tmp_path / "evaluation")


def test_predict_and_batch_use_the_same_windows(
    streetseg: Command, trained: Trained, model: Segmenter, params: Params, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    frame = next(f for f in load_source("cityscapes").find(params.data.root) if f.split == "val")
    image = Path(shutil.copy(frame.image, tmp_path / "images" / "a.png"))
    plain = model.predict(read_image(image))
    windows = sliding(model, Evaluate(window=SIZE, overlap=0.5)).predict(read_image(image))
    assert (plain != windows).any()
    setting = "--set", "evaluate.window=[64,128]", "--set", "evaluate.overlap=0.5"
    chosen = "--model", trained.artifact

    done = streetseg("predict", image, *chosen, *setting, "--out", tmp_path / "predicted")
    assert done.returncode == 0, done.stderr
    predicted = read_image(tmp_path / "predicted" / "a.png_mask.png", decode_ids)
    np.testing.assert_array_equal(predicted, windows)

    for settings, expected in (((), plain), (setting, windows), (setting, windows)):
        call = "batch", tmp_path / "images", tmp_path / "masks", *chosen, *settings
        done = streetseg(*call)
        assert done.returncode == 0, done.stderr
        mask = read_image(tmp_path / "masks" / "a.png_mask.png", decode_ids)
        np.testing.assert_array_equal(mask, expected)
    assert "1 of them were there already" in done.stdout
