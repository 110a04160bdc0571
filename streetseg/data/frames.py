"""One frame of a source: decoded, remapped, resized and measured.

Worker processes import this module alone, so it stays light.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import xxhash

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.data.sources import Frame
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_png
from streetseg.images.errors import BadImageError
from streetseg.images.headers import png_depth
from streetseg.images.resize import resize_ids, resize_rgb


@dataclass(frozen=True)
class PreparedFrame:
    """What models see of a frame, and what the index says of it."""

    rgb: np.ndarray
    """uint8[height, width, 3]."""
    categories: np.ndarray
    """uint8[height, width]."""
    label_png: bytes
    """The label ids at native size."""
    measures: dict[str, Any]
    """Columns of the index that come from the pixels."""


def prepare_frame(frame: Frame, size: tuple[int, int], labels: LabelSpace) -> PreparedFrame:
    """Decode, check, remap, resize to (height, width) and measure one frame.

    Raises:
        StreetsegError: a file is missing or no image of its kind, the two differ in size, or an
            id is unknown.
    """
    at_fault = frame.image
    try:
        image_bytes = _read(frame.image)
        image_hash, rgb = xxhash.xxh3_128_hexdigest(image_bytes), decode_image(image_bytes)
        del image_bytes
        at_fault = frame.label
        label_bytes = _read(frame.label)
        ids = decode_labels(label_bytes, labels)
    except BadImageError as error:
        raise StreetsegError(f"{at_fault} {error.reason}") from None
    if rgb.shape[:2] != ids.shape:
        raise StreetsegError(
            f"{frame.image} is {_by(rgb)} but its label is {_by(ids)}: they must be of one size"
        )
    present = ids_in(ids)
    unknown = present[~labels.known[present]]
    if unknown.size:
        raise StreetsegError(
            f"{frame.label} holds label id {unknown[0]}, which the label space '{labels.name}' "
            "does not define"
        )

    small = resize_rgb(rgb, size)
    categories = cv2.LUT(resize_ids(ids, size), labels.category_of)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    pixels_of = _histogram(categories)
    return PreparedFrame(
        rgb=small,
        categories=categories,
        label_png=label_bytes if labels.encoding == "ids" else encode_png(ids),
        measures={
            "image_hash": image_hash,
            "label_hash": xxhash.xxh3_128_hexdigest(label_bytes),
            "height": rgb.shape[0],
            "width": rgb.shape[1],
            "brightness": brightness(gray),
            "sharpness": sharpness(gray),
            "phash": perceptual_hash(gray),
            "label_ids": present.tolist(),
            **{
                f"pixels_{category.name}": int(pixels_of[number])
                for number, category in enumerate(labels.categories)
            },
        },
    )


def blank_measures(labels: LabelSpace) -> dict[str, Any]:
    """The columns of :class:`PreparedFrame` for a frame that was skipped."""
    return {
        "image_hash": "",
        "label_hash": "",
        "height": 0,
        "width": 0,
        "brightness": 0.0,
        "sharpness": 0.0,
        "phash": "",
        "label_ids": [],
        **{f"pixels_{category.name}": 0 for category in labels.categories},
    }


def ids_in(ids: np.ndarray) -> np.ndarray:
    """The sorted ids that occur in uint8[H, W].

    Label images are mostly plain: only the first of equal neighbours, eight pixels at a time, is
    looked into.
    """
    flat = np.ascontiguousarray(ids).ravel()
    whole = flat.size // 8 * 8
    words = flat[:whole].view(np.uint64)
    if not whole:
        return np.unique(flat)
    first = words[np.append(True, words[1:] != words[:-1])].view(np.uint8)
    return np.union1d(np.flatnonzero(_histogram(first[None])), flat[whole:])


def _histogram(values: np.ndarray) -> np.ndarray:
    """How often each value occurs in uint8[H, W]: float32[256], exact up to 16 million."""
    return cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()


def brightness(gray: np.ndarray) -> float:
    """Mean grey value of uint8[H, W], 0 to 255."""
    return cv2.mean(gray)[0]


def sharpness(gray: np.ndarray) -> float:
    """Variance of the Laplacian of uint8[H, W], in squared grey values.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    _, deviation = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))
    return float(deviation[0, 0] ** 2)


def perceptual_hash(gray: np.ndarray) -> str:
    """A hash of uint8[H, W] of which few bits change when an image is re-encoded or resized.

    256 signs, as 64 hexadecimal digits: which of the lowest 16x16 cosine frequencies of the 64x64
    image are above their median. Source: Zauner, Implementation and Benchmarking of Perceptual
    Image Hash Functions, 2010, section 3.2.1, with twice the frequencies each way.
    """
    small = cv2.resize(gray, (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:16, :16]
    return np.packbits(low > np.median(low)).tobytes().hex()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StreetsegError(f"cannot read {path}: {error.strerror}") from None


def _by(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def decode_labels(data: bytes, labels: LabelSpace) -> np.ndarray:
    """Decode a label image to uint8[H, W] of label ids, however its label space draws them.

    Raises:
        BadImageError: as :func:`decode_ids`; or it holds a colour of no label.
    """
    if labels.encoding == "ids":
        return decode_ids(data)
    if (depth := png_depth(data)) not in (8, None):
        raise BadImageError(f"has {depth} bits a channel, where 8 are expected")
    rgb = decode_image(data)
    return np.ascontiguousarray(rgb[..., 0]) if labels.encoding == "red" else _look_up(rgb, labels)


def _look_up(rgb: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """The id of the label that has each pixel's colour."""
    packed = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    ids = np.zeros(packed.shape, np.uint8)
    known = np.zeros(packed.shape, bool)
    for label in labels.labels:
        red, green, blue = label.color
        here = packed == (red << 16 | green << 8 | blue)
        ids[here] = label.id % 256
        known |= here
    if not known.all():
        color = tuple(rgb[~known][0].tolist())
        raise BadImageError(f"holds the colour {color}, which '{labels.name}' does not define")
    return ids
