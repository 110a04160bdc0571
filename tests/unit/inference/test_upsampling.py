"""Categories at another size are those of the interpolated logits, wherever borders run."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from streetseg.inference import upsampling
from streetseg.inference.upsampling import categories_at

SIZES = [(256, 512), (67, 45), (300, 120), (16, 40), (7, 90), (1, 1)]


def scene(categories: int = 8, size: tuple[int, int] = (32, 64)) -> np.ndarray:
    """Logits with large areas, as a trained network gives."""
    noise = np.random.default_rng(3).normal(size=(categories, *size)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 5) for plane in noise])


def interpolated(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    planes = [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in logits]
    return np.stack(planes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most_borders", [0, 1], ids=["every pixel", "borders alone"])
def test_they_are_the_largest_of_the_interpolated_logits(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], most_borders: float
) -> None:
    monkeypatch.setattr(upsampling, "MAX_BORDER_FRACTION", most_borders)
    logits = scene()
    ids, planes = categories_at(logits, size), interpolated(logits, size)
    assert ids.shape == size
    assert ids.dtype == np.uint8
    chosen = np.take_along_axis(planes, ids[None].astype(np.int64), axis=0)[0]
    np.testing.assert_allclose(chosen, planes.max(axis=0), atol=1e-5)


def test_borders_everywhere_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float32)
    all_interpolated = categories_at(logits, (64, 50))
    monkeypatch.setattr(upsampling, "MAX_BORDER_FRACTION", 1)
    assert np.mean(categories_at(logits, (64, 50)) != all_interpolated) < 1e-3, "but for ties"


def test_of_equals_the_first_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    equal = np.zeros((3, 4, 8), np.float32)
    for most_borders in (-1, 1):
        monkeypatch.setattr(upsampling, "MAX_BORDER_FRACTION", most_borders)
        assert not categories_at(equal, (70, 16)).any()


def test_at_the_size_of_the_network_nothing_is_interpolated() -> None:
    logits = scene()
    np.testing.assert_array_equal(categories_at(logits, (32, 64)), logits.argmax(axis=0))


def test_a_category_between_two_others_is_found() -> None:
    """Second best on both sides, best in the middle."""
    logits = np.array([[[4.0, 0.0]], [[0.0, 4.0]], [[3.0, 3.0]]], np.float32)
    assert categories_at(logits, (1, 9)).tolist() == [[0, 0, 0, 2, 2, 2, 1, 1, 1]]
