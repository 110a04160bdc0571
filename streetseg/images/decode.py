"""Decoding of images: bytes to RGB, to label ids, to instance ids."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import kornia_rs.io
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from streetseg.core.errors import StreetsegError, cannot_read
from streetseg.images.errors import BadImageError
from streetseg.images.headers import FORMATS, LOSSY, Header, image_format, png_depth, read_header

MAX_PIXELS = 250_000_000
"""The default limit: far above any camera, far below a decompression bomb."""

LOSSY_REASON = "is {}, which does not keep ids exactly: draw the labels again, as PNG"
LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
"""Formats of label images, as Pillow calls them."""
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
"""Pillow's names of lossy compressions in a TIFF."""


def decode_image(data: bytes, *, max_pixels: int | None = None) -> np.ndarray:
    """Decode a PNG, JPEG or WebP of up to ``max_pixels`` to upright RGB uint8[H, W, 3].

    The header is checked first; the default limit is ``MAX_PIXELS``. Gray, palette and CMYK images
    (as Adobe writes them) become RGB; 16-bit channels keep their upper byte. Alpha is dropped, not
    blended: cameras and game engines write alpha that means nothing. The first image of an
    animation counts. Bytes after the end are ignored. Colour profiles and text are never parsed, so
    they cannot be bombs.

    Raises:
        UnsupportedImageError: an image of another format.
        TooLargeImageError: more than ``max_pixels``.
        BadImageError: truncated, damaged, or not an image.
    """
    header = read_header(data, MAX_PIXELS if max_pixels is None else max_pixels)
    if header.plain_png == "rgb":
        rgb = _decode_plain_png(header)
    elif header.plain_png == "mono":
        rgb = cv2.cvtColor(_decode_plain_png(header), cv2.COLOR_GRAY2RGB)
    else:
        rgb = _decode(header.data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if rgb.shape[:2] != (header.height, header.width):
        raise BadImageError("is not of the size that its header says")
    return _upright(rgb, header.orientation)


def decode_ids(data: bytes) -> np.ndarray:
    """Decode an image of ids to upright uint8[H, W]: a pixel's value, or palette index, is its id.

    Raises:
        BadImageError: truncated, not an image, of a lossy format, not one 8-bit channel, or a TIFF
            or PGM whose values Pillow would scale.
    """
    refuse_lossy(data)
    header = _header_if_supported(data)
    if header and header.plain_png == "mono":
        return _upright(_decode_plain_png(header)[..., 0], header.orientation)
    try:
        with Image.open(BytesIO(header.data if header else data), formats=LOSSLESS) as image:
            if image.info.get("compression") in LOSSY_TIFF:
                raise BadImageError(LOSSY_REASON.format("a lossy TIFF"))
            if image.format != "PNG" and _is_scaled(image):
                raise BadImageError("holds shades of gray, not its ids: save it as an 8-bit PNG")
            mode, values = image.mode, np.array(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise BadImageError("cannot be decoded") from None
    if mode == "I;16":  # some tools store ids so, which is no loss
        if (largest := int(values.max(initial=0))) > 255:
            raise BadImageError(
                f"holds the value {largest}, where ids of 0 to 255 are expected, not instances"
            )
        mode = "L"
    ids = values.astype(np.uint8)
    if mode in ("1", "L") and (depth := png_depth(data)) in (1, 2, 4):
        ids = ids if mode == "1" else ids // (255 // (2**depth - 1))  # Pillow scales them to 255
    elif mode not in ("L", "P"):
        raise BadImageError(
            f"has {mode} pixels, where one channel of 8-bit ids, or a palette, is expected"
        )
    return _upright(ids, header.orientation if header else 1)


def _is_scaled(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow will not read the stored values, but shades of gray from 0 to 255.

    So it does for TIFF of less than 8 bits or with white as 0, and for PGM with another maximum.
    """
    for codec, _, _, arguments in image.tile[:1]:
        mode, *options = arguments if isinstance(arguments, tuple) else (arguments,)
        return str(mode).startswith("L;") or (codec.startswith("ppm") and options != [255])
    return False


def decode_instances(data: bytes) -> np.ndarray:
    """Decode an image of instance ids to upright uint16[H, W].

    Raises:
        BadImageError: truncated, not an image, of a lossy format, or not one 16-bit channel.
    """
    refuse_lossy(data)
    header = _header_if_supported(data)
    ids = _decode(header.data if header else data, cv2.IMREAD_UNCHANGED)
    if ids.dtype != np.uint16 or ids.ndim != 2:
        raise BadImageError("is not one channel of 16-bit instance ids")
    return _upright(ids, header.orientation if header else 1)


def decode_deep_red(data: bytes) -> np.ndarray:
    """Decode the red channel of a PNG of 16 bits a channel to upright ids uint8[H, W].

    Raises:
        BadImageError: truncated, damaged, gray, or with a value above 255.
    """
    header = read_header(data, MAX_PIXELS)
    pixels = _decode(header.data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise BadImageError("has 16 bits and no red channel")
    red = pixels[..., 2]
    if red.max() > 255:
        raise BadImageError(f"holds {red.max()} in its red channel, where ids end at 255")
    return _upright(red.astype(np.uint8), header.orientation)


def decode_mask(data: bytes) -> np.ndarray:
    """Decode a PNG of one mask to bool[H, W]: where alpha, or else any channel, is not 0.

    Raises:
        BadImageError: truncated, damaged, or no PNG.
    """
    if image_format(data) != "PNG":
        raise BadImageError("is no PNG")
    header = read_header(data, MAX_PIXELS)
    pixels = _decode(header.data, cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        pixels = pixels[..., 3] if pixels.shape[2] == 4 else pixels.max(axis=2)
    return np.not_equal(pixels, 0)


def refuse_lossy(data: bytes) -> None:
    """Raise BadImageError for a format that does not keep ids, such as JPEG and WebP.

    At every edge a lossy image holds values between the two ids, which are often ids themselves.
    Lossless files of such a format are refused too.
    """
    if (name := image_format(data)) in LOSSY:
        raise BadImageError(LOSSY_REASON.format(name))


def read_image(path: Path, decode: Callable[[bytes], np.ndarray] = decode_image) -> np.ndarray:
    """Read and decode a file; StreetsegError if it cannot be read or ``decode`` refuses it."""
    try:
        return decode(path.read_bytes())
    except BadImageError as error:
        raise StreetsegError(f"{path} {error.reason}") from None
    except OSError as error:
        raise cannot_read(path, error) from None


def _header_if_supported(data: bytes) -> Header | None:
    """The checked header; None for a label image of another format, which Pillow alone judges."""
    return read_header(data, MAX_PIXELS) if image_format(data) in FORMATS else None


def _decode_plain_png(header: Header) -> np.ndarray:
    """uint8[H, W, 3] or uint8[H, W, 1] by kornia-rs, which takes half of OpenCV's time."""
    size = header.height, header.width
    try:
        return kornia_rs.io.decode_image_png_u8(header.data, size, header.plain_png)
    except Exception as error:
        reason = "is truncated" if "end of file" in str(error) else "cannot be decoded"
        raise BadImageError(reason) from None


def _decode(data: bytes, flags: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise BadImageError("cannot be decoded")
    return pixels


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an Exif orientation: 5 to 8 are transposed first, then the sides are flipped."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
