"""Supervisely's JSON, one file a picture: polygons with holes, boxes, bitmaps.

Objects are drawn in the order of the file. Source: docs.supervisely.com, "Supervisely annotation
format"; supervisely, geometry/polygon.py and bitmap.py.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import Number, Pixels, parse_json, points
from streetseg.data.annotations.masks import PngMask
from streetseg.data.annotations.shapes import (
    Export,
    Geometry,
    Picture,
    Polygon,
    Rectangle,
    Shape,
)

WITHOUT_AREA = ("point", "line", "polyline", "graph", "cuboid", "cuboid_3d")


class _Size(TypedDict):
    height: Pixels
    width: Pixels


class _Points(TypedDict):
    exterior: list[tuple[Number, Number]]
    interior: NotRequired[list[list[tuple[Number, Number]]]]


class _Bitmap(TypedDict):
    data: str
    origin: tuple[int, int]


class _Object(TypedDict):
    classTitle: str
    geometryType: str
    points: NotRequired[_Points]
    bitmap: NotRequired[_Bitmap | None]


class _File(TypedDict):
    size: _Size
    objects: list[_Object]


FILE = TypeAdapter(_File)


def read(data: bytes, path: Path) -> Export:
    """The picture of a file; StreetsegError if it is no such JSON or has an unknown shape."""
    tree = parse_json(data, FILE, path, "Supervisely")
    shapes, dropped = [], Counter[str]()
    for each in tree["objects"]:
        kind = each["geometryType"]
        outline = each.get("points", {"exterior": []})["exterior"]
        if kind in WITHOUT_AREA:
            dropped[kind] += 1
        elif kind == "polygon" and len(outline) < 3:
            dropped["polygon without an area"] += 1
        else:
            shapes.append(Shape(each["classTitle"], kind, _geometry(each, path)))
    size = tree["size"]["height"], tree["size"]["width"]
    return Export((Picture(path.name, size, tuple(shapes), dropped),))


def _geometry(shape: _Object, path: Path) -> Geometry:
    outline, bitmap = shape.get("points"), shape.get("bitmap")
    match shape["geometryType"]:
        case "polygon" if outline:
            holes = tuple(points(hole) for hole in outline.get("interior", []))
            return Polygon((points(outline["exterior"]),), holes)
        case "rectangle" if outline and len(outline["exterior"]) == 2:
            corners = points(outline["exterior"])
            return Rectangle(*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
        case "bitmap" if bitmap:
            return PngMask(bitmap["data"], *bitmap["origin"], compressed=True)
    raise StreetsegError(
        f"{path} holds an object of the type '{shape['geometryType']}' that cannot be drawn: "
        "export it as polygons or bitmaps"
    )
