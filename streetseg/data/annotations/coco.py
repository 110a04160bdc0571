"""COCO: instances (polygons, run lengths) and panoptic segments, many pictures in a file.

Annotations are drawn in the order of the file: COCO has no other. Several polygons of one are
joined, so holes exist in run lengths alone. ``iscrowd`` says how a mask is stored or that objects
were not told apart: such annotations are drawn like others. Source: cocodataset.org, "Data format";
pycocotools, coco.py, annToMask.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NotRequired

import numpy as np
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import Number, Pixels, flat_points, parse_json
from streetseg.data.annotations.masks import CocoString, RunLengths
from streetseg.data.annotations.shapes import Export, Picture, Polygon, Segment, Shape

Id = int | str
NO_OUTLINE = "box without an outline"
LABEL_STUDIO = "label studio"


class _Image(TypedDict):
    id: Id
    file_name: str
    width: NotRequired[int | None]
    height: NotRequired[int | None]


class _Category(TypedDict):
    id: Id
    name: str


class _Rle(TypedDict):
    counts: list[int] | str
    size: tuple[Pixels, Pixels]


class _Segment(TypedDict):
    id: int
    category_id: Id


class _Annotation(TypedDict):
    image_id: Id
    id: NotRequired[Id]
    category_id: NotRequired[Id]
    segmentation: NotRequired[list[list[Number]] | _Rle | None]
    segments_info: NotRequired[list[_Segment]]
    file_name: NotRequired[str]


class _File(TypedDict):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]
    info: NotRequired[object]


FILE = TypeAdapter(_File)


def read(data: bytes, path: Path) -> Export:
    """The pictures of a file.

    Raises:
        StreetsegError: it is no such JSON, an id of an image or category occurs twice, a category
            is missing, or Label Studio wrote it, which leaves brush regions out.
    """
    tree = parse_json(data, FILE, path, "COCO")
    _refuse_label_studio(tree, path)
    names = {each["id"]: each["name"] for each in tree["categories"]}
    _refuse_repeated("category", [each["id"] for each in tree["categories"]], path)
    _refuse_repeated("image", [each["id"] for each in tree["images"]], path)
    of_image: dict[Id, list[_Annotation]] = defaultdict(list)
    for each in tree["annotations"]:
        used = each.get("segments_info", [each])
        for category in (part.get("category_id") for part in used):
            if category not in names:
                raise StreetsegError(
                    f"{path} has an annotation of the category {category}, which it does not list: "
                    "export it again"
                )
        of_image[each["image_id"]].append(each)
    pictures = tuple(
        _picture(each, of_image.pop(each["id"], []), names, path) for each in tree["images"]
    )
    return Export(pictures, _notes(tree["annotations"], sum(map(len, of_image.values())), path))


def _picture(
    image: _Image, annotations: list[_Annotation], names: dict[Id, str], path: Path
) -> Picture:
    name = image["file_name"]
    height, width = image.get("height"), image.get("width")
    size = (height, width) if height and width else None
    panoptic = [each for each in annotations if "segments_info" in each]
    if len(panoptic) > 1:
        raise StreetsegError(f"{path} has two panoptic annotations of {name}: export it again")
    if panoptic:
        shapes = [
            Shape(names[each["category_id"]], "segment", Segment(each["id"]))
            for each in panoptic[0]["segments_info"]
        ]
        png = path.parent / path.stem / panoptic[0].get("file_name", f"{Path(name).stem}.png")
        return Picture(name, size, tuple(shapes), segments=png)
    shapes, dropped = [], Counter[str]()
    for each in annotations:
        label, outline = names[each["category_id"]], each.get("segmentation")
        if isinstance(outline, dict):
            shapes.append(Shape(label, "mask", _mask(outline)))
            continue
        rings = tuple(flat_points(ring) for ring in outline or [] if len(ring) >= 6)
        if rings:
            shapes.append(Shape(label, "polygon", Polygon(rings)))
        else:
            dropped["polygon without an area" if outline else NO_OUTLINE] += 1
    return Picture(name, size, tuple(shapes), dropped)


def _mask(rle: _Rle) -> CocoString | RunLengths:
    height, width = rle["size"]
    if isinstance(counts := rle["counts"], str):
        return CocoString(counts.encode(), width, height)
    return RunLengths(np.array(counts, np.int64), 0, 0, width, height, by_columns=True)


def _notes(annotations: list[_Annotation], homeless: int, path: Path) -> tuple[str, ...]:
    repeated = _repeated([each["id"] for each in annotations if "id" in each])
    closed = sum(
        len(ring) > 6 and ring[:2] == ring[-2:]
        for each in annotations
        if isinstance(outline := each.get("segmentation"), list)
        for ring in outline
    )
    boxes = sum(not (each.get("segmentation") or "segments_info" in each) for each in annotations)
    notes = []
    if repeated:
        notes.append(
            f"{path}: {len(repeated)} annotation ids occur more than once; annotations were taken "
            "by their image, but pycocotools mixes them up"
        )
    if closed:
        notes.append(
            f"{path}: {closed} polygons repeat their first point, as outlines of masks do: holes "
            "are lost, and masks lose a row and a column; masks as run lengths (Datumaro: "
            "segmentation_mode=mask) or CVAT for images 1.1 keep them"
        )
    if boxes:
        notes.append(
            f"{path}: {boxes} boxes have no outline and are left out; 'CVAT for images 1.1' and "
            "the JSON of Label Studio have their area"
        )
    if homeless:
        notes.append(f"{path}: {homeless} annotations of images that it does not list, left out")
    return tuple(notes)


def _refuse_label_studio(tree: _File, path: Path) -> None:
    info = tree.get("info")
    written_by = str(info.get("contributor", "")) if isinstance(info, dict) else ""
    if LABEL_STUDIO in written_by.lower():
        raise StreetsegError(
            f"{path} is Label Studio's COCO, which leaves out or fills brush regions and stretches "
            "polygons of pictures turned by Exif: export JSON there, and set 'format: label-studio'"
        )


def _refuse_repeated(what: str, ids: list[Id], path: Path) -> None:
    if repeated := _repeated(ids):
        raise StreetsegError(
            f"{path}: the {what} id {repeated[0]} occurs twice, so that its annotations are not "
            "known apart: export it again, or give each file its own pair"
        )


def _repeated(ids: list[Id]) -> list[Id]:
    return [number for number, count in Counter(ids).items() if count > 1]
