"""Polygons of Cityscapes and IDD: ``*_polygons.json``, one file a picture.

Objects are drawn in the order of the file. Deleted ones are left out, as are labels whose id is
negative. Source: cityscapesScripts, preparation/json2labelImg.py; AutoNUE, json2labelImg.py.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from streetseg.data.annotations.files import Number, Pixels, parse_json, points
from streetseg.data.annotations.shapes import Export, Picture, Polygon, Shape


class _Object(TypedDict):
    label: str
    polygon: list[tuple[Number, Number]]
    deleted: NotRequired[bool | int]
    user: NotRequired[object]


class _File(TypedDict):
    imgHeight: Pixels
    imgWidth: Pixels
    objects: list[_Object]


FILE = TypeAdapter(_File)


def read(data: bytes, path: Path) -> Export:
    """The picture of a file; StreetsegError if it is no such JSON."""
    tree = parse_json(data, FILE, path, "Cityscapes polygons")
    shapes, dropped = [], Counter[str]()
    for each in tree["objects"]:
        if each.get("deleted"):
            dropped["deleted"] += 1
        elif len(each["polygon"]) < 2:  # Pillow draws two points as a line
            dropped["polygon without an area"] += 1
        else:
            shapes.append(Shape(each["label"], "polygon", Polygon((points(each["polygon"]),))))
    size = tree["imgHeight"], tree["imgWidth"]
    users = (each.get("user") for each in tree["objects"])
    annotators = tuple(sorted({user for user in users if user and isinstance(user, str)}))
    picture = Picture(path.name, size, tuple(shapes), dropped, annotators=annotators)
    return Export((picture,))
