"""Scores and masks of frames that are padded or cropped to the network's size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streetseg.config.params import Params, Serve
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE
from streetseg.data.prepare import prepare
from streetseg.evaluation.baseline import BaselineModel, Champion
from streetseg.evaluation.evaluate import evaluate
from streetseg.images.decode import decode_ids, read_image
from streetseg.images.encode import encode_png
from streetseg.inference.artifact import FORMAT, FORMAT_WITH_FIT, read_config
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.confusion import confusion_of_categories, score
from streetseg.prediction.batch import segment_folder
from streetseg.prediction.video import VideoOptions, segment_video
from streetseg.serving.batching import Batcher
from streetseg.serving.engine import Engine
from streetseg.serving.segmented import Segmented
from tests.support.cityscapes_layout import write_frames
from tests.support.pixelwise import pixelwise_model

NATIVE = (60, 90)
"""(height, width) of the frames; that of the inputs differs."""
FRAMES = {"train": {"aachen": 3}, "val": {"munster": 3}}
FITTING, PADDED, CROPPED = (60, 90), (60, 128), (48, 90)
"""Sizes at which the pixels of the frames are not resized."""


def fitted(params: Params, folder: Path, size: tuple[int, int], fit: str) -> Params:
    """Settings that prepare frames of ``NATIVE`` at a size."""
    return params.override(
        {
            "data.root": str(write_frames(folder / "source", FRAMES, NATIVE)),
            "data.prepared": str(folder / "prepared"),
            "prepare.size": list(size),
            "prepare.fit": fit,
            "evaluate.tta": ["flip"],
        }
    )


class Fitted:
    """Prepared frames, and a model of them that looks at one pixel at a time."""

    def __init__(self, params: Params, folder: Path, size: tuple[int, int], fit: str) -> None:
        self.params = fitted(params, folder, size, fit)
        self.dataset = PreparedDataset(prepare(self.params))
        self.artifact = pixelwise_model(self.dataset, self.params, folder / "model")
        self.model = Segmenter(self.artifact)
        self.evaluation = evaluate(
            self.artifact,
            self.dataset,
            self.params,
            folder / "evaluation",
            Champion("1", pixelwise_model(self.dataset, self.params, folder / "twin", "twin")),
        )

    def frames(self) -> list[np.ndarray]:
        """The images of val at native size."""
        root, rows = self.params.data.root, self.dataset.rows("val")
        return [read_image(root / path) for path in self.dataset.index["image"].iloc[rows]]


@pytest.fixture(scope="module")
def fitting(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return Fitted(params, tmp_path_factory.mktemp("fitting"), FITTING, "stretch")


@pytest.fixture(scope="module")
def padded(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return Fitted(params, tmp_path_factory.mktemp("padded"), PADDED, "pad")


@pytest.fixture(scope="module")
def cropped(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return Fitted(params, tmp_path_factory.mktemp("cropped"), CROPPED, "crop")


def test_padding_changes_no_score(fitting: Fitted, padded: Fitted) -> None:
    plain, with_bars = fitting.evaluation.to_dict(), padded.evaluation.to_dict()
    different = {"data_version", "performance", "reference"}
    assert dict(leaves(plain, different)) == pytest.approx(
        dict(leaves(with_bars, different)), abs=1e-6, nan_ok=True
    )
    assert plain["champion"]["miou"] == plain["miou"] == plain["augmented"]["flip"]
    for name, feature in plain["reference"]["features"].items():
        observed = with_bars["reference"]["features"][name]["mean"]
        assert observed == pytest.approx(feature["mean"], abs=0.05), name


def leaves(tree: Any, without: set[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dicts and lists by their path."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for name, value in items:
            if name not in without:
                yield from leaves(value, without, f"{path}/{name}")
    else:
        yield path, tree


def test_a_crop_is_scored_where_the_network_sees_it(fitting: Fitted, cropped: Fitted) -> None:
    total = np.zeros((256, 256), np.int64)
    rows = slice(6, 54)  # 48 of 60 rows
    for row, rgb in zip(fitting.dataset.rows("val"), fitting.frames(), strict=True):
        truth = fitting.dataset.label_ids(row)[rows]
        predicted = fitting.model.predict(rgb)[rows]
        total += confusion_of_categories(truth, predicted, fitting.dataset.labels)
    expected = score(total, fitting.dataset.labels)
    assert cropped.evaluation.scores.miou == pytest.approx(expected.miou, abs=1e-12)
    assert cropped.evaluation.scores.category_confusion.sum() == 3 * 48 * 90


def test_a_mask_has_the_pixels_of_the_frame(
    fitting: Fitted, padded: Fitted, cropped: Fitted
) -> None:
    for rgb in fitting.frames():
        expected = fitting.model.predict(rgb)
        np.testing.assert_array_equal(padded.model.predict(rgb), expected)
        mask = cropped.model.predict(rgb)
        np.testing.assert_array_equal(mask[6:54], expected[6:54])
        assert (mask[:6] == IGNORE).all()
        assert (mask[54:] == IGNORE).all()


def test_evaluation_scores_the_masks_that_are_served(padded: Fitted) -> None:
    total = np.zeros((256, 256), np.int64)
    for row, rgb in zip(padded.dataset.rows("val"), padded.frames(), strict=True):
        truth, predicted = padded.dataset.label_ids(row), padded.model.predict(rgb)
        total += confusion_of_categories(truth, predicted, padded.dataset.labels)
    assert padded.evaluation.scores.miou == score(total, padded.dataset.labels).miou


def answer(model: Segmenter, upload: bytes) -> Segmented:
    """What the service makes of an upload."""

    async def ask() -> Segmented:
        engine = Engine(Serve())
        served = SimpleNamespace(segmenter=model, batcher=Batcher(model.logits, 1))
        try:
            return await engine.answer(upload, served, lambda segmented: segmented)
        finally:
            engine.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("kind", ["padded", "cropped"])
def test_service_batch_and_video_give_the_mask_of_predict(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    each: Fitted = request.getfixturevalue(kind)
    rgb = each.frames()[0]
    expected = each.model.predict(rgb)
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode_png(rgb))

    segmented = answer(each.model, (folder / "a.png").read_bytes())
    np.testing.assert_array_equal(segmented.categories(), expected)
    assert segmented.shown[0].shape[:2] == segmented.shown[1].shape[1:]

    result = segment_folder(str(folder), str(tmp_path / "batch"), each.artifact)
    np.testing.assert_array_equal(read_mask(tmp_path / "batch" / "a.png_mask.png"), expected)
    assert sum(result.images[0].shares) == pytest.approx((expected != IGNORE).mean())

    options = VideoOptions(masks=tmp_path / "masks")
    segment_video(folder, tmp_path / "video", each.model, options)
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "000001.png"), expected)


def read_mask(path: Path) -> np.ndarray:
    return read_image(path, decode_ids)


def test_the_fit_travels_with_the_model(fitting: Fitted, padded: Fitted) -> None:
    assert read_config(padded.artifact)["fit"] == padded.model.fit == "pad"
    assert read_config(padded.artifact)["format"] == FORMAT_WITH_FIT, "older releases refuse it"
    assert read_config(fitting.artifact)["format"] == FORMAT, "older releases read it"


def test_a_model_of_another_fit_is_refused_with_the_settings_that_suit_it(
    fitting: Fitted, params: Params, tmp_path: Path
) -> None:
    recipe = fitted(params, tmp_path, FITTING, "crop")
    dataset = PreparedDataset(prepare(recipe))
    with pytest.raises(StreetsegError, match=r"prepare\.size=\[60, 90\] and prepare\.fit=stretch"):
        evaluate(fitting.artifact, dataset, recipe, tmp_path / "evaluation")
    champion = BaselineModel(Champion("1", fitting.artifact), dataset, dataset.rows("val"))
    assert champion.reason == (
        "it was trained with prepare.fit=stretch, these are prepared with crop"
    )
