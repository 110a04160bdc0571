"""Boundary IoU."""

import cv2
import numpy as np
import pytest

from streetseg.data.labels import IGNORE
from streetseg.metrics.boundary_iou import boundary, boundary_confusion, boundary_width
from streetseg.metrics.confusion import category_iou

SHAPE = (60, 90)


def patches(seed: int) -> np.ndarray:
    """Patches of three categories, large enough to have an inside."""
    small = np.random.default_rng(seed).integers(0, 3, (4, 6)).astype(np.uint8)
    return cv2.resize(small, SHAPE[::-1], interpolation=cv2.INTER_NEAREST)


def inner(mask: np.ndarray, width: int) -> np.ndarray:
    """The definition, pixel by pixel: all of the square around is in the mask and in the frame."""
    framed = np.pad(mask, width)
    windows = np.lib.stride_tricks.sliding_window_view(framed, (2 * width + 1,) * 2)
    return windows.all(axis=(2, 3))


def test_a_boundary_is_two_percent_of_the_diagonal_wide_and_at_least_a_pixel() -> None:
    assert boundary_width((1024, 2048)) == round(0.02 * (1024**2 + 2048**2) ** 0.5) == 46
    assert boundary_width((8, 8)) == 1


@pytest.mark.parametrize("width", [1, 2, 5])
def test_it_is_the_boundary_of_each_mask_by_itself(width: int) -> None:
    categories = patches(0)
    outlines = boundary(categories, width)
    for category in range(3):
        mask = categories == category
        np.testing.assert_array_equal(outlines & mask, mask & ~inner(mask, width))
    assert not outlines.all()


def test_the_score_is_the_iou_of_the_two_boundaries() -> None:
    truth, predicted = patches(1), np.roll(patches(1), 1, axis=1)
    truth[:10, :20] = IGNORE
    width, labelled = boundary_width(SHAPE), truth != IGNORE
    expected = []
    for category in range(3):
        masks = [(ids == category) & labelled for ids in (truth, predicted)]
        outlines = [mask & ~inner(mask, width) for mask in masks]
        expected.append((outlines[0] & outlines[1]).sum() / (outlines[0] | outlines[1]).sum())
    iou = category_iou(boundary_confusion(truth, predicted, 3))[:-1]
    np.testing.assert_allclose(iou, expected)


def test_it_is_stricter_than_iou_on_a_large_mask_and_perfect_on_a_perfect_one() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[20:180, 20:180] = 1
    moved = np.roll(truth, 2, axis=0)
    assert category_iou(boundary_confusion(truth, truth, 2))[:-1].tolist() == [1, 1]
    overlap = ((truth & moved).sum()) / ((truth | moved).sum())
    assert category_iou(boundary_confusion(truth, moved, 2))[1] < overlap - 0.2


def test_what_is_predicted_where_nothing_is_labelled_does_not_matter() -> None:
    truth, predicted = patches(2), patches(3)
    truth[:, 40:] = IGNORE
    other = predicted.copy()
    other[:, 40:] = 2 - other[:, 40:]
    np.testing.assert_array_equal(
        boundary_confusion(truth, predicted, 3), boundary_confusion(truth, other, 3)
    )
    unlabelled = boundary_confusion(np.full_like(truth, IGNORE), other, 3)
    assert np.isnan(category_iou(unlabelled)[:-1]).all()
