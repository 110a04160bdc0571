"""What a label file says of a picture: labelled shapes, in the order in which they are drawn.

Coordinates are (x, y) in pixels from the upper left corner of the upright picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from streetseg.data.annotations.masks import Mask

READ, DROPPED, EMPTY, COVERED = "read", "dropped", "empty pictures", "pixels by order"
"""Keys of counts: shapes read and dropped, as ``read:polygon``; pictures without a shape; pixels
whose label hangs on the order of a file that may not have kept it."""


@dataclass(frozen=True, eq=False)
class Polygon:
    """The union of rings, without the holes."""

    rings: tuple[np.ndarray, ...]
    """float64[n, 2] each; the last point is joined to the first."""
    holes: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Rectangle:
    """An upright rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def ring(self) -> np.ndarray:
        """The corners: float64[4, 2]."""
        return np.array(
            [
                (self.left, self.top),
                (self.right, self.top),
                (self.right, self.bottom),
                (self.left, self.bottom),
            ],
            np.float64,
        )


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, turned clockwise by ``rotation`` degrees."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    rotation: float = 0.0


@dataclass(frozen=True, eq=False)
class Line:
    """A polyline, float64[n, 2], that is drawn ``width`` pixels wide."""

    points: np.ndarray
    width: int


@dataclass(frozen=True)
class Segment:
    """The pixels of a panoptic PNG with the value R + 256 G + 65536 B."""

    value: int


Geometry = Polygon | Rectangle | Ellipse | Line | Segment | Mask


@dataclass(frozen=True, eq=False)
class Shape:
    """A labelled geometry."""

    label: str
    kind: str
    """What the tool calls it, such as ``polygon``: shapes are counted by it."""
    geometry: Geometry


Unfinished = Literal["untouched", "skipped", "conflicting"]


@dataclass(frozen=True, eq=False)
class Picture:
    """The annotation of an image."""

    name: str
    """The path of the image, as the label file has it."""
    size: tuple[int, int] | None = None
    """(height, width); None where the file does not tell it."""
    shapes: tuple[Shape, ...] = ()
    """Later ones cover earlier ones."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """How many shapes were not read, by reason."""
    segments: Path | None = None
    """The panoptic PNG of its segments."""
    error: str = ""
    """Why the picture cannot be used; empty if it can."""
    unfinished: Unfinished | None = None
    """What kind of error that is, if nobody has finished the picture, or more than one has."""
    annotators: tuple[str, ...] = ()
    """Who annotated it, where the file tells it."""

    @cached_property
    def content_hash(self) -> str:
        """A digest of what is drawn, without the bytes of ``segments``."""
        return xxhash.xxh3_128_hexdigest(b"|".join(_parts((self.size, self.shapes))))


@dataclass(frozen=True)
class Export:
    """What was read from a label file."""

    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    """What the export has lost, each in one line."""


def _parts(value: Any) -> Iterator[bytes]:
    """The content of a value as bytes, in an order that never changes."""
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, tuple):
        yield b"%d" % len(value)
        for each in value:
            yield from _parts(each)
    elif names := getattr(value, "__dataclass_fields__", None):
        yield type(value).__name__.encode()
        for name in names:
            yield from _parts(getattr(value, name))
    else:
        yield value if isinstance(value, bytes) else repr(value).encode()
