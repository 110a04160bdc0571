"""Random changes of training frames."""

from __future__ import annotations

from random import Random
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch

from streetseg.config.params import Augment
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.training.augmentation import (
    augment_on_device,
    build_augmentation,
    draw_color,
    recolor,
)
from streetseg.training.batch import Batch
from streetseg.training.weather import WeatherOverlay, dirt, fog, rain, shadow, sun_flare

SIZE = (64, 128)
STILL: dict[str, Any] = {"flip": 0, "scale": (1, 1)}
APPEARANCE = ("blur", "noise", "sharpen", "rain", "fog", "sun_flare", "shadow", "dirt")
GEOMETRY: tuple[dict[str, Any], ...] = (
    {"scale": (0.5, 0.5)},
    {"scale": (2, 2)},
    {"rotate": 20},
    {"shear": 20},
    {"perspective": 1},
    {"crop": (32, 96)},
    {"crop": (32, 96), "scale": (0.4, 0.6)},
    {"crop": (32, 96), "scale": (0.6, 1.8), "rotate": 5},
)


@pytest.fixture(scope="module")
def labels() -> LabelSpace:
    return LabelSpace.load("cityscapes")


def augmented(
    augment: Augment, image: np.ndarray, mask: np.ndarray, labels: LabelSpace, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The frame as it leaves the loader."""
    augmentation = build_augmentation(augment, mask.shape, labels)
    augmentation.set_random_state(np.random.default_rng(seed), Random(seed))
    changed = augmentation(image=image, mask=mask)
    return changed["image"], changed["mask"]


def scene() -> tuple[np.ndarray, np.ndarray]:
    """An image that tells its mask: grey 200 where the category is 1, else 0."""
    mask = np.zeros(SIZE, np.uint8)
    mask[10:40, 20:60] = mask[30:55, 80:115] = 1
    return np.repeat(mask[..., None] * np.uint8(200), 3, axis=2), mask


def photograph() -> np.ndarray:
    """Greys that change from row to row, with a little of each colour: uint8[H, W, 3]."""
    rows = np.linspace(60, 190, SIZE[0])[:, None, None]
    noise = np.random.default_rng(0).normal(0, 8, (*SIZE, 3))
    return (rows + noise).clip(0, 255).astype(np.uint8)


# Appearance


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", APPEARANCE)
def test_a_change_of_appearance_changes_the_picture_and_no_label(
    name: str, labels: LabelSpace
) -> None:
    image, (_, mask) = photograph(), scene()
    augment = Augment(**STILL, **{name: 1})
    pictures = set()
    for seed in range(3):
        changed, same = augmented(augment, image, mask, labels, seed)
        again, _ = augmented(augment, image, mask, labels, seed)
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
        assert (changed != image).any()
        np.testing.assert_array_equal(same, mask)
        np.testing.assert_array_equal(again, changed)
        pictures.add(changed.tobytes())
    assert len(pictures) == 3
    untouched, _ = augmented(Augment(**STILL), image, mask, labels)
    np.testing.assert_array_equal(untouched, image)


@pytest.mark.parametrize("size", [(32, 32), (96, 64), (256, 512)])
@pytest.mark.parametrize("draw", [rain, fog, sun_flare, shadow, dirt])
def test_weather_fits_frames_of_any_size(draw: Any, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 128, np.uint8)
    changed = A.Compose([WeatherOverlay(draw, p=1)], seed=1)(image=image)["image"]
    assert changed.shape == image.shape
    assert 0 < np.abs(changed.astype(int) - image).mean() < 100


def test_a_veil_blends_its_colour_over_the_scene() -> None:
    def half(size: tuple[int, int], _: np.random.Generator) -> tuple[np.ndarray, Any]:
        return np.repeat([[0.0, 0.5, 1.0]], size[0], axis=0), (250, 100, 0)

    image = np.full((4, 3, 3), 50, np.uint8)
    (row, *_) = A.Compose([WeatherOverlay(half, p=1)])(image=image)["image"].astype(int)
    assert row[0].tolist() == [50, 50, 50]
    assert np.abs(row[1] - (150, 75, 25)).max() <= 1
    assert row[2].tolist() == [250, 100, 0]


def test_fog_thickens_towards_the_horizon() -> None:
    opacity, _ = fog((512, 1024), np.random.default_rng(0))
    assert (np.diff(opacity[:, 0]) <= 0).all()
    assert opacity[0] > 0.3
    assert opacity[-1] < 0.2


def test_the_sun_is_above_and_shadows_are_below() -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        sun, _ = sun_flare((256, 512), random)
        assert np.unravel_index(sun.argmax(), sun.shape)[0] < 0.36 * len(sun)
        shade, color = shadow((256, 512), random)
        assert shade[: int(0.42 * len(shade))].max() == 0
        assert max(color) < 30


# Geometry


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", GEOMETRY, ids=str)
def test_picture_and_mask_are_moved_alike(change: dict[str, Any], labels: LabelSpace) -> None:
    augment = Augment(**STILL | change)
    image, mask = scene()
    for seed in range(5):
        picture, ids = augmented(augment, image, mask, labels, seed)
        assert picture.shape == (*ids.shape, 3)
        assert ids.shape == (augment.crop or SIZE)
        assert set(np.unique(ids)) <= {0, 1, IGNORE}
        known = ids != IGNORE
        assert ((picture[..., 0] > 100) == (ids == 1))[known].mean() > 0.985
        again = augmented(augment, image, mask, labels, seed)
        np.testing.assert_array_equal(again[0], picture)
        np.testing.assert_array_equal(again[1], ids)


@pytest.mark.parametrize(
    "change", [{"scale": (0.5, 0.5)}, {"rotate": 20}, {"crop": (64, 128), "scale": (0.5, 0.9)}]
)
def test_what_lies_outside_the_frame_is_black_and_ignored(
    change: dict[str, Any], labels: LabelSpace
) -> None:
    white, road = np.full((*SIZE, 3), 255, np.uint8), np.zeros(SIZE, np.uint8)
    image, mask = augmented(Augment(**STILL | change), white, road, labels)
    assert set(np.unique(mask)) == {0, IGNORE}
    assert (image[mask == 0] > 100).mean() > 0.99
    assert (image[mask == IGNORE] < 155).mean() > 0.99


def test_a_zoom_shows_a_part_enlarged(labels: LabelSpace) -> None:
    ramp = np.tile(np.arange(128, dtype=np.uint8), (64, 1))
    image, mask = augmented(
        Augment(scale=(2, 2)), np.repeat(ramp[..., None], 3, axis=2), ramp, labels
    )
    assert mask.shape == ramp.shape
    assert np.ptp(mask.astype(int)) == 63
    assert np.abs(image[..., 0].astype(int) - mask).max() <= 1


def test_a_crop_without_zoom_is_a_window_of_the_frame(labels: LabelSpace) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*SIZE, 3), np.uint8)
    mask = random.integers(0, 8, SIZE).astype(np.uint8)
    augment = Augment(crop=(32, 64), scale=(1, 1))
    windows = set()
    for seed in range(5):
        part, ids = augmented(augment, image, mask, labels, seed)
        (place,) = [
            (top, left)
            for top in range(33)
            for left in range(65)
            if np.array_equal(image[top : top + 32, left : left + 64], part)
        ]
        windows.add(place)
        top, left = place
        np.testing.assert_array_equal(mask[top : top + 32, left : left + 64], ids)
    assert len(windows) == 5


def test_the_zoom_of_a_crop_is_relative_to_the_frame(labels: LabelSpace) -> None:
    ramp = np.tile(np.arange(128, dtype=np.uint8), (64, 1))
    augment = Augment(crop=(32, 64), scale=(2, 2))
    _, mask = augmented(augment, np.repeat(ramp[..., None], 3, axis=2), ramp, labels)
    assert np.ptp(mask.astype(int)) == 31
    wide = Augment(crop=(64, 64), scale=(0.75, 0.75))
    _, mask = augmented(wide, np.repeat(ramp[..., None], 3, axis=2), ramp, labels)
    assert (mask != IGNORE).sum() == 48 * 64, "the whole height, shrunk, and a part of the width"


@pytest.mark.parametrize("scale", [(1, 1), (2, 2), (0.7, 1.4)])
def test_a_rare_crop_holds_every_category_of_the_frame_as_often(
    scale: tuple[float, float], labels: LabelSpace
) -> None:
    void, rare = labels.category_id("void"), labels.category_id("human")
    common = labels.category_id("flat")
    mask = np.full(SIZE, common, np.uint8)
    mask[3:6, 120:123] = rare
    mask[60:63, 1:4] = void
    mask[0:3, 0:3] = IGNORE
    image = np.zeros((*SIZE, 3), np.uint8)

    def share(category: int, rare_crop: float) -> float:
        augment = Augment(crop=(32, 32), rare_crop=rare_crop, scale=scale)
        crops = [augmented(augment, image, mask, labels, seed)[1] for seed in range(100)]
        return float(np.mean([(crop == category).any() for crop in crops]))

    assert share(rare, 0) < 0.25
    assert share(rare, 1) > 0.4
    assert share(void, 1) < 0.25


def test_a_frame_of_nothing_but_void_is_cropped_anywhere(labels: LabelSpace) -> None:
    mask = np.full(SIZE, labels.category_id("void"), np.uint8)
    mask[:10] = IGNORE
    augment = Augment(crop=(32, 32), rare_crop=1)
    _, ids = augmented(augment, np.zeros((*SIZE, 3), np.uint8), mask, labels)
    assert ids.shape == (32, 32)


# On the device


def batch_of(images: torch.Tensor, flips: list[bool]) -> Batch:
    still = Augment(brightness=0, contrast=0, saturation=0, hue=0)
    color = torch.from_numpy(draw_color(still, np.random.default_rng(0)))
    return Batch(
        images, images[..., 0], color.expand(len(images), 3, 4), torch.tensor(flips, dtype=bool)
    )


def test_picture_and_categories_are_mirrored_where_a_flip_was_drawn() -> None:
    images = torch.randint(0, 256, (2, 8, 16, 3), dtype=torch.uint8)
    pixels, categories = augment_on_device(batch_of(images, [False, True]), torch.device("cpu"))
    assert (pixels.dtype, categories.dtype) == (torch.float32, torch.int64)
    for row, expected in ((0, images[0]), (1, images[1].flip(1))):
        torch.testing.assert_close(pixels[row], expected.float(), atol=1e-3, rtol=0)
        assert torch.equal(categories[row], expected[..., 0].long())


def test_without_a_change_of_colour_pixels_stay_as_they_are() -> None:
    images = torch.randint(0, 256, (2, 8, 16, 3), dtype=torch.uint8)
    colors = batch_of(images, [False, False]).colors
    torch.testing.assert_close(recolor(images, colors), images.float(), atol=1e-3, rtol=0)


def test_each_change_of_colour_is_what_its_name_says() -> None:
    pixel = torch.tensor([[[[200, 100, 50]]]], dtype=torch.uint8)

    def changed(**change: float) -> np.ndarray:
        still = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
        color = draw_color(Augment(**{**still, **change}), np.random.default_rng(1))
        return recolor(pixel, torch.from_numpy(color)[None])[0, 0, 0].numpy()

    before = np.array([200.0, 100.0, 50.0])
    gray = np.array([0.299, 0.587, 0.114])
    assert np.ptp(changed(brightness=0.2) / before) < 1e-3
    assert np.ptp((changed(contrast=0.2) - 127.5) / (before - 127.5)) < 1e-3
    for change in ({"saturation": 0.5}, {"hue": 0.1}):
        after = changed(**change)
        assert abs(gray @ after - gray @ before) < 0.5, "the brightness stays"
        assert np.abs(after - before).max() > 2
    assert recolor(pixel, torch.full((1, 3, 4), 9.0)).max() == 255
