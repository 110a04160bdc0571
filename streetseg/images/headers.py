"""What a PNG, JPEG or WebP says of itself, read without decoding it.

The structure is walked, not trusted: no length is followed beyond the end, the number of steps is
bounded, and nothing is decompressed but to see that it is not far more than it should be.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MAX_PARTS = 1 << 14
"""Chunks of a PNG or WebP, segments of a JPEG. Honest images have hundreds."""
MAX_SCANNED_PIXELS = 500_000_000
"""Pixels of a JPEG times its scans: for each the decoder goes over the whole image. Honest ones
have about ten."""

SIGNATURES = {
    "PNG": (0, b"\x89PNG\r\n\x1a\n"),
    "JPEG": (0, b"\xff\xd8\xff"),
    "WEBP": (8, b"WEBP"),
    "GIF": (0, b"GIF8"),
    "BMP": (0, b"BM"),
    "TIFF": (0, b"II*\0"),
    "big-endian TIFF": (0, b"MM\0*"),
    "ICO": (0, b"\0\0\1\0"),
    "HEIC": (4, b"ftyphei"),
    "HEIF": (4, b"ftypmif1"),
    "AVIF": (4, b"ftypavi"),
    "JPEG 2000": (4, b"jP  "),
    "JPEG 2000 codestream": (0, b"\xff\x4f\xff\x51"),
    "JPEG XL": (0, b"\xff\x0a"),
    "PSD": (0, b"8BPS"),
    "PDF": (0, b"%PDF"),
    "SVG": (0, b"<svg"),
}
"""Where in a file the bytes stand that its format is known by."""

PNG_RGB = 2
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of each colour type, PNG specification, section 11.2.1."""

EXIF = b"Exif\0\0"
ORIENTATION, SHORT = 0x0112, 3
"""Tag and type of the orientation, Exif 2.32, section 4.6.4."""

SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG, ITU-T T.81, table B.1: a frame header holds the size."""
BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers that no length follows."""


class BadImageError(ValueError):
    """Bytes that are no image of the kind asked for; the message says why."""


@dataclass(frozen=True)
class Header:
    """An image that has not been decoded."""

    width: int
    height: int
    """In pixels, as stored: before it is turned upright."""
    orientation: int
    """How it is turned, 1 to 8 as Exif numbers it; 1 is upright."""
    picture: bytes
    """What a decoder needs: of a PNG the critical chunks alone, and nothing after the end."""


def format_of(data: bytes) -> str | None:
    """The format that bytes begin like: PNG, JPEG, WEBP or another; None if it is not known."""
    for name, (at, signature) in SIGNATURES.items():
        if data.startswith(signature, at):
            return name
    return None


def read_header(data: bytes, kind: str) -> Header:
    """Read the header of an image and see that it is whole.

    Args:
        data: the file.
        kind: PNG, JPEG or WEBP, as :func:`format_of` tells.

    Raises:
        BadImageError: it is truncated, or not built as its format asks.
    """
    read = {"PNG": _read_png, "JPEG": _read_jpeg, "WEBP": _read_webp}[kind]
    try:
        header = read(data)
    except struct.error:
        raise BadImageError("is truncated") from None
    if header.width == 0 or header.height == 0:
        raise BadImageError("has no pixels")
    return header


def _read_png(data: bytes) -> Header:
    """PNG specification (W3C, third edition), section 5."""
    if data[8:16] != b"\0\0\0\rIHDR":
        raise BadImageError("does not begin with a PNG header")
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    view, exif = memoryview(data), b""
    kept: list[bytes | memoryview] = [data[:8]]
    pixels: list[memoryview] = []
    for kind, at, end in _png_chunks(data):
        if not kind[0] & 0x20:
            kept.append(view[at:end])  # a critical chunk: a capital letter first
            if kind == b"IDAT":
                pixels.append(view[at + 8 : end - 4])
        elif kind == b"eXIf":
            exif = exif or data[at + 8 : end - 4]
    if (depth, color) != (8, PNG_RGB):  # of those the decoder stops where the pixels should end
        _refuse_bomb(pixels, 2 * height * (1 + width * depth * PNG_CHANNELS.get(color, 4) // 8))
    whole_is_kept = sum(map(len, kept)) == len(data)
    return Header(width, height, _orientation(exif), data if whole_is_kept else b"".join(kept))


def _refuse_bomb(deflated: list[memoryview], most: int) -> None:
    """Stop if zlib streams, one after another, hold more than ``most`` bytes and a little."""
    inflate, size = zlib.decompressobj(), 0
    try:
        for part in deflated:
            rest: bytes | memoryview = part
            while len(rest):
                size += len(inflate.decompress(rest, 1 << 20))
                rest = inflate.unconsumed_tail
                if size > most + (1 << 20):
                    raise BadImageError("holds more than its pixels")
    except zlib.error:
        raise BadImageError("cannot be decoded") from None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of each chunk, length and checksum included."""
    at = 8
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise BadImageError("is truncated")
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise BadImageError("has too many chunks")


def _read_jpeg(data: bytes) -> Header:
    """ITU-T T.81, annex B."""
    size, exif, scans = None, b"", 0
    for marker, at, end in _jpeg_segments(data):
        if marker in FRAMES and size is None:
            size = struct.unpack_from(">HH", data, at + 3)
        elif marker == 0xE1 and data.startswith(EXIF, at + 2):
            exif = exif or data[at + 2 : end]
        elif marker == SCAN:
            if data.rfind(END_OF_IMAGE, end) < 0:
                raise BadImageError("is truncated")
            codes = np.frombuffer(data, np.uint8, offset=end)  # faster than bytes.count
            scans = 1 + int(np.count_nonzero((codes[:-1] == 0xFF) & (codes[1:] == SCAN)))
    if size is None:
        raise BadImageError("has no frame header")
    if scans > 1 and scans * size[0] * size[1] > MAX_SCANNED_PIXELS:
        raise BadImageError("has too many scans")
    return Header(size[1], size[0], _orientation(exif), data)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment up to the first scan, its length included."""
    at = 2
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at) + 1
        (marker,) = struct.unpack_from("B", data, at)
        at += 1
        if at == 1 or marker == END_OF_IMAGE[1]:
            raise BadImageError("is truncated")
        if marker in (0x00, 0xFF):
            at -= marker == 0xFF  # a fill byte: the marker is still to come
        elif marker not in BARE:
            end = at + struct.unpack_from(">H", data, at)[0]
            if end > len(data):
                raise BadImageError("is truncated")
            yield marker, at, end
            if marker == SCAN:
                return
            at = end
    raise BadImageError("has too many segments")


def _read_webp(data: bytes) -> Header:
    """RFC 9649, section 2."""
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise BadImageError("is truncated")
    data = data[: length + 8]
    kind, _ = struct.unpack_from("<4sI", data, 12)
    if kind == b"VP8X":
        sizes = struct.unpack_from("<HBHB", data, 24)
        width, height = sizes[0] + (sizes[1] << 16) + 1, sizes[2] + (sizes[3] << 16) + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return Header(width, height, _orientation(_webp_exif(data)), data)


def _webp_exif(data: bytes) -> bytes:
    """What the chunk EXIF holds."""
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return b""
        kind, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > len(data):
            raise BadImageError("is truncated")
        if kind == b"EXIF":
            return data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise BadImageError("has too many chunks")


def _orientation(exif: bytes) -> int:
    """The orientation in the first directory of a TIFF structure; 1 if it is none or makes no
    sense."""
    tiff = exif.removeprefix(EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            found = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if found[:2] == (ORIENTATION, SHORT):
                return found[3] if 1 <= found[3] <= 8 else 1
    except struct.error:
        pass  # a damaged note does not make the image worse
    return 1
