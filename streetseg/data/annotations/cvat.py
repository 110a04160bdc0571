"""CVAT for images 1.1: one XML file for many pictures.

Shapes are drawn by ``z_order``, and those of one order as listed; ``group_id`` joins parts of an
object and changes nothing here. Source: docs.cvat.ai, "CVAT for images export"; CVAT,
dataset_manager/formats/transformations.py.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import points
from streetseg.data.annotations.masks import RunLengths
from streetseg.data.annotations.shapes import Ellipse, Export, Geometry, Picture, Polygon, Shape
from streetseg.data.annotations.xml_files import parse_xml

WITHOUT_AREA = ("points", "polyline", "tag", "skeleton", "cuboid")


def read(data: bytes, path: Path) -> Export:
    """The pictures of a file; StreetsegError if it is no such XML or has an unknown shape."""
    root = parse_xml(data, path)
    if root.find("track") is not None:
        raise StreetsegError(
            f"{path} is 'CVAT for video', which tells shapes at key frames only: export 'CVAT for "
            "images 1.1'"
        )
    if root.tag != "annotations":
        hint = (
            ": LabelMe's XML tells no drawing order and is not read: export CVAT or COCO"
            if root.tag == "annotation"
            else ""
        )
        raise StreetsegError(f"{path} is not a label file of CVAT: its root is <{root.tag}>{hint}")
    annotators = _annotators(root)
    return Export(tuple(_picture(image, path, annotators) for image in root.iter("image")))


def _annotators(root: Element) -> tuple[str, ...]:
    """To whom the task or its jobs are assigned, or else who owns the task."""
    if (meta := root.find("meta")) is None:
        return ()
    for role in ("assignee", "owner"):
        names = (each.findtext("username") or each.text or "" for each in meta.iter(role))
        if found := sorted({name.strip() for name in names if name.strip()}):
            return tuple(found)
    return ()


def _picture(image: Element, path: Path, annotators: tuple[str, ...]) -> Picture:
    shapes: list[tuple[int, Shape]] = []
    dropped = Counter[str]()
    try:
        name, size = image.attrib["name"], (int(image.attrib["height"]), int(image.attrib["width"]))
        for each in image:
            if each.tag in WITHOUT_AREA:
                dropped[each.tag] += 1
                continue
            geometry = _geometry(each)
            if isinstance(geometry, Polygon) and len(geometry.rings[0]) < 3:
                dropped["polygon without an area"] += 1
                continue
            order = int(each.attrib.get("z_order", 0))
            shapes.append((order, Shape(each.attrib["label"], each.tag, geometry)))
    except (KeyError, ValueError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        where = image.attrib.get("name", "without a name")
        raise StreetsegError(f"{path}: the image {where} cannot be read: {reason}") from None
    shapes.sort(key=lambda shape: shape[0])
    drawn = tuple(shape for _, shape in shapes)
    return Picture(name, size, drawn, dropped, annotators=annotators)


def _geometry(element: Element) -> Geometry:
    attributes = element.attrib
    match element.tag:
        case "polygon":
            pairs = [pair.split(",") for pair in attributes["points"].split(";") if pair]
            return Polygon((_finite(points([[float(x), float(y)] for x, y in pairs])),))
        case "box":
            left, top, right, bottom = _numbers(element, "xtl", "ytl", "xbr", "ybr")
            corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
            return Polygon((turned(corners, float(attributes.get("rotation", 0))),))
        case "ellipse":
            x, y, across, down = _numbers(element, "cx", "cy", "rx", "ry")
            return Ellipse(x, y, across, down, float(attributes.get("rotation", 0)))
        case "mask":
            counts = np.array(attributes["rle"].split(","), np.int64)
            x, y, width, height = (
                int(attributes[key]) for key in ("left", "top", "width", "height")
            )
            return RunLengths(counts, x, y, width, height)
    raise ValueError(f"a shape of the kind <{element.tag}>, which this version cannot draw")


def turned(corners: np.ndarray, degrees: float) -> np.ndarray:
    """Corners float64[4, 2] of an upright box, turned clockwise about its centre."""
    if not degrees:
        return corners
    center, angle = corners[[0, 2]].mean(axis=0), math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    return center + (corners - center) @ np.array([(cosine, sine), (-sine, cosine)])


def _numbers(element: Element, *keys: str) -> list[float]:
    return _finite(np.array([float(element.attrib[key]) for key in keys])).tolist()


def _finite(numbers: np.ndarray) -> np.ndarray:
    if not np.isfinite(numbers).all():
        raise ValueError("a coordinate that is no finite number")
    return numbers
