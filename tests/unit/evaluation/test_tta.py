"""Test-time augmentation."""

import numpy as np
import pytest
import torch

from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.tta import augmented_predictors, scaled_size
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import softmax
from streetseg.models.load import load_torch
from tests.conftest import Trained


@pytest.fixture(scope="module")
def model(trained: Trained) -> Segmenter:
    return Segmenter(trained.artifact)


def test_flip_is_the_mean_of_a_frame_and_its_mirror_image(
    trained: Trained, model: Segmenter, dataset: PreparedDataset
) -> None:
    image = np.array(dataset.image(0))
    predict = augmented_predictors(model, ["flip"])["flip"]
    plain = softmax(model.logits(image[None])[0])
    mirrored = softmax(model.logits(image[None, :, ::-1])[0])[:, :, ::-1]
    np.testing.assert_allclose(softmax(predict(image)), (plain + mirrored) / 2, atol=1e-5)


def test_a_mirrored_frame_gets_the_mirrored_prediction(
    trained: Trained, model: Segmenter, dataset: PreparedDataset
) -> None:
    image = np.array(dataset.image(1))
    predict = augmented_predictors(model, ["flip"])["flip"]
    np.testing.assert_allclose(predict(image[:, ::-1]), predict(image)[:, :, ::-1], atol=1e-4)


def test_scales_are_the_mean_of_three_sizes(
    trained: Trained, model: Segmenter, dataset: PreparedDataset
) -> None:
    image = np.full((*dataset.size, 3), 90, np.uint8)  # looks the same at any size
    predict = augmented_predictors(model, ["scales"])["scales"]
    network = load_torch(trained.artifact)
    views = [softmax(model.logits(image[None])[0])]
    for scale in (0.75, 1.25):
        size = scaled_size(dataset.size, scale)
        with torch.inference_mode():
            logits = network(torch.full((1, *size, 3), 90, dtype=torch.uint8))
        logits = torch.nn.functional.interpolate(logits, dataset.size, mode="bilinear")
        views.append(softmax(logits[0].numpy()))
    np.testing.assert_allclose(softmax(predict(image)), np.mean(views, axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("size", "scale", "scaled"),
    [
        ((256, 512), 0.75, (192, 384)),
        ((256, 512), 1.25, (320, 640)),
        ((320, 320), 0.75, (240, 240)),
        ((360, 480), 1.25, (450, 600)),
    ],
)
def test_sizes_keep_the_aspect_ratio(
    size: tuple[int, int], scale: float, scaled: tuple[int, int]
) -> None:
    assert scaled_size(size, scale) == scaled


def test_nothing_is_computed_that_was_not_asked_for(trained: Trained, model: Segmenter) -> None:
    assert augmented_predictors(model, ()) == {}
