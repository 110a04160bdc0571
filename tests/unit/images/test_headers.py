"""The limits of images from strangers: each is set low, and tried below, at and above it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from streetseg.images import decode, headers
from streetseg.images.decode import decode_ids, decode_image, decode_instances
from streetseg.images.errors import BadImageError, TooLargeImageError
from streetseg.images.headers import read_header
from tests.support.png_files import chunk, png
from tests.support.unusual_images import SCENE, encode

PIXELS = SCENE.shape[0] * SCENE.shape[1]
PICTURE = Image.fromarray(SCENE)
GOOD = {
    "png": encode(PICTURE, "PNG"),
    "jpg": encode(PICTURE, "JPEG"),
    "progressive.jpg": encode(PICTURE, "JPEG", progressive=True),
    "webp": encode(PICTURE, "WEBP"),
    "lossless.webp": encode(PICTURE, "WEBP", lossless=True),
    "animated.webp": encode(PICTURE, "WEBP", save_all=True, append_images=[PICTURE]),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(("spare", "taken"), [(1, True), (0, True), (-1, False)])
def test_pixels_are_limited(name: str, spare: int, taken: bool) -> None:
    if taken:
        assert decode_image(GOOD[name], max_pixels=PIXELS + spare).shape == SCENE.shape
    else:
        with pytest.raises(
            TooLargeImageError, match=r"is 160x96 = 0\.01536 megapixels, at most 0\.015359 "
        ):
            decode_image(GOOD[name], max_pixels=PIXELS + spare)


def test_two_megapixels_are_refused_where_one_is_taken() -> None:
    for picture in (png(2000, 1000, data=b""), png(1000, 2000, data=b"")):
        with pytest.raises(TooLargeImageError, match=r"= 2 megapixels, at most 1 are taken"):
            read_header(picture, 1_000_000)


@pytest.mark.parametrize("read", [decode_image, decode_ids, decode_instances])
@pytest.mark.parametrize(("spare", "taken"), [(1, True), (0, True), (-1, False)])
def test_pixels_of_files_on_disk_are_limited(
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[bytes], np.ndarray],
    spare: int,
    taken: bool,
) -> None:
    depth = 16 if read is decode_instances else 8
    data = png(8, 4, depth, data=zlib.compress(bytes((1 + 8 * depth // 8) * 4)))
    monkeypatch.setattr(decode, "MAX_PIXELS", 32 + spare)
    if taken:
        assert read(data).shape[:2] == (4, 8)
    else:
        with pytest.raises(BadImageError, match=r"is 8x4 = 3\.2e-05 megapixels, at most"):
            read(data)


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "GIF", "PPM"])
@pytest.mark.parametrize(("limit", "taken"), [(513, True), (512, True), (511, False)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixels_of_labels_in_other_formats_are_limited_by_pillow(
    monkeypatch: pytest.MonkeyPatch, kind: str, limit: int, taken: bool
) -> None:
    data = encode(Image.new("L", (32, 32)), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow refuses twice as many
    if taken:
        assert decode_ids(data).shape == (32, 32)
    else:
        with pytest.raises(BadImageError, match="cannot be decoded"):
            decode_ids(data)


def png_of_ten_chunks() -> bytes:
    """The header, seven texts, the pixels and the end."""
    return png(before=chunk(b"tEXt", b"k\0v") * 7)


def jpeg_of_ten_segments() -> bytes:
    """A sound JPEG with as many comments as make ten segments up to the first scan."""
    good = GOOD["jpg"]
    comments = 10 - sum(1 for _ in headers._jpeg_segments(good))
    return good[:2] + b"\xff\xfe\0\3x" * comments + good[2:]


def webp_of_ten_chunks() -> bytes:
    """A sound WebP of one chunk with nine more behind it."""
    body = GOOD["webp"][8:] + (b"JUNK" + struct.pack("<I", 2) + b"xx") * 9
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("make", [png_of_ten_chunks, jpeg_of_ten_segments, webp_of_ten_chunks])
@pytest.mark.parametrize(("limit", "taken"), [(11, True), (10, True), (9, False)])
def test_parts_are_limited(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes], limit: int, taken: bool
) -> None:
    data = make()
    whole = decode_image(data)
    monkeypatch.setattr(headers, "MAX_PARTS", limit)
    if taken:
        np.testing.assert_array_equal(decode_image(data), whole)
    else:
        with pytest.raises(BadImageError, match=r"has too many (chunks|segments)"):
            decode_image(data)


@pytest.mark.parametrize(("spare", "taken"), [(1, True), (0, True), (-1, False)])
def test_scans_are_limited_by_the_pixels_that_they_pass_over(
    monkeypatch: pytest.MonkeyPatch, spare: int, taken: bool
) -> None:
    data = GOOD["progressive.jpg"]
    scans = data.count(b"\xff\xda")
    assert scans == 10
    monkeypatch.setattr(headers, "MAX_SCANNED_PIXELS", scans * PIXELS + spare)
    if taken:
        assert decode_image(data).shape == SCENE.shape
    else:
        with pytest.raises(BadImageError, match="has too many scans"):
            decode_image(data)


def test_three_scans_are_refused_where_two_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    good = GOOD["jpg"]
    scan = good[good.index(b"\xff\xda") : -2]
    monkeypatch.setattr(headers, "MAX_SCANNED_PIXELS", 2 * PIXELS)
    read_header(good[:-2] + scan + b"\xff\xd9", PIXELS)
    with pytest.raises(BadImageError, match="has too many scans"):
        read_header(good[:-2] + scan * 2 + b"\xff\xd9", PIXELS)


def test_the_only_scan_is_never_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MAX_SCANNED_PIXELS", PIXELS - 1)
    assert decode_image(GOOD["jpg"]).shape == SCENE.shape


ROWS = {"rgba": (8, 6, 4), "gray-alpha": (8, 4, 2), "rgb-16": (16, 2, 6), "palette": (8, 3, 1)}
"""Bits a channel, colour type and bytes a pixel."""


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("more", "taken"), [(-1, True), (0, True), (1, False)])
def test_bytes_that_the_pixels_inflate_to_are_limited(
    monkeypatch: pytest.MonkeyPatch, name: str, parts: int, more: int, taken: bool
) -> None:
    depth, color, per_pixel = ROWS[name]
    monkeypatch.setattr(headers, "MAX_EXCESS_BYTES", 100)
    limit = 2 * 16 * (1 + 16 * per_pixel) + 100
    deflated = zlib.compress(np.random.default_rng(0).bytes(limit + more))
    step = -(-len(deflated) // parts)
    idat = [chunk(b"IDAT", deflated[at : at + step]) for at in range(0, len(deflated), step)]
    empty = png(16, 16, depth, color, data=b"")
    data = empty[:33] + b"".join(idat) + empty[-12:]
    if taken:
        assert read_header(data, 256).width == 16
    else:
        with pytest.raises(BadImageError, match="holds more than its pixels"):
            read_header(data, 256)


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3)])
def test_a_plain_png_is_inflated_up_to_its_last_pixel(color: int, channels: int) -> None:
    row = b"\0" + bytes(range(16)) * channels
    exact, longer = (png(kind=color, data=zlib.compress(row * rows)) for rows in (16, 17))
    np.testing.assert_array_equal(decode_image(longer), decode_image(exact))


TEXT = b"t" * 2000


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"tEXt", b"k\0" + TEXT),
        chunk(b"zTXt", b"k\0\0" + zlib.compress(TEXT)),
        chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(TEXT)),
        chunk(b"iCCP", b"k\0\0" + zlib.compress(TEXT)),
    ],
    ids=["tEXt", "zTXt", "iTXt", "iCCP"],
)
def test_texts_and_profiles_reach_no_decoder(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    good = encode(PICTURE.convert("L"), "PNG")
    data = good[:33] + text + good[33:]
    assert read_header(data, PIXELS).data == good
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1000)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1000)
    np.testing.assert_array_equal(decode_image(data), decode_image(good))
    np.testing.assert_array_equal(decode_ids(data), decode_ids(good))
