"""Reading JSON of other tools: one clear line for anything that is not as expected."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from streetseg.core.errors import StreetsegError

Tree = TypeVar("Tree")

Number = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=100_000)]
"""A width or height."""

KEYS = {
    "COCO": {"images", "annotations", "categories"},
    "Cityscapes polygons": {"imgHeight", "imgWidth", "objects"},
    "labelme": {"shapes"},
    "Supervisely": {"size", "objects"},
}
"""Keys by which the JSON files of tools are known."""
LABEL_STUDIO = "Label Studio"

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_bytes(path: Path) -> bytes:
    """The content of a file; StreetsegError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StreetsegError(f"cannot read {path}: {error.strerror}") from None


def parse_json(data: bytes, adapter: TypeAdapter[Tree], path: Path, kind: str) -> Tree:
    """The typed content of a JSON file of a kind such as ``COCO``.

    Raises:
        StreetsegError: it is no JSON, or not of this kind: where, and what is wrong.
    """
    try:
        return adapter.validate_json(data.removeprefix(BYTE_ORDER_MARK))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            reason = first["ctx"]["error"]
            raise StreetsegError(
                f"{path} is not valid JSON ({reason}): export or copy it again"
            ) from None
        where = ".".join(map(str, first["loc"]))
        reason = f"'{where}': {first['msg'].lower()}" if where else first["msg"].lower()
        looks = json_kind(data)
        other = f"; it looks like one of {looks}" if looks not in ("", kind) else ""
        raise StreetsegError(f"{path} is not a label file of {kind}: {reason}{other}") from None


def json_kind(data: bytes) -> str:
    """The tool whose JSON this is by its keys; empty if it is not known."""
    tree = from_json(data.removeprefix(BYTE_ORDER_MARK))
    if isinstance(tree, list):
        return LABEL_STUDIO if tree and isinstance(tree[0], dict) and "id" in tree[0] else ""
    keys = tree.keys() if isinstance(tree, dict) else set()
    return next((kind for kind, needed in KEYS.items() if needed <= keys), "")


def points(pairs: Iterable[Iterable[float]]) -> np.ndarray:
    """Pairs as float64[n, 2]."""
    return np.fromiter(chain.from_iterable(pairs), np.float64).reshape(-1, 2)


def flat_points(coordinates: list[float]) -> np.ndarray:
    """Numbers in turn as float64[n, 2]; an odd last one is left out, as pycocotools does."""
    return np.array(coordinates[: len(coordinates) // 2 * 2], np.float64).reshape(-1, 2)
