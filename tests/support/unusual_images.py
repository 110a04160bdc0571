"""Pictures that are unusual and sound: each has to be read, upright, in its colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

from tests.support.png_files import chunk

BLOCKS = np.random.default_rng(3).integers(0, 255, (6, 10, 3), np.uint8)
SCENE = cv2.resize(BLOCKS, (160, 96), interpolation=cv2.INTER_CUBIC)
"""What most of them show: uint8[96, 160, 3]."""
GRAY = np.asarray(Image.fromarray(SCENE).convert("L"))

STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that is held so stores the scene."""
LOSSY = 40
"""By how much a pixel may differ after JPEG or WebP."""


@dataclass(frozen=True)
class UnusualImage:
    """A sound image."""

    name: str
    data: bytes
    upright: np.ndarray
    """What it shows: uint8[H, W, 3]."""
    tolerance: int
    """By how much a pixel may differ."""


def unusual_images() -> list[UnusualImage]:
    """All of them; the same each time."""
    return [UnusualImage(*parts) for parts in _all()]


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A file of Pillow's."""
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    """Exif data with an orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


Parts = tuple[str, bytes, np.ndarray, int]


def _all() -> Iterator[Parts]:
    scene = Image.fromarray(SCENE)
    for turned in range(1, 9):
        stored = scene.transpose(STORED[turned]) if turned in STORED else scene
        note = exif(turned)
        yield f"turned-{turned}.jpg", encode(stored, "JPEG", quality=95, exif=note), SCENE, LOSSY
        yield f"turned-{turned}.png", encode(stored, "PNG", exif=note), SCENE, 0
        yield f"turned-{turned}.webp", encode(stored, "WEBP", lossless=True, exif=note), SCENE, 0
    for turned in (0, 9, 65535):
        yield f"turned-{turned}.jpg", encode(scene, "JPEG", exif=exif(turned)), SCENE, LOSSY
    yield from _alpha(scene)
    yield from _gray_and_deep()
    yield from _printed(scene)
    yield "progressive.jpg", encode(scene, "JPEG", progressive=True), SCENE, LOSSY
    yield "thumbnail.jpg", _with_thumbnail(scene), SCENE, LOSSY
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "profile.jpg", encode(scene, "JPEG", icc_profile=profile), SCENE, LOSSY
    yield "profile.png", encode(scene, "PNG", icc_profile=profile), SCENE, 0
    yield "profile.webp", encode(scene, "WEBP", lossless=True, icc_profile=profile), SCENE, 0
    more = [scene.transpose(Image.Transpose.ROTATE_180)] * 3
    moving = {"save_all": True, "append_images": more}
    yield "moving.webp", encode(scene, "WEBP", lossless=True, **moving), SCENE, 0
    yield "moving.png", encode(scene, "PNG", **moving), SCENE, 0
    yield "two-pictures.mpo.jpg", encode(scene, "MPO", **moving), SCENE, LOSSY
    for height, width in ((1, 1), (1, 5000), (5000, 1), (3, 7)):
        pixels = cv2.resize(BLOCKS, (width, height), interpolation=cv2.INTER_CUBIC)
        small = Image.fromarray(pixels)
        yield f"{height}x{width}.png", encode(small, "PNG"), pixels, 0
        yield f"{height}x{width}.jpg", encode(small, "JPEG", subsampling=0), pixels, 2 * LOSSY
        yield f"{height}x{width}.webp", encode(small, "WEBP", lossless=True), pixels, 0
    plain = cv2.imencode(".png", SCENE[..., ::-1])[1].tobytes()
    yield "text.png", plain[:33] + chunk(b"tEXt", b"k\0v") + plain[33:], SCENE, 0
    yield "followed.png", encode(scene, "PNG") + b"PK\x03\x04 something else", SCENE, 0
    yield "followed.jpg", encode(scene, "JPEG") + bytes(100), SCENE, LOSSY
    yield "followed.webp", encode(scene, "WEBP", lossless=True) + bytes(100), SCENE, 0


def _alpha(scene: Image.Image) -> Iterator[Parts]:
    """Alpha is left out, whatever it says."""
    clear = scene.copy()
    clear.putalpha(0)
    half = scene.copy()
    half.putalpha(Image.fromarray(GRAY))
    gray = Image.fromarray(GRAY)
    gray.putalpha(100)
    few = scene.quantize(16)
    colors = np.asarray(few.convert("RGB"))
    yield "alpha.png", encode(half, "PNG"), SCENE, 0
    yield "clear.png", encode(clear, "PNG"), SCENE, 0
    yield "clear.webp", encode(clear, "WEBP", lossless=True, exact=True), SCENE, 0
    yield "alpha-gray.png", encode(gray, "PNG"), _three(GRAY), 0
    yield "palette.png", encode(few, "PNG"), colors, 0
    yield "palette-alpha.png", encode(few, "PNG", transparency=bytes(range(16))), colors, 0
    yield "palette-clear.png", encode(few, "PNG", transparency=0), colors, 0
    yield "color-key.png", encode(scene, "PNG", transparency=tuple(SCENE[0, 0].tolist())), SCENE, 0


def _gray_and_deep() -> Iterator[Parts]:
    """Gray, and 1, 2, 4 and 16 bits a channel."""
    deep = np.linspace(0, 65535, 96 * 160).astype(np.uint16).reshape(96, 160)
    upper = (deep >> 8).astype(np.uint8)
    deep_rgb = np.stack([deep, deep[::-1], deep[:, ::-1]], axis=-1)
    upper_rgb = (deep_rgb >> 8).astype(np.uint8)
    bits = GRAY > 127
    yield "gray.png", encode(Image.fromarray(GRAY), "PNG"), _three(GRAY), 0
    yield "gray.jpg", encode(Image.fromarray(GRAY), "JPEG"), _three(GRAY), LOSSY
    yield "gray-16.png", cv2.imencode(".png", deep)[1].tobytes(), _three(upper), 0
    yield "rgb-16.png", cv2.imencode(".png", deep_rgb[..., ::-1])[1].tobytes(), upper_rgb, 0
    yield "bits.png", encode(Image.fromarray(bits), "PNG"), _three(bits * np.uint8(255)), 0
    few = Image.fromarray(SCENE).quantize(4)
    yield "palette-2-bit.png", encode(few, "PNG", bits=2), np.asarray(few.convert("RGB")), 0


def _printed(scene: Image.Image) -> Iterator[Parts]:
    """Four inks, as Adobe writes them: inverted, plain or as YCCK."""
    inks = Image.merge("CMYK", [*Image.fromarray(255 - SCENE).split(), Image.new("L", scene.size)])
    yield "cmyk.jpg", encode(inks, "JPEG", quality=95), SCENE, LOSSY
    luma = Image.fromarray(255 - SCENE).convert("YCbCr")
    planes = [Image.fromarray(255 - np.asarray(plane)) for plane in luma.split()]
    stored = encode(Image.merge("CMYK", [*planes, Image.new("L", scene.size)]), "JPEG", quality=95)
    transform = stored.index(b"Adobe") + 11
    ycck = stored[:transform] + b"\2" + stored[transform + 1 :]
    yield "ycck.jpg", ycck, SCENE, LOSSY


def _with_thumbnail(scene: Image.Image) -> bytes:
    """A JPEG with a small JPEG in its Exif data, which has an end of its own."""
    small = encode(scene.resize((40, 24)), "JPEG")
    note = exif(1) + small
    return encode(scene, "JPEG", exif=note)


def _three(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)
