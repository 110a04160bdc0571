"""The one decoder, the one resize and the one encoder of the project."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

PNG_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"


UPLOAD_FORMATS = ("PNG", "JPEG", "WEBP")


class BadImageError(ValueError):
    """Bytes that are no picture of the kind asked for; the message says why."""


class UnsupportedImageError(BadImageError):
    """A picture in a format that is not taken."""


class TooLargeImageError(BadImageError):
    """A picture with more pixels than are taken."""


def decode_upload(data: bytes, max_pixels: float) -> np.ndarray:
    """Decode a picture from a stranger to RGB uint8[H, W, 3]; its header is checked first.

    Raises:
        UnsupportedImageError: a picture, but not PNG, JPEG or WebP.
        TooLargeImageError: more than ``max_pixels``.
        BadImageError: truncated or not a picture.
    """
    try:
        with Image.open(BytesIO(data)) as header:
            kind, (width, height) = header.format, header.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise BadImageError("is not an image") from None
    except Image.DecompressionBombError:
        raise TooLargeImageError("has far too many pixels") from None
    if kind not in UPLOAD_FORMATS:
        raise UnsupportedImageError(f"is {kind}: send {', '.join(UPLOAD_FORMATS)}")
    if width * height > max_pixels:
        raise TooLargeImageError(
            f"is {width}x{height} = {width * height / 1e6:.0f} megapixels, "
            f"at most {max_pixels / 1e6:g} are taken"
        )
    return decode_rgb(data)


def decode_rgb(data: bytes) -> np.ndarray:
    """Decode PNG, JPEG or WebP bytes to uint8[H, W, 3] in RGB order.

    Raises:
        BadImageError: truncated or not a picture.
    """
    _refuse_truncated_png(data)
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise BadImageError("cannot be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def decode_ids(data: bytes) -> np.ndarray:
    """Decode a label picture to uint8[H, W]: one channel, 8 bits, the pixel value is the id.

    Raises:
        BadImageError: truncated, not a picture, or not one 8-bit channel.
    """
    _refuse_truncated_png(data)
    ids = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if ids is None:
        raise BadImageError("cannot be decoded")
    if ids.ndim != 2 or ids.dtype != np.uint8:
        channels = 1 if ids.ndim == 2 else ids.shape[2]
        raise BadImageError(
            f"has {channels} channels of {ids.dtype}, where one channel of uint8 ids is expected"
        )
    return ids


def encode_png(pixels: np.ndarray, compression: int = 3) -> bytes:
    """Encode uint8[H, W] or RGB uint8[H, W, 3] as PNG."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, compression])[1].tobytes()


def encode_palette_png(ids: np.ndarray, palette: np.ndarray) -> bytes:
    """Encode ids uint8[H, W] as a PNG that shows colours and holds ids.

    Args:
        ids: indices into the palette.
        palette: RGB uint8[n, 3], n at most 256.
    """
    picture = Image.fromarray(ids)
    picture.putpalette(palette.tobytes())
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def resize_rgb(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize colours to (height, width): each pixel the mean of the area it covers."""
    height, width = size
    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = rgb.shape[0] >= height and rgb.shape[1] >= width
    return cv2.resize(
        rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def resize_ids(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize ids to (height, width): each pixel the id nearest to its centre."""
    height, width = size
    return cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def blend(rgb: np.ndarray, colors: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Lay ``colors`` over ``rgb`` (both uint8[H, W, 3]) with an opacity of 0..1."""
    return cv2.addWeighted(colors, opacity, rgb, 1 - opacity, 0)


def _refuse_truncated_png(data: bytes) -> None:
    if data.startswith(b"\x89PNG") and not data.endswith(PNG_END):
        raise BadImageError("is truncated")
