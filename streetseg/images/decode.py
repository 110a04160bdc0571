"""The one decoder, the one resize and the one encoder of the project."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import kornia_rs.io
import numpy as np
from PIL import Image, UnidentifiedImageError

from streetseg.core.errors import StreetsegError
from streetseg.images.headers import PNG_RGB, SIGNATURES, BadImageError, format_of, read_header

PNG_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
_, PNG_START = SIGNATURES["PNG"]
PNG_GRAY, PNG_PALETTE = 0, 3
"""Colour types of the PNG specification, section 11.2.1."""
PNG_UP = 2
"""The filter of section 9.2 that keeps a pixel's difference to the one above it."""

MAX_PIXELS = 1 << 27
"""Of an image that is decoded without asking its kind first."""

UPLOAD_FORMATS = ("PNG", "JPEG", "WEBP")


class UnsupportedImageError(BadImageError):
    """An image in a format that is not taken."""


class TooLargeImageError(BadImageError):
    """An image with more pixels than are taken."""


def decode_upload(data: bytes, max_pixels: float) -> np.ndarray:
    """Decode an image from a stranger to upright RGB uint8[H, W, 3]; its header is checked first.

    Turned as its Exif orientation says. Gray, palettes and CMYK (as Adobe writes it) become RGB;
    16 bits are scaled to 8 by their upper byte. Alpha is left out, not laid over a ground: cameras
    and game engines write frames whose alpha means nothing. Of an animation the first image
    counts. Colour profiles and other metadata are not read, so they cannot be bombs. What follows
    the end of the image is passed over.

    Raises:
        UnsupportedImageError: an image, but not PNG, JPEG or WebP.
        TooLargeImageError: more than ``max_pixels``.
        BadImageError: truncated or not an image.
    """
    kind = format_of(data)
    if kind is None:
        raise BadImageError("is not an image")
    if kind not in UPLOAD_FORMATS:
        raise UnsupportedImageError(f"is {kind}: send {', '.join(UPLOAD_FORMATS)}")
    header = read_header(data, kind)
    if header.width * header.height > max_pixels:
        raise TooLargeImageError(
            f"is {header.width}x{header.height} = {header.width * header.height / 1e6:.0f} "
            f"megapixels, at most {max_pixels / 1e6:g} are taken"
        )
    rgb = _decode_stored(header.picture)
    if rgb.shape[:2] != (header.height, header.width):
        raise BadImageError("is not of the size that its header says")
    return _upright(rgb, header.orientation)


def decode_rgb(data: bytes) -> np.ndarray:
    """Decode PNG, JPEG or WebP bytes to uint8[H, W, 3] in RGB order.

    Raises:
        BadImageError: truncated or not an image.
    """
    if (size := _plain_png_size(data, PNG_RGB)) is not None:
        return _decode_plain_png(data, size, "rgb")
    _refuse_truncated_png(data)
    return _decode(data, cv2.IMREAD_COLOR_RGB)


def read_picture(path: Path, decode: Callable[[bytes], np.ndarray] = decode_rgb) -> np.ndarray:
    """What ``decode`` makes of a file.

    Raises:
        StreetsegError: it cannot be read, or ``decode`` does not take it.
    """
    try:
        return decode(path.read_bytes())
    except BadImageError as error:
        raise StreetsegError(f"{path} {error}") from None
    except OSError as error:
        raise StreetsegError(f"cannot read {path}: {error.strerror}") from None


def decode_ids(data: bytes) -> np.ndarray:
    """Decode an image of ids to uint8[H, W]: the pixel value, or palette index, is the id.

    Raises:
        BadImageError: truncated, not an image, or not one 8-bit channel.
    """
    if (size := _plain_png_size(data, PNG_GRAY)) is not None:
        return _decode_plain_png(data, size, "mono")[..., 0]
    _refuse_truncated_png(data)
    try:
        with Image.open(BytesIO(data)) as picture:
            kind, ids = picture.mode, np.array(picture, np.uint8)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise BadImageError("cannot be decoded") from None
    if kind in ("1", "L") and (depth := png_depth(data)) in (1, 2, 4):
        return ids if kind == "1" else ids // (255 // (2**depth - 1))  # PIL spreads them to 255
    if kind not in ("L", "P"):
        raise BadImageError(
            f"has {kind} pixels, where one channel of 8-bit ids, or a palette, is expected"
        )
    return ids


def decode_instances(data: bytes) -> np.ndarray:
    """Decode an image of instance ids to uint16[H, W].

    Raises:
        BadImageError: truncated, not an image, or not one 16-bit channel.
    """
    _refuse_truncated_png(data)
    ids = _decode(data, cv2.IMREAD_UNCHANGED)
    if ids.dtype != np.uint16 or ids.ndim != 2:
        raise BadImageError("is not one channel of 16-bit instance ids")
    return ids


def encode_png(pixels: np.ndarray, compression: int = 3) -> bytes:
    """Encode uint8 or uint16 [H, W], or RGB uint8[H, W, 3], as PNG."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, compression])[1].tobytes()


def encode_palette_png(ids: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode ids uint8[H, W] as a PNG that shows colours and holds ids.

    Rows are filtered by "Up" and deflated by run lengths (PNG specification, sections 9 and 10): in
    a mask most pixels are like the one above them. It is smaller and takes half of Pillow's time.

    Args:
        ids: indices into the palette.
        palette: RGB uint8[n, 3], n at most 256.
    """
    height, width = ids.shape
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0] = PNG_UP
    rows[0, 1:] = ids[0]
    np.subtract(ids[1:], ids[:-1], out=rows[1:, 1:])
    deflate = zlib.compressobj(level=3, memLevel=9, strategy=zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_PALETTE, 0, 0, 0)
    pixels = deflate.compress(rows.data) + deflate.flush()
    chunks = ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", pixels))
    return PNG_START + b"".join(_png_chunk(*chunk) for chunk in chunks) + PNG_END


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def resize_rgb(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize colours to (height, width): each pixel the mean of the area it covers."""
    height, width = size
    while _halves_to(rgb.shape[0], height) and rgb.shape[0] * width == rgb.shape[1] * height:
        # The mean of means is the mean, and OpenCV halves much faster than it divides by four.
        rgb = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = rgb.shape[0] >= height and rgb.shape[1] >= width
    return cv2.resize(
        rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def _halves_to(length: int, target: int) -> bool:
    """Whether halving once or more gets from one length to the other."""
    times, rest = divmod(length, target)
    return rest == 0 and times > 1 and times & (times - 1) == 0


def resize_ids(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize ids to (height, width): each pixel the id nearest to its centre."""
    height, width = size
    return cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def blend(rgb: np.ndarray, colors: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Lay ``colors`` over ``rgb`` (both uint8[H, W, 3]) with an opacity of 0..1."""
    return cv2.addWeighted(colors, opacity, rgb, 1 - opacity, 0)


def _decode_stored(picture: bytes) -> np.ndarray:
    """RGB uint8[H, W, 3] as stored, not turned."""
    if (size := _plain_png_size(picture, PNG_RGB)) is not None:
        return _decode_plain_png(picture, size, "rgb")
    return _decode(picture, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def _decode(data: bytes, flags: int) -> np.ndarray:
    """What OpenCV makes of an image."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # such as of more pixels than it takes
        pixels = None
    if pixels is None:
        raise BadImageError("cannot be decoded")
    return pixels


def _upright(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image by its Exif orientation: 5 to 8 are transposed, then the sides are flipped."""
    if orientation == 1:
        return rgb
    if orientation >= 5:
        rgb = rgb.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)


def _plain_png_size(data: bytes, color_type: int) -> tuple[int, int] | None:
    """Height and width of a PNG of 8 bits a channel, not interlaced; None for another image."""
    if not data.startswith(PNG_START + b"\x00\x00\x00\rIHDR") or len(data) < 29:
        return None
    width, height, depth, kind, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    plain = (depth, kind, interlace) == (8, color_type, 0)
    return (height, width) if plain and 0 < width * height < MAX_PIXELS else None


def png_depth(data: bytes) -> int | None:
    """Bits of a channel of a PNG; None for another image."""
    return data[24] if data.startswith(b"\x89PNG") and len(data) > 24 else None


def _decode_plain_png(data: bytes, size: tuple[int, int], mode: str) -> np.ndarray:
    try:
        return kornia_rs.io.decode_image_png_u8(data, size, mode)
    except Exception as error:
        reason = "is truncated" if "end of file" in str(error) else "cannot be decoded"
        raise BadImageError(reason) from None


def _refuse_truncated_png(data: bytes) -> None:
    if data.startswith(b"\x89PNG") and not data.endswith(PNG_END):
        raise BadImageError("is truncated")
