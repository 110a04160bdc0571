"""Encodes a segmented image as a response body."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.images.resize import blend
from streetseg.reports.drawing import colorize
from streetseg.serving.segmented import Segmented


def mask_png(segmented: Segmented, labels: LabelSpace) -> bytes:
    """A palette PNG of category ids at the image's size."""
    return encode_palette_png(segmented.categories(), labels.palette)


def mask_json(segmented: Segmented, labels: LabelSpace) -> dict[str, Any]:
    """The size of the image, and its mask as PNG in base64."""
    mask = base64.b64encode(mask_png(segmented, labels)).decode()
    return {"width": segmented.size[1], "height": segmented.size[0], "mask": mask}


def confidence_png(segmented: Segmented, _: LabelSpace) -> bytes:
    """The probability of the category of each pixel as a grey PNG of the image's size: 255 is 1."""
    return encode_png(np.rint(255 * segmented.confidence()).astype(np.uint8), compression=1)


def overlay_png(segmented: Segmented, labels: LabelSpace, rgb: np.ndarray, opacity: float) -> bytes:
    """The image ``rgb`` uint8[H, W, 3] under the categories' colours, as PNG."""
    colors = colorize(segmented.categories(), labels)
    return encode_png(blend(rgb, colors, opacity), compression=1)


def description(segmented: Segmented, labels: LabelSpace) -> dict[str, Any]:
    """The size of the image, and the fraction of its pixels in each category, 0 to 1."""
    height, width = segmented.size
    counts = np.bincount(segmented.categories().ravel(), minlength=len(labels.categories))
    classes = [
        {
            "id": number,
            "name": label.name,
            "color": list(label.color),
            "share": round(int(counts[number]) / (height * width), 6),
        }
        for number, label in enumerate(labels.categories)
    ]
    return {"width": width, "height": height, "classes": classes}
