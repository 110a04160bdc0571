"""Decoding images from strangers, without a service."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from streetseg.images.decode import decode_image
from streetseg.images.errors import BadImageError, UnsupportedImageError
from tests.support.png_files import PNG, chunk
from tests.support.unusual_images import SCENE, UnusualImage, encode, unusual_images

LIMIT = 1_000_000


@pytest.mark.parametrize("odd", unusual_images(), ids=lambda odd: odd.name)
def test_an_odd_picture_is_read_upright_and_in_its_colours(odd: UnusualImage) -> None:
    rgb = decode_image(odd.data, max_pixels=LIMIT)
    assert (rgb.shape, rgb.dtype) == (odd.upright.shape, np.uint8)
    assert rgb.flags.c_contiguous
    assert np.abs(rgb.astype(int) - odd.upright).max() <= odd.tolerance


WHOLE = {
    "rgb.png": encode(Image.fromarray(SCENE), "PNG"),
    "gray.png": encode(Image.fromarray(SCENE).convert("L"), "PNG"),
    "rgba.png": encode(Image.fromarray(SCENE).convert("RGBA"), "PNG"),
    "palette.png": encode(Image.fromarray(SCENE).quantize(16), "PNG"),
    "baseline.jpg": encode(Image.fromarray(SCENE), "JPEG"),
    "progressive.jpg": encode(Image.fromarray(SCENE), "JPEG", progressive=True),
    "thumbnail.jpg": next(odd.data for odd in unusual_images() if odd.name == "thumbnail.jpg"),
    "lossy.webp": encode(Image.fromarray(SCENE), "WEBP"),
    "lossless.webp": encode(Image.fromarray(SCENE), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_picture_that_is_cut_anywhere_is_refused(name: str) -> None:
    data = WHOLE[name]
    decode_image(data, max_pixels=LIMIT)
    for length in {*range(0, len(data), max(len(data) // 200, 1)), len(data) - 1, len(data) - 2}:
        with pytest.raises(BadImageError):
            decode_image(data[:length], max_pixels=LIMIT)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_png_whose_pixels_end_early_is_refused(mode: str) -> None:
    channels = {"RGB": 3, "RGBA": 4}.get(mode, 1)
    kind = {"RGB": 2, "RGBA": 6, "L": 0, "P": 3}[mode]
    rows = zlib.compress(bytes((1 + 64 * channels) * 40))  # of 64
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, kind, 0, 0, 0))]
    parts += [chunk(b"PLTE", bytes(768))] if mode == "P" else []
    parts += [chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    with pytest.raises(BadImageError):
        decode_image(PNG + b"".join(parts), max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PNG + chunk(b"gAMA", bytes(4)), "does not begin with a PNG header"),
        (b"\xff\xd8\xff\xda\0\2\xff\xd9", "no frame header"),
        (PNG + chunk(b"IHDR", bytes(13)) + chunk(b"IEND", b""), "no pixels"),
    ],
)
def test_a_structure_that_nobody_writes_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadImageError, match=said):
        decode_image(data, max_pixels=LIMIT)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "AVIF", "PDF"])
def test_another_format_is_named(kind: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"is {kind}: use PNG, JPEG or WebP"):
        decode_image(encode(Image.fromarray(SCENE), kind), max_pixels=LIMIT)
