"""Masks of colours and the names of the colours, as CVAT and Datumaro export them.

``labelmap.txt`` lies beside ``SegmentationClass/`` ("Segmentation mask 1.1", Pascal VOC),
``label_colors.txt`` beside ``gtFine/`` (Cityscapes) or ``trainannot/`` and the like (CamVid).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import BYTE_ORDER_MARK
from streetseg.data.annotations.shapes import Export, Picture, Segment, Shape
from streetseg.data.label_names import BACKGROUND, name_key
from streetseg.images.decode import read_image

NAMES = ("labelmap.txt", "label_colors.txt")
PATTERNS = ("SegmentationClass/**/*.png", "gtFine/**/*_gtFine_color.png", "*annot/**/*.png")
LINE = re.compile(
    r"(?P<name>.+?):(?P<rgb>\d+,\d+,\d+):[^:]*:[^:]*|(?P<rgb2>\d+ \d+ \d+) (?P<name2>.+)"
)
BLACK = 0


def read(data: bytes, path: Path) -> Export:
    """The masks that lie beside the file of colours at ``path``, one picture each.

    Pixels that are black have no label, unless black is the colour of one label alone, which is
    not the background.

    Raises:
        StreetsegError: a line or a mask is unusable, a mask has a colour that is not listed, two
            labels have one colour, or there is no mask.
    """
    labels = _labels(data, path)
    masks = [mask for pattern in PATTERNS for mask in sorted(path.parent.glob(pattern))]
    if not masks:
        raise StreetsegError(
            f"no masks lie beside {path} (in SegmentationClass, gtFine or a folder such as "
            "trainannot): unpack the whole export"
        )
    return Export(tuple(_picture(mask, labels, path) for mask in masks))


def _picture(mask: Path, labels: dict[int, str], path: Path) -> Picture:
    rgb = read_image(mask)
    present = np.unique(rgb.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32))
    values = [int(value) for value in present if value in labels or value != BLACK]
    for value in values:
        if value not in labels:
            colour = f"{value & 255}, {value >> 8 & 255}, {value >> 16}"
            raise StreetsegError(
                f"{mask} has the colour {colour}, which {path} does not list: export both again"
            )
    shapes = tuple(Shape(labels[value], "mask", Segment(value)) for value in values)
    name = f"{mask.stem.removesuffix('_gtFine_color')}.png"
    return Picture(name, (rgb.shape[0], rgb.shape[1]), shapes, segments=mask)


def _labels(data: bytes, path: Path) -> dict[int, str]:
    """The label of each colour R + 256 G + 65536 B, without what is black like the background."""
    names = dict[int, list[str]]()
    for line, colour, name in _lines(data, path):
        if max(colour) > 255:
            raise StreetsegError(f"{path}: '{line}' is no colour: channels end at 255")
        names.setdefault(colour[0] + (colour[1] << 8) + (colour[2] << 16), []).append(name)
    if any(name_key(name) == BACKGROUND[0] for name in names.get(BLACK, ())):
        del names[BLACK]
    for alike in names.values():
        if len(alike) > 1:
            raise StreetsegError(
                f"{path}: '{alike[0]}' and '{alike[1]}' have the same colour, so that masks do not "
                "tell them apart: give them two, or export polygons"
            )
    return {value: alike[0] for value, alike in names.items()}


def _lines(data: bytes, path: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    try:
        lines = data.removeprefix(BYTE_ORDER_MARK).decode().splitlines()
    except UnicodeDecodeError:
        raise StreetsegError(f"{path} is not UTF-8: export it again") from None
    for line in map(str.strip, lines):
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if not found:
            raise StreetsegError(
                f"{path}: '{line}' is not a label and its colour: export masks with colours"
            )
        colour = found["rgb"] or found["rgb2"]
        channels = tuple(int(each) for each in re.split("[, ]", colour))
        yield line, channels, found["name"] or found["name2"]
