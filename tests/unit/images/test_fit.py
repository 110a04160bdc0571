"""How a frame of another aspect ratio meets the size of a network's input."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from streetseg.images.decode import decode_ids
from streetseg.images.encode import encode_palette_png
from streetseg.images.resize import (
    Fit,
    aspect_change,
    fit_rgb,
    nearest_size,
    place,
    resize_rgb,
    size_of,
)


@pytest.mark.parametrize(
    ("frame", "size", "fit", "seen", "shown"),
    [
        ((360, 480), (256, 512), "stretch", (360, 480), (256, 512)),
        ((360, 480), (256, 512), "pad", (360, 480), (256, 341)),
        ((360, 480), (384, 480), "pad", (360, 480), (360, 480)),
        ((375, 1242), (192, 640), "pad", (375, 1242), (192, 636)),
        ((360, 480), (256, 512), "crop", (240, 480), (256, 512)),
        ((375, 1242), (192, 320), "crop", (375, 625), (192, 320)),
        ((1024, 2048), (256, 512), "pad", (1024, 2048), (256, 512)),
        ((1, 4000), (64, 64), "pad", (1, 4000), (1, 64)),
    ],
)
def test_the_part_that_is_seen_keeps_its_aspect_ratio(
    frame: tuple[int, int],
    size: tuple[int, int],
    fit: Fit,
    seen: tuple[int, int],
    shown: tuple[int, int],
) -> None:
    placement = place(frame, size, fit)
    assert size_of(placement.source, frame) == seen
    assert size_of(placement.target, size) == shown


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_what_is_left_over_is_shared_by_both_sides(fit: Fit) -> None:
    placement = place((100, 100), (100, 161), fit)
    if fit == "pad":
        assert placement.target[1] == slice(30, 130)
    else:
        assert placement.source[0] == slice(19, 81)


def test_padding_is_black_and_changes_no_pixel() -> None:
    rgb = np.random.default_rng(0).integers(1, 256, (36, 48, 3), np.uint8)
    padded = fit_rgb(rgb, (36, 64), "pad")
    np.testing.assert_array_equal(padded[:, 8:56], rgb)
    assert not padded[:, :8].any()
    assert not padded[:, 56:].any()


def test_a_crop_is_the_centre_resized() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(fit_rgb(rgb, (16, 32), "crop"), resize_rgb(rgb[16:48], (16, 32)))


def test_a_fit_changes_nothing_at_the_same_aspect_ratio() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
    stretched = fit_rgb(rgb, (36, 48), "stretch")
    for fit in ("pad", "crop"):
        np.testing.assert_array_equal(fit_rgb(rgb, (36, 48), fit), stretched)


@pytest.mark.parametrize(
    ("frame", "size", "nearest"),
    [
        ((360, 480), (256, 512), (288, 384)),  # CamVid
        ((1080, 1920), (256, 512), (288, 512)),
        ((375, 1242), (256, 512), (192, 640)),  # KITTI
        ((1024, 2048), (320, 320), (224, 448)),
        ((1024, 2048), (256, 512), (256, 512)),
        ((600, 800), (96, 96), (96, 128)),
        ((100, 3000), (64, 128), (32, 496)),  # none of multiples of 32
    ],
)
def test_the_nearest_size_keeps_the_aspect_ratio_of_the_frames(
    frame: tuple[int, int], size: tuple[int, int], nearest: tuple[int, int]
) -> None:
    assert nearest_size(frame, size) == nearest
    assert aspect_change(frame, nearest) < 0.6 / 32 or nearest[0] == 32


def test_ids_without_a_colour_are_kept_and_white() -> None:
    ids = np.array([[0, 1], [255, 1]], np.uint8)
    palette = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    png = encode_palette_png(ids, palette)
    np.testing.assert_array_equal(decode_ids(png), ids)
    assert Image.open(BytesIO(png)).convert("RGB").getpixel((0, 1)) == (255, 255, 255)
