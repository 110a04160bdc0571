"""Images as a caller has them: an array, a PIL image, a file, or its bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streetseg.core.errors import StreetsegError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

    ImageLike = np.ndarray | PilImage | str | os.PathLike[str] | bytes

TAKEN = (
    "give RGB as a NumPy array uint8[height, width, 3], a PIL image, or a PNG, JPEG or WebP as its "
    "path or bytes"
)
LISTS = "; predict also takes a list of them"
PIL_MODES = ("RGB", "RGBA", "L", "LA", "P")
"""The modes that :func:`as_rgb` converts; alpha is dropped, as in files."""
ORIENTATION = 0x0112
"""Tag of the orientation, Exif 2.32, section 4.6.4."""


def as_rgb(image: ImageLike) -> np.ndarray:
    """An image as upright RGB uint8[H, W, 3].

    The channels of an array are taken as red, green and blue: swap those of OpenCV before.

    Raises:
        StreetsegError: another type, shape or dtype; a PIL image of another mode, or that its Exif
            orientation would turn; a file that cannot be read or decoded.
    """
    if isinstance(image, np.ndarray):
        return _checked(image)
    from streetseg.images.decode import decode_image, read_image

    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if isinstance(image, bytes):
        return decode_image(image)
    from PIL import Image

    if isinstance(image, Image.Image):
        return _converted(image)
    raise StreetsegError(f"an image of type {type(image).__name__} cannot be used: {TAKEN}{LISTS}")


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size:
        return np.ascontiguousarray(pixels)
    if pixels.dtype != np.uint8:
        hint = "; of values from 0 to 1, (255 * image).round().astype('uint8')"
        hint = hint if np.issubdtype(pixels.dtype, np.floating) else ""
    elif pixels.ndim == 2:
        hint = "; of a gray one, np.stack([image] * 3, axis=-1)"
    elif pixels.ndim == 4:
        hint = LISTS
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        hint = "; without alpha, image[..., :3]"
    elif pixels.ndim == 3 and pixels.shape[0] == 3:
        hint = "; of channels first, image.transpose(1, 2, 0)"
    else:
        hint = ""
    found = f"{pixels.dtype}[{', '.join(map(str, pixels.shape))}]"
    raise StreetsegError(f"an array {found} is no image: {TAKEN}{hint}")


def _converted(image: PilImage) -> np.ndarray:
    if image.mode not in PIL_MODES:
        raise StreetsegError(
            f"a PIL image of mode {image.mode} cannot be used: convert it to RGB, 8 bits a channel"
        )
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise StreetsegError(
            "the Exif orientation of the PIL image says to turn it: give "
            "ImageOps.exif_transpose(image), or np.asarray(image) if it is upright already"
        )
    return _checked(np.asarray(image.convert("RGB")))
