"""Checks of a PNG, JPEG or WebP before it is decoded: format, size, orientation, completeness.

Uploads come from strangers, so all steps are bounded. Pillow does not replace these parsers: it
inflates the text of a PNG, and neither counts scans, nor finds a missing end, nor bounds Exif
entries.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streetseg.images.errors import BadImageError, TooLargeImageError, UnsupportedImageError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PARTS = 1 << 14
"""Chunks of a PNG or WebP, segments of a JPEG. Honest images have hundreds."""
MAX_SCANNED_PIXELS = 500_000_000
"""Pixels of a JPEG times its scans, each a pass over the image. Honest ones have about ten."""
MAX_EXCESS_BYTES = 1 << 20
"""Bytes that the data of a PNG may inflate to beyond twice its pixels. Honest ones have none."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIGNATURES = {
    "PNG": (0, PNG_SIGNATURE),
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
"""The offset and the bytes that identify each format."""

LOSSY = ("JPEG", "WEBP", "HEIC", "HEIF", "AVIF", "JPEG 2000", "JPEG 2000 codestream", "JPEG XL")
"""Formats that change pixels, or may have changed them: WebP, AVIF and others do either."""

PNG_GRAY, PNG_RGB, PNG_PALETTE, PNG_RGBA = 0, 2, 3, 6
CHUNK = struct.Struct(">I4s")
"""Length and kind of a chunk of a PNG."""
PNG_CHANNELS = {PNG_GRAY: 1, PNG_RGB: 3, PNG_PALETTE: 1, 4: 2, PNG_RGBA: 4}
"""Channels of each colour type, PNG specification, section 11.2.1."""

EXIF = b"Exif\0\0"
ORIENTATION, SHORT = 0x0112, 3
"""Tag and type of the orientation, Exif 2.32, section 4.6.4."""

SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG segments that hold the size, ITU-T T.81, table B.1."""
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
"""Markers of JPEG segments that have no length field."""


@dataclass(frozen=True)
class Header:
    """A checked image that has not been decoded."""

    width: int
    """In pixels as stored, before the orientation is applied."""
    height: int
    orientation: int
    """1 to 8 as Exif numbers them; 1 is upright."""
    data: bytes
    """The bytes to decode. Of a PNG only the critical chunks, without anything after the end."""
    plain_png: str = ""
    """``rgb`` or ``mono`` for a PNG of 8 bits a channel that is not interlaced, else empty."""


def image_format(data: bytes) -> str | None:
    """The format that the first bytes announce: PNG, JPEG, WEBP, another one, or None."""
    for name, (offset, signature) in SIGNATURES.items():
        if data.startswith(signature, offset):
            return name
    return None


def png_depth(data: bytes) -> int | None:
    """Bits a channel of a PNG; None for another format."""
    return data[24] if data.startswith(PNG_SIGNATURE) and len(data) > 25 else None


def png_color_type(data: bytes) -> int | None:
    """The colour type of a PNG, such as ``PNG_PALETTE``; None for another format."""
    return data[25] if png_depth(data) is not None else None


def png_palette(data: bytes) -> np.ndarray | None:
    """The RGB colours uint8[n, 3] of a sound palette PNG; None for any other image."""
    if png_color_type(data) != PNG_PALETTE:
        return None
    for kind, start, end in _png_chunks(data):
        if kind == b"PLTE":
            return np.frombuffer(data[start + 8 : end - 4], np.uint8).reshape(-1, 3)
    return None


def read_header(data: bytes, max_pixels: int) -> Header:
    """Check the structure and the size of an image.

    Raises:
        UnsupportedImageError: an image of another format.
        TooLargeImageError: more than ``max_pixels``.
        BadImageError: truncated, not an image, or malformed.
    """
    name = image_format(data)
    if name is None:
        raise BadImageError("is not an image")
    if name not in FORMATS:
        raise UnsupportedImageError(f"is {name}: use PNG, JPEG or WebP")
    read = {"PNG": _read_png, "JPEG": _read_jpeg, "WEBP": _read_webp}[name]
    try:
        return read(data, max_pixels)
    except struct.error:
        raise BadImageError("is truncated") from None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width == 0 or height == 0:
        raise BadImageError("has no pixels")
    if width * height > max_pixels:
        raise TooLargeImageError(
            f"is {width}x{height} = {width * height / 1e6:.4g} megapixels, at most "
            f"{max_pixels / 1e6:g} are taken"
        )


def _read_png(data: bytes, max_pixels: int) -> Header:
    """PNG specification (W3C, third edition), section 5."""
    if data[8:16] != b"\0\0\0\rIHDR":
        raise BadImageError("does not begin with a PNG header")
    width, height, depth, color, interlace = struct.unpack_from(">IIBBxxB", data, 16)
    _check_size(width, height, max_pixels)
    view, exif = memoryview(data), b""
    chunks = [*_png_chunks(data)]
    ancillary = [chunk for chunk in chunks if chunk[0][0] & 0x20]  # a lower-case first letter
    for kind, start, end in ancillary:
        if kind == b"eXIf":
            exif = exif or data[start + 8 : end - 4]
    plain = {PNG_RGB: "rgb", PNG_GRAY: "mono"}.get(color, "")
    if depth != 8 or interlace:
        plain = ""
    if not plain:  # kornia-rs, which decodes plain ones, stops by itself after the last pixel
        row = 1 + width * depth * PNG_CHANNELS.get(color, 4) // 8
        deflated = [view[start + 8 : end - 4] for kind, start, end in chunks if kind == b"IDAT"]
        _refuse_excess(deflated, 2 * height * row + MAX_EXCESS_BYTES)
    stored = data
    if ancillary or chunks[-1][2] < len(data):
        critical = [view[start:end] for kind, start, end in chunks if not kind[0] & 0x20]
        stored = b"".join([data[:8], *critical])
    return Header(width, height, _orientation(exif), stored, plain)


def _refuse_excess(deflated: list[memoryview], max_bytes: int) -> None:
    """Refuse zlib data, in parts, that inflates to more than ``max_bytes``."""
    inflate, size = zlib.decompressobj(), 0
    try:
        for part in deflated:
            pending: bytes | memoryview = part
            while len(pending):
                size += len(inflate.decompress(pending, 1 << 20))
                pending = inflate.unconsumed_tail
                if size > max_bytes:
                    raise BadImageError("holds more than its pixels")
    except zlib.error:
        raise BadImageError("cannot be decoded") from None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk, from its length to its checksum."""
    start, size, read = 8, len(data), CHUNK.unpack_from
    for _ in range(MAX_PARTS):
        length, kind = read(data, start)
        end = start + 12 + length
        if end > size:
            raise BadImageError("is truncated")
        yield kind, start, end
        if kind == b"IEND":
            return
        start = end
    raise BadImageError("has too many chunks")


def _read_jpeg(data: bytes, max_pixels: int) -> Header:
    """ITU-T T.81, annex B."""
    size, exif, scans = None, b"", 0
    for marker, start, end in _jpeg_segments(data):
        if marker in FRAME_HEADERS and size is None:
            size = struct.unpack_from(">HH", data, start + 3)
        elif marker == 0xE1 and data.startswith(EXIF, start + 2):
            exif = exif or data[start + 2 : end]
        elif marker == SCAN:
            if data.rfind(END_OF_IMAGE, end) < 0:
                raise BadImageError("is truncated")
            codes = np.frombuffer(data, np.uint8, offset=end)  # faster than bytes.count
            scans = 1 + int(np.count_nonzero((codes[:-1] == 0xFF) & (codes[1:] == SCAN)))
    if size is None:
        raise BadImageError("has no frame header")
    height, width = size
    _check_size(width, height, max_pixels)
    if scans > 1 and scans * width * height > MAX_SCANNED_PIXELS:
        raise BadImageError("has too many scans")
    return Header(width, height, _orientation(exif), data)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the first scan, its length field included."""
    start = 2
    for _ in range(MAX_PARTS):
        start = data.find(b"\xff", start) + 1
        (marker,) = struct.unpack_from("B", data, start)
        start += 1
        if start == 1 or marker == END_OF_IMAGE[1]:
            raise BadImageError("is truncated")
        if marker in (0x00, 0xFF):
            start -= marker == 0xFF  # a fill byte: the marker is still to come
        elif marker not in WITHOUT_LENGTH:
            end = start + struct.unpack_from(">H", data, start)[0]
            if end > len(data):
                raise BadImageError("is truncated")
            yield marker, start, end
            if marker == SCAN:
                return
            start = end
    raise BadImageError("has too many segments")


def _read_webp(data: bytes, max_pixels: int) -> Header:
    """RFC 9649, section 2."""
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise BadImageError("is truncated")
    data = data[: length + 8]
    kind, _ = struct.unpack_from("<4sI", data, 12)
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
        width = low_width + (high_width << 16) + 1
        height = low_height + (high_height << 16) + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    _check_size(width, height, max_pixels)
    return Header(width, height, _orientation(_webp_exif(data)), data)


def _webp_exif(data: bytes) -> bytes:
    start = 12
    for _ in range(MAX_PARTS):
        kind, length = struct.unpack_from("<4sI", data, start)
        end = start + 8 + length
        if end > len(data):
            raise BadImageError("is truncated")
        if kind == b"EXIF":
            return data[start + 8 : end]
        start = end + length % 2
        if start + 8 > len(data):
            return b""
    raise BadImageError("has too many chunks")


def _orientation(exif: bytes) -> int:
    """The orientation in the first directory of a TIFF structure; 1 if there is no valid one."""
    tiff = exif.removeprefix(EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for number in range(entries):
            offset = directory + 2 + 12 * number
            tag, type_, _, value = struct.unpack_from(f"{order}HHIH", tiff, offset)
            if (tag, type_) == (ORIENTATION, SHORT):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # damaged metadata does not make the pixels worse
    return 1
