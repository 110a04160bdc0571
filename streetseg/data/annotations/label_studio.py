"""Label Studio's JSON: a list of tasks, each with the regions of its annotators.

Regions are drawn in the order of the list. Coordinates are per cent of the picture as it is shown,
that is, turned by its Exif orientation; the alpha of a brush counts from a half. Predictions and
drafts are not read. Source: labelstud.io, "Export annotations", and what a server 1.23 exports.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, NotRequired
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import Number, Pixels, parse_json, points
from streetseg.data.annotations.masks import BrushRle
from streetseg.data.annotations.shapes import (
    Ellipse,
    Export,
    Geometry,
    Picture,
    Polygon,
    Shape,
    Unfinished,
)

DECIMALS = 6
"""Of pixels: what is left of a coordinate after the way to per cent and back."""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Of addresses of images."""
WITHOUT_AREA = ("keypoint", "vector", "polyline")
OUTLINES = {"points", "rle", "x", "imageDataURL"}
"""Keys of which a region with an area has one; choices and texts about a region have none."""
KINDS = {"polygon": "polygon", "rectangle": "box", "ellipse": "ellipse", "brush": "brush"}
"""What our counts call a kind of region."""


class _Region(TypedDict):
    id: NotRequired[str]
    type: str
    value: NotRequired[dict[str, Any]]
    original_width: NotRequired[Pixels]
    original_height: NotRequired[Pixels]
    image_rotation: NotRequired[Number | None]


class _Annotation(TypedDict):
    result: list[_Region]
    was_cancelled: NotRequired[bool | None]
    ground_truth: NotRequired[bool | None]
    completed_by: NotRequired[int | dict[str, Any] | None]


class _Task(TypedDict):
    id: int
    data: dict[str, Any]
    annotations: list[_Annotation]
    file_upload: NotRequired[str | None]


class _MinTask(TypedDict):
    annotation_id: int
    id: int


class _Polygon(TypedDict):
    points: list[tuple[Number, Number]]
    closed: NotRequired[bool]


class _Box(TypedDict):
    x: Number
    y: Number
    width: Number
    height: Number
    rotation: NotRequired[Number | None]


class _Ellipse(TypedDict):
    x: Number
    y: Number
    radiusX: Number
    radiusY: Number
    rotation: NotRequired[Number | None]


class _Brush(TypedDict):
    rle: list[int]


FILE: TypeAdapter[list[_Task]] = TypeAdapter(list[_Task])
MIN_FILE: TypeAdapter[list[_MinTask]] = TypeAdapter(list[_MinTask])
VALUES: dict[str, TypeAdapter[Any]] = {
    "polygon": TypeAdapter(_Polygon),
    "rectangle": TypeAdapter(_Box),
    "ellipse": TypeAdapter(_Ellipse),
    "brush": TypeAdapter(_Brush),
}


class _UnusableError(Exception):
    """Why an annotation cannot be used."""


def read(data: bytes, path: Path) -> Export:
    """The pictures of a file, with an ``error`` where there is no single annotation.

    Raises:
        StreetsegError: it is no such JSON, or JSON_MIN, which does not tell the order of regions.
    """
    try:
        tasks = parse_json(data, FILE, path, "Label Studio")
    except StreetsegError:
        _refuse_min(data, path)
        raise
    return Export(tuple(map(_picture, tasks)))


def _refuse_min(data: bytes, path: Path) -> None:
    try:
        tasks = MIN_FILE.validate_json(data)
    except ValidationError:
        return
    if tasks:
        raise StreetsegError(
            f"{path} is Label Studio's JSON_MIN, which sorts regions by tool, so that the order in "
            "which they were drawn is lost: export JSON"
        )


def _picture(task: _Task) -> Picture:
    names = _file_names(task)
    name = names[0] if names else f"task {task['id']}"
    if len(names) != 1:
        return Picture(name, error=f"task {task['id']} of Label Studio has {len(names)} pictures")
    finished = [each for each in task["annotations"] if not each.get("was_cancelled")]
    chosen = [each for each in finished if each.get("ground_truth")] or finished
    if len(chosen) != 1:
        reason, unfinished = _unfinished(len(chosen), bool(task["annotations"]))
        error = f"task {task['id']} of Label Studio {reason}"
        return Picture(name, error=error, unfinished=unfinished)
    regions = [each for each in chosen[0]["result"] if "original_width" in each]
    sizes = {(each["original_height"], each["original_width"]) for each in regions}
    shapes, dropped = [], Counter[str]()
    try:
        if len(sizes) > 1:
            raise _UnusableError("has regions of pictures of several sizes")
        labelled = {each.get("id") for each in regions if _labels(each)}
        for number, each in enumerate(regions, 1):
            kind = _kind(each)
            if not _labels(each) and each.get("id") in labelled:
                continue  # an outline and its label may be two regions, which both have the outline
            if reason := _reason_to_drop(kind, each):
                dropped[reason] += 1
                continue
            geometry = _geometry(kind, each, number)
            if isinstance(geometry, Polygon) and len(geometry.rings[0]) < 3:
                dropped["polygon without an area"] += 1
            else:
                shapes.append(Shape(_label(each, number), KINDS[kind], geometry))
    except _UnusableError as error:
        return Picture(name, error=f"task {task['id']} of Label Studio {error}")
    size, annotators = next(iter(sizes), None), _annotators(chosen[0])
    return Picture(name, size, tuple(shapes), dropped, annotators=annotators)


def _unfinished(annotations: int, some: bool) -> tuple[str, Unfinished]:
    """What a task has that has no single annotation, or ``some`` that were cancelled."""
    if annotations:
        reason = (
            f"has {annotations} annotations: mark one as ground truth there, or delete the others"
        )
        return reason, "conflicting"
    return ("was skipped", "skipped") if some else ("has no annotation", "untouched")


def _annotators(annotation: _Annotation) -> tuple[str, ...]:
    match annotation.get("completed_by"):
        case {"email": str(email)}:
            return (email,)
        case {"id": number} | int(number):
            return (f"user {number}",)
    return ()


def _kind(region: _Region) -> str:
    """``polygon``, ``rectangle``, ``ellipse``, ``brush``, or another type; from ``brushlabels``."""
    kind, value = region["type"].lower().removesuffix("labels"), region.get("value", {})
    if kind:
        return kind
    keys = {"points": "polygon", "rle": "brush", "radiusX": "ellipse", "width": "rectangle"}
    return next((name for key, name in keys.items() if key in value), region["type"])


def _reason_to_drop(kind: str, region: _Region) -> str:
    """Why a region is no area of one label; empty if it is."""
    value = region.get("value", {})
    if kind.startswith(WITHOUT_AREA) or not OUTLINES & value.keys():
        return kind
    if value.get("closed") is False:
        return "open polygon"
    return "" if _labels(region) else "region without a label"


def _labels(region: _Region) -> list[str]:
    named = [each for key, each in region.get("value", {}).items() if key.endswith("labels")]
    return [str(name) for names in named if isinstance(names, list) for name in names]


def _label(region: _Region, number: int) -> str:
    if len(names := _labels(region)) != 1:
        raise _UnusableError(f"has {len(names)} labels at its region {number}: one is needed")
    return names[0]


def _geometry(kind: str, region: _Region, number: int) -> Geometry:
    if region.get("image_rotation"):
        raise _UnusableError("was annotated while turned by hand: turn it back there")
    if kind not in VALUES:
        raise _UnusableError(f"has a region of the type '{region['type']}', which cannot be drawn")
    width, height = region["original_width"], region["original_height"]
    try:
        value = VALUES[kind].validate_python(region.get("value"))
        if kind == "brush":
            return BrushRle(bytes(value["rle"]), width, height)
    except ValueError:  # ValidationError is one
        raise _UnusableError(f"has a damaged region {number}: export it again") from None
    to_pixels = np.array([width, height]) / 100
    if kind == "polygon":
        return Polygon((np.round(points(value["points"]) * to_pixels, DECIMALS),))
    start = np.array([value["x"], value["y"]]) * to_pixels
    angle = float(value.get("rotation") or 0)
    if kind == "ellipse":
        radii = np.array([value["radiusX"], value["radiusY"]]) * to_pixels
        x, y, across, down = np.round([*start, *radii], DECIMALS).tolist()
        return Ellipse(x, y, across, down, angle)
    across, down = np.array([value["width"], value["height"]]) * to_pixels
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = np.array([(0, 0), (across, 0), (across, down), (0, down)])
    turned = corners @ np.array([(cosine, sine), (-sine, cosine)])  # about the upper left corner
    return Polygon((np.round(start + turned, DECIMALS),))


def _file_names(task: _Task) -> list[str]:
    """The paths of the task's images: of the upload, or else the addresses in its data."""
    if upload := task.get("file_upload"):
        return [upload]
    paths = []
    for address in task["data"].values():
        if isinstance(address, str):
            url = urlsplit(address)
            local = parse_qs(url.query).get("d")  # /data/local-files/?d=folder/name.png
            paths.append(local[0] if local else unquote(url.path))
    return [path for path in paths if PurePosixPath(path).suffix.lower() in ENDINGS]
