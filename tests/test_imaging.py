"""Masks as PNG files."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.imaging import decode_ids, encode_palette_png

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
