"""A picture's shapes drawn to label ids, and counted.

Worker processes import this module, so it imports little.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import read_bytes
from streetseg.data.annotations.formats import Format
from streetseg.data.annotations.rasterize import CocoDrawing, rasterize
from streetseg.data.annotations.shapes import (
    COVERED,
    DROPPED,
    EMPTY,
    READ,
    Picture,
    Segment,
)
from streetseg.data.label_names import LabelNames
from streetseg.images.decode import decode_image
from streetseg.images.errors import BadImageError

NEVER_DRAWN = "label that is never drawn"


def undefined_names(picture: Picture, names: LabelNames, format: Format) -> list[str]:
    """The labels of a picture that are not defined, sorted."""
    used = {shape.label for shape in picture.shapes}
    return sorted(name for name in used if names.find(name, format.groups) is None)


def draw(
    picture: Picture, names: LabelNames, format: Format, size: tuple[int, int]
) -> tuple[np.ndarray, dict[str, int]]:
    """Label ids uint8[height, width] of a picture whose labels are all defined, and counts.

    Raises:
        BadImageError: a mask or coordinate is impossible.
        StreetsegError: a panoptic PNG is unusable.
    """
    counts = Counter({f"{DROPPED}:{reason}": count for reason, count in picture.dropped.items()})
    drawn = []
    for shape in picture.shapes:
        label_id = names.find(shape.label, format.groups)
        if label_id is None or label_id < 0:
            counts[f"{DROPPED}:{NEVER_DRAWN}"] += 1
        else:
            counts[f"{READ}:{shape.kind}"] += 1
            drawn.append((shape.geometry, label_id))
    counts[EMPTY] += not picture.shapes
    if picture.segments and picture.shapes:
        values = {
            shape.geometry.value: names.find(shape.label) or 0
            for shape in picture.shapes
            if isinstance(shape.geometry, Segment)
        }
        ids = _segments(picture.segments, values, size, names.blank)
    elif format.ordered:
        ids = rasterize(drawn, size, names.blank, format.rasterizer)
    else:
        ids, counts[COVERED] = CocoDrawing(drawn, size).paint_and_count(names.blank)
    return ids, {key: count for key, count in counts.items() if count}


def _segments(path: Path, values: dict[int, int], size: tuple[int, int], blank: int) -> np.ndarray:
    """The label ids in a panoptic PNG, whose value 0 is ``blank``."""
    try:
        rgb = decode_image(read_bytes(path))
    except BadImageError as error:
        raise StreetsegError(f"{path} {error.reason}") from None
    if rgb.shape[:2] != size:
        raise StreetsegError(
            f"{path} is {rgb.shape[1]}x{rgb.shape[0]}, its image {size[1]}x{size[0]}: they must "
            "have the same size"
        )
    table = np.full(1 << 24, -1, np.int16)
    table[0] = blank
    for value, label_id in values.items():
        if 0 <= value < table.size:
            table[value] = label_id if label_id >= 0 else blank
    packed = rgb.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
    ids = table[packed]
    if (unknown := packed[ids < 0]).size:
        raise StreetsegError(
            f"{path} holds the segment {unknown[0]}, which its JSON file does not list: export "
            "both again"
        )
    return ids.astype(np.uint8)
