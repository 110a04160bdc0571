"""Preparation of one frame: decoding, remapping, resizing and measuring.

Worker processes import this module, so it imports little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import xxhash

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.data.numbering import Ids, Numbering, numbering, recognize
from streetseg.data.sources import Frame
from streetseg.data.targets import label_ids_in
from streetseg.images.decode import decode_deep_red, decode_ids, decode_image, refuse_lossy
from streetseg.images.encode import encode_png
from streetseg.images.errors import BadImageError
from streetseg.images.headers import PNG_GRAY, png_color_type, png_depth
from streetseg.images.resize import resize_ids, resize_rgb


class UndefinedIdsError(StreetsegError):
    """A label image holds ids that its label space does not define."""


@dataclass(frozen=True)
class PreparedFrame:
    """The arrays of a frame and its columns in the index."""

    rgb: np.ndarray
    """uint8[height, width, 3]."""
    categories: np.ndarray
    """uint8[height, width]."""
    label_png: bytes
    """The label ids at native size, as a PNG."""
    measures: dict[str, Any]
    """Columns of the index that are computed from the files."""


def prepare_frame(
    frame: Frame,
    size: tuple[int, int],
    labels: LabelSpace,
    ids: Ids | None = None,
    root: Path = Path(),
    file_labels: LabelSpace | None = None,
) -> PreparedFrame:
    """Decode, check, remap, resize to (height, width) and measure one frame.

    ``ids`` and ``root`` say how its label image is numbered: see :func:`read_numbering`. Its label
    space is ``file_labels``, which is mapped onto ``labels``; by default ``labels`` itself.

    Raises:
        StreetsegError: a file is missing or damaged, sizes differ, or a label id is unknown
            (UndefinedIdsError).
    """
    path = frame.image
    try:
        image_bytes = _read(frame.image)
        image_hash, rgb = xxhash.xxh3_128_hexdigest(image_bytes), decode_image(image_bytes)
        del image_bytes
        path = frame.label
        label_bytes = _read(frame.label)
        file_labels = file_labels or labels
        values = decode_labels(label_bytes, file_labels)
    except BadImageError as error:
        raise StreetsegError(f"{path} {error.reason}") from None
    if rgb.shape[:2] != values.shape:
        raise StreetsegError(
            f"{frame.image} is {_size(rgb)} but its label is {_size(values)}: they must have the "
            "same size"
        )
    meaning = read_numbering(label_bytes, frame.label, root, file_labels, ids)
    present = ids_in(values)
    if undefined := present[~meaning.defined[present]].tolist():
        raise UndefinedIdsError(
            f"{frame.label} holds {name_ids(undefined)}, which the label space "
            f"'{file_labels.name}' does not define"
        )
    if file_labels is not labels:
        meaning = meaning.onto(label_ids_in(labels, file_labels))

    small = resize_rgb(rgb, size)
    categories = cv2.LUT(resize_ids(values, size), meaning.categories(labels))
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    counts = _histogram(categories)
    return PreparedFrame(
        rgb=small,
        categories=categories,
        label_png=label_bytes
        if file_labels.encoding == "ids" and meaning.name == "label"
        else encode_png(cv2.LUT(values, meaning.label_ids)),
        measures={
            "image_hash": image_hash,
            "label_hash": xxhash.xxh3_128_hexdigest(label_bytes),
            "height": rgb.shape[0],
            "width": rgb.shape[1],
            "brightness": brightness(gray),
            "sharpness": sharpness(gray),
            "phash": perceptual_hash(gray),
            "label_ids": _label_ids(present, meaning, labels),
            **{
                f"pixels_{category.name}": int(counts[number])
                for number, category in enumerate(labels.categories)
            },
        },
    )


def name_ids(ids: Sequence[int]) -> str:
    """``label id 34``, or ``label ids 34, 40``."""
    return f"label id{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"


def undefined_ids(
    frame: Frame, labels: LabelSpace, ids: Ids | None = None, root: Path = Path()
) -> list[int]:
    """The ids of a frame's label that are not defined; none if it cannot be read."""
    try:
        data = _read(frame.label)
        present = ids_in(decode_labels(data, labels))
        meaning = read_numbering(data, frame.label, root, labels, ids)
    except StreetsegError:
        return []
    return present[~meaning.defined[present]].tolist()


def blank_measures(labels: LabelSpace) -> dict[str, Any]:
    """The measures of a skipped frame."""
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

    Label images are mostly uniform, so pixels are compared eight at a time, and of equal
    neighbouring groups only the first is counted.
    """
    flat = np.ascontiguousarray(ids).ravel()
    grouped = flat.size // 8 * 8
    groups = flat[:grouped].view(np.uint64)
    if not grouped:
        return np.unique(flat)
    distinct = groups[np.append(True, groups[1:] != groups[:-1])].view(np.uint8)
    return np.union1d(np.flatnonzero(_histogram(distinct[None])), flat[grouped:])


def read_numbering(
    data: bytes, path: Path, root: Path, labels: LabelSpace, ids: Ids | None
) -> Numbering:
    """The numbering ``ids`` of a label image; None: what it says itself, else label ids.

    ``data`` are the bytes of the file ``path``. Only label images with the encoding ``ids`` are
    numbered in different ways. Raises StreetsegError as :func:`recognize`.
    """
    if ids or labels.encoding != "ids":
        return numbering(labels, ids or "label")
    return recognize(data, path, root, labels) or numbering(labels, "label")


def _label_ids(values: np.ndarray, meaning: Numbering, labels: LabelSpace) -> list[int]:
    """The label ids that ``values`` stand for, sorted, without pixels that have no label."""
    ids = np.unique(meaning.label_ids[values])
    return ids[labels.known[ids]].tolist()


def _histogram(values: np.ndarray) -> np.ndarray:
    """Counts of the values in uint8[H, W]: float32[256], exact up to 16 million."""
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
    """A hash of uint8[H, W] that changes in few bits when the image is re-encoded or resized.

    256 bits, as 64 hexadecimal digits: which of the lowest 16x16 cosine frequencies of the 64x64
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


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def decode_labels(data: bytes, labels: LabelSpace) -> np.ndarray:
    """Decode a label image to label ids uint8[H, W], by the encoding of its label space.

    Raises:
        BadImageError: as :func:`decode_ids`, or a colour belongs to no label.
    """
    if labels.encoding == "ids":
        return decode_ids(data)
    refuse_lossy(data)
    if png_depth(data) == 16:
        if labels.encoding == "red":
            return decode_deep_red(data)
        raise BadImageError("has 16 bits a channel, where 8 are expected")
    if labels.encoding == "red" and png_color_type(data) == PNG_GRAY:
        return decode_ids(data)
    rgb = decode_image(data)
    if labels.encoding == "red":
        return np.ascontiguousarray(rgb[..., 0])
    return _ids_of_colors(rgb, labels)


def _ids_of_colors(rgb: np.ndarray, labels: LabelSpace) -> np.ndarray:
    packed = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    ids = np.zeros(packed.shape, np.uint8)
    assigned = np.zeros(packed.shape, bool)
    for label in labels.drawn:
        red, green, blue = label.color
        matches = packed == (red << 16 | green << 8 | blue)
        ids[matches] = label.id
        assigned |= matches
    if not assigned.all():
        color = tuple(rgb[~assigned][0].tolist())
        raise BadImageError(f"holds the colour {color}, which '{labels.name}' does not define")
    return ids
