"""Pictures as files, and made smaller."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.images.decode import decode_ids
from streetseg.images.encode import encode_palette_png
from streetseg.images.resize import resize_rgb

PALETTE = np.random.default_rng(1).integers(0, 255, (8, 3), np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (64, 97)])
def test_a_palette_png_holds_ids_and_shows_colours(size: tuple[int, int]) -> None:
    ids = np.random.default_rng(0).integers(0, 8, size, np.uint8)
    data = encode_palette_png(ids, PALETTE)
    np.testing.assert_array_equal(decode_ids(data), ids)
    picture = Image.open(io.BytesIO(data))
    picture.verify()
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(bgr[..., ::-1], PALETTE[ids])


def test_any_id_of_a_full_palette_is_kept() -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)[::-1]
    data = encode_palette_png(ids, np.zeros((256, 3), np.uint8))
    np.testing.assert_array_equal(decode_ids(data), ids)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_shrinking_takes_the_mean_of_the_area(factor: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16 * factor, 32 * factor, 3), np.uint8)
    mean = rgb.reshape(16, factor, 32, factor, 3).mean(axis=(1, 3))
    # Halving again and again rounds each time, to the nearest.
    assert np.abs(resize_rgb(rgb, (16, 32)) - mean).max() <= (1 if factor < 8 else 1.5)
