"""labelme's JSON, one file a picture.

Shapes are drawn in the order of the file; ``group_id`` joins parts of an object and changes nothing
here. Source: labelme 5 and 6, utils/shape.py, shapes_to_label.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import NotRequired

import numpy as np
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import Number, Pixels, parse_json, points
from streetseg.data.annotations.masks import PngMask
from streetseg.data.annotations.shapes import (
    Ellipse,
    Export,
    Geometry,
    Line,
    Picture,
    Polygon,
    Rectangle,
    Shape,
)

LINE_WIDTH, POINT_RADIUS = 10, 5
"""Pixels, with which labelme draws lines and points."""
MIN_POINTS = {"polygon": 3, "oriented_rectangle": 4, "linestrip": 1, "point": 1}
"""Of other types it is two."""


class _Shape(TypedDict):
    label: str
    points: list[tuple[Number, Number]]
    shape_type: NotRequired[str | None]
    mask: NotRequired[str | None]


class _File(TypedDict):
    shapes: list[_Shape]
    imageHeight: NotRequired[Pixels | None]
    imageWidth: NotRequired[Pixels | None]


FILE = TypeAdapter(_File)


def read(data: bytes, path: Path) -> Export:
    """The picture of a file; StreetsegError if it is no such JSON or has an unknown shape."""
    tree = parse_json(data, FILE, path, "labelme")
    height, width = tree.get("imageHeight"), tree.get("imageWidth")
    shapes, dropped = [], Counter[str]()
    for each in tree["shapes"]:
        kind = each.get("shape_type") or "polygon"
        if len(each["points"]) < MIN_POINTS.get(kind, 2):
            dropped[f"{kind} with too few points"] += 1
        elif kind == "points":
            dropped["points"] += 1
        else:
            shapes.append(Shape(each["label"], kind, _geometry(kind, each, path)))
    size = (height, width) if height and width else None
    return Export((Picture(path.name, size, tuple(shapes), dropped),))


def _geometry(kind: str, shape: _Shape, path: Path) -> Geometry:
    corners = points(shape["points"])
    (left, top), (right, bottom) = corners[0].tolist(), corners[-1].tolist()
    match kind:
        case "polygon" | "oriented_rectangle":
            return Polygon((corners,))
        case "rectangle":
            return Rectangle(left, top, right, bottom)
        case "circle":
            radius = math.hypot(left - right, top - bottom)
            return Ellipse(left, top, radius, radius)
        case "line" | "linestrip":
            return Line(corners, LINE_WIDTH)
        case "point":
            return Ellipse(left, top, POINT_RADIUS, POINT_RADIUS)
        case "mask" if shape.get("mask"):
            (x, y), (last_x, last_y) = np.trunc(corners[:2]).astype(int).tolist()
            size = last_y - y + 1, last_x - x + 1
            return PngMask(shape["mask"] or "", x, y, size)
    raise StreetsegError(
        f"{path} holds a shape of the type '{kind}', which this version cannot draw: remove it, or "
        "draw it as a polygon"
    )
