"""What was seen in an image, in the forms in which it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.images.resize import blend
from streetseg.serving.engine import Segmented


def mask_png(seen: Segmented, labels: LabelSpace) -> bytes:
    """A palette PNG of category ids at the image's size."""
    return encode_palette_png(seen.categories(), labels.palette)


def overlay_png(seen: Segmented, labels: LabelSpace, rgb: np.ndarray, opacity: float) -> bytes:
    """The image ``rgb`` uint8[H, W, 3] under the categories' colours, as PNG."""
    return encode_png(blend(rgb, labels.palette[seen.categories()], opacity), compression=1)


def description(seen: Segmented, labels: LabelSpace) -> dict[str, Any]:
    """The size of the image, and the fraction of each category in it, 0 to 1."""
    height, width = seen.size
    counts = np.bincount(seen.categories().ravel(), minlength=len(labels.categories))
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
