"""nuImages: tables of one split, whose rows refer to each other by tokens.

The label file is ``sample_data.json``; the tables of masks and categories lie beside it. Surfaces
are drawn in the order of their table, then objects in that of their tokens. Source:
nutonomy/nuscenes-devkit d9de17a, python-sdk/nuimages/nuimages.py, get_segmentation, and
docs/schema_nuimages.md.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections import Counter, defaultdict
from pathlib import Path
from typing import NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import Pixels, parse_json, read_bytes
from streetseg.data.annotations.masks import CocoString
from streetseg.data.annotations.shapes import Export, Picture, Shape

KIND = "nuImages"
SURFACES, OBJECTS, CATEGORIES = "surface_ann.json", "object_ann.json", "category.json"
NO_MASK = "annotation without a mask"


class _Image(TypedDict):
    token: str
    filename: str
    is_key_frame: bool
    width: NotRequired[Pixels]
    height: NotRequired[Pixels]


class _Category(TypedDict):
    token: str
    name: str


class _Rle(TypedDict):
    counts: str
    size: tuple[Pixels, Pixels]


class _Annotation(TypedDict):
    token: str
    sample_data_token: str
    category_token: str
    mask: _Rle | None


IMAGES = TypeAdapter(list[_Image])
ANNOTATIONS = TypeAdapter(list[_Annotation])
NAMES = TypeAdapter(list[_Category])


def read(data: bytes, path: Path) -> Export:
    """The key frames of a split; the other images have no annotation.

    Raises:
        StreetsegError: a table is missing or no such JSON, or an annotation is of a category or
            image that is not listed, or is damaged.
    """
    images = parse_json(data, IMAGES, path, KIND)
    folder = path.parent
    categories = parse_json(read_bytes(folder / CATEGORIES), NAMES, folder / CATEGORIES, KIND)
    names = {each["token"]: each["name"] for each in categories}
    key_frames = {each["token"]: each for each in images if each["is_key_frame"]}
    shapes: dict[str, list[Shape]] = defaultdict(list)
    dropped: dict[str, Counter[str]] = defaultdict(Counter)
    for table, kind in ((SURFACES, "surface"), (OBJECTS, "object")):
        rows = parse_json(read_bytes(folder / table), ANNOTATIONS, folder / table, KIND)
        for row in sorted(rows, key=lambda row: row["token"]) if table == OBJECTS else rows:
            image, category = row["sample_data_token"], row["category_token"]
            if image not in key_frames or category not in names:
                listing = path if image not in key_frames else folder / CATEGORIES
                raise StreetsegError(
                    f"{folder / table} has the annotation {row['token']} of "
                    f"{image if listing == path else category}, which {listing} does not list: "
                    "unpack the archive again"
                )
            if row["mask"] is None:
                dropped[image][NO_MASK] += 1
                continue
            mask = _mask(row["mask"], f"{folder / table}: {row['token']}")
            shapes[image].append(Shape(names[category], kind, mask))
    return Export(
        tuple(
            Picture(image["filename"], _size(image), tuple(shapes[token]), dict(dropped[token]))
            for token, image in key_frames.items()
        )
    )


def _size(image: _Image) -> tuple[int, int] | None:
    if "height" in image and "width" in image:
        return image["height"], image["width"]
    return None


def _mask(rle: _Rle, where: str) -> CocoString:
    height, width = rle["size"]
    try:
        return CocoString(b64decode(rle["counts"], validate=True), width, height)
    except binascii.Error:
        raise StreetsegError(f"{where} has a damaged mask: unpack the archive again") from None
