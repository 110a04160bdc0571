"""Preparation of one frame: decoding, remapping, resizing and measuring.

Worker processes import this module, so it imports little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import xxhash

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import read_bytes
from streetseg.data.label_files import FrameLabel, read_label
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.numbering import Ids
from streetseg.data.sources import Frame
from streetseg.data.splits import SCORED
from streetseg.data.targets import label_ids_in
from streetseg.images.decode import decode_image
from streetseg.images.encode import encode_png
from streetseg.images.errors import BadImageError
from streetseg.images.measures import brightness, sharpness
from streetseg.images.resize import Fit, fit_rgb, pad, place, resize_ids, size_of


@dataclass(frozen=True)
class PreparedFrame:
    """The arrays of a frame and its columns in the index."""

    rgb: np.ndarray
    """uint8[height, width, 3]."""
    categories: np.ndarray
    """uint8[height, width]."""
    label_png: bytes | None
    """The label ids at native size, as a PNG; only of the evaluated split."""
    measures: dict[str, Any]
    """Columns of the index that are computed from the files."""
    shapes: dict[str, int]
    """Counts of :mod:`streetseg.data.annotations.draw`; empty for a label image."""


def prepare_frame(
    frame: Frame,
    size: tuple[int, int],
    labels: LabelSpace,
    ids: Ids | None = None,
    root: Path = Path(),
    file_labels: LabelSpace | None = None,
    fit: Fit = "stretch",
) -> PreparedFrame:
    """Decode, check, remap, fit to (height, width) and measure one frame.

    ``ids`` and ``root`` say how its label image is numbered: see :func:`read_label`. Its label
    space is ``file_labels``, which is mapped onto ``labels``; by default ``labels`` itself. Padding
    is ``IGNORE`` in the categories, and is not measured.

    Raises:
        StreetsegError: a file is missing or damaged, sizes differ, or a label is undefined
            (UndefinedLabelsError).
    """
    try:
        image_bytes = read_bytes(frame.image)
        image_hash, rgb = xxhash.xxh3_128_hexdigest(image_bytes), decode_image(image_bytes)
        del image_bytes
    except BadImageError as error:
        raise StreetsegError(f"{frame.image} {error.reason}") from None
    height, width = rgb.shape[:2]
    label = read_label(frame, file_labels or labels, ids, root, (height, width))
    if file_labels and file_labels is not labels:
        label = label.onto(label_ids_in(labels, file_labels))

    placement = place((height, width), size, fit)
    shown = size_of(placement.target, size)
    small = fit_rgb(rgb, size, fit)
    ids_shown = resize_ids(label.values[placement.source], shown)
    categories = cv2.LUT(ids_shown, label.numbering.categories(labels))
    gray = cv2.cvtColor(small[placement.target], cv2.COLOR_RGB2GRAY)
    counts = _histogram(categories)
    return PreparedFrame(
        rgb=small,
        categories=pad(categories, size, placement, IGNORE),
        label_png=_label_png(label) if frame.split in SCORED else None,
        measures={
            "image_hash": image_hash,
            "label_hash": label.content_hash,
            "height": height,
            "width": width,
            "brightness": brightness(gray),
            "sharpness": sharpness(gray),
            "phash": perceptual_hash(gray),
            "label_ids": _label_ids(label, labels),
            **{
                f"pixels_{category.name}": int(counts[number])
                for number, category in enumerate(labels.categories)
            },
        },
        shapes=label.shapes,
    )


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


def _label_png(label: FrameLabel) -> bytes:
    compression = None if label.shapes else 3  # of images always the same, for the data version
    return label.png or encode_png(label.label_ids, compression)


def _label_ids(label: FrameLabel, labels: LabelSpace) -> list[int]:
    """The label ids that occur, sorted, without pixels that have no label."""
    ids = np.unique(label.numbering.label_ids[label.present])
    return ids[labels.known[ids]].tolist()


def _histogram(values: np.ndarray) -> np.ndarray:
    """Counts of the values in uint8[H, W]: float32[256], exact up to 16 million."""
    return cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()


def perceptual_hash(gray: np.ndarray) -> str:
    """A hash of uint8[H, W] that changes in few bits when the image is re-encoded or resized.

    256 bits, as 64 hexadecimal digits: which of the lowest 16x16 cosine frequencies of the 64x64
    image are above their median. Source: Zauner, Implementation and Benchmarking of Perceptual
    Image Hash Functions, 2010, section 3.2.1, with twice the frequencies each way.
    """
    small = cv2.resize(gray, (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:16, :16]
    return np.packbits(low > np.median(low)).tobytes().hex()
