"""Shapes drawn to label ids, by the rasteriser of the tool that made them.

``pillow``: Pillow's polygons, as the scripts of Cityscapes and IDD draw them.
``labelme``: Pillow with outlines, as labelme draws: edges are inside.
``pycocotools``: COCO's, also Datumaro's and CVAT's: on a raster of a fifth of a pixel, right and
lower edges are outside.
``opencv``: fillPoly on whole pixels, as Supervisely draws: edges are inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw

from streetseg.data.annotations.masks import (
    BrushRle,
    CocoString,
    Mask,
    PngMask,
    RunLengths,
    decode_coco_counts,
)
from streetseg.data.annotations.shapes import Ellipse, Geometry, Line, Polygon, Rectangle
from streetseg.images.errors import BadImageError

Rasterizer = Literal["pillow", "labelme", "pycocotools", "opencv"]

MAX_COORDINATE = 100_000
"""Pixels; rasterisers count in 32 bits and walk along every edge."""

MAX_OUTLINE = 2_000_000
"""Pixels along a ring. Honest ones have thousands; pycocotools stores five points for each."""

Drawn = Sequence[tuple[Geometry, int]]
"""Geometries and the label ids to draw them with; later ones cover earlier ones."""

Spans = Sequence[tuple[int, int]]
"""Starts and ends of pixels, counted column by column."""


def rasterize(
    drawn: Drawn, size: tuple[int, int], blank: int, rasterizer: Rasterizer
) -> np.ndarray:
    """Draw to label ids uint8[height, width], which are ``blank`` where nothing is drawn.

    Raises:
        BadImageError: a point lies far outside, or a mask is damaged or of another size.
    """
    draw = {"pillow": _pillow, "labelme": _labelme, "opencv": _opencv}.get(rasterizer)
    return draw(drawn, size, blank) if draw else CocoDrawing(drawn, size).paint(blank)


def _pillow(drawn: Drawn, size: tuple[int, int], blank: int, outline: bool = False) -> np.ndarray:
    image = Image.new("L", size[::-1], blank)
    canvas = ImageDraw.Draw(image)
    for geometry, value in drawn:
        edge = value if outline else None
        match geometry:
            case Polygon(rings):
                for ring in rings:
                    canvas.polygon(_checked(ring).ravel().tolist(), fill=value, outline=edge)
            case Rectangle():
                corners = _checked(geometry.ring)
                canvas.rectangle(
                    [*corners.min(axis=0), *corners.max(axis=0)], fill=value, outline=edge
                )
            case Ellipse(x, y, across, down):
                box = _checked(np.array([(x - across, y - down), (x + across, y + down)]))
                canvas.ellipse(box.ravel().tolist(), fill=value, outline=edge)
            case Line(points, width):
                canvas.line(_checked(points).ravel().tolist(), fill=value, width=width)
            case _:
                mask, x, y = _decoded(geometry, size)
                image.paste(value, (x, y), Image.fromarray(mask))
    return np.array(image)


def _labelme(drawn: Drawn, size: tuple[int, int], blank: int) -> np.ndarray:
    return _pillow(drawn, size, blank, outline=True)


def _opencv(drawn: Drawn, size: tuple[int, int], blank: int) -> np.ndarray:
    ids = np.full(size, blank, np.uint8)
    for geometry, value in drawn:
        mask = np.zeros(size, np.uint8)
        match geometry:
            case Polygon(rings, holes):
                cv2.fillPoly(mask, [_whole(ring) for ring in rings], 1)
                if holes:
                    cv2.fillPoly(mask, [_whole(ring) for ring in holes], 0)
            case Rectangle():
                first, _, last, _ = _whole(geometry.ring).tolist()
                cv2.rectangle(mask, first, last, 1, cv2.FILLED)
            case _:
                pixels, x, y = _decoded(geometry, size)
                _paste(mask, pixels, x, y, 1)
        ids[mask == 1] = value
    return ids


Painter = Callable[[np.ndarray, int], None]
"""Draws a label id into uint8[width, height], whose columns are those of the picture."""


class CocoDrawing:
    """Geometries on COCO's raster, to be painted in any order."""

    def __init__(self, drawn: Drawn, size: tuple[int, int]) -> None:
        """Find the pixels of each; BadImageError as :func:`rasterize`."""
        self._size = size
        spans_of_rings = iter(_coco_spans([r for each, _ in drawn for r in _rings(each)], size))
        self._layers: list[tuple[Painter, int]] = []
        for geometry, value in drawn:
            if count := len(_rings(geometry)):
                rings = [next(spans_of_rings) for _ in range(count)]
                paint = _span_painter(rings[0] if count == 1 else [*chain.from_iterable(rings)])
            else:
                paint = self._mask_painter(geometry)
            self._layers.append((paint, value))

    def paint(self, blank: int) -> np.ndarray:
        """Label ids uint8[height, width], of which later ones cover earlier ones."""
        return cv2.transpose(self._columns(self._layers, blank))

    def paint_and_count(self, blank: int) -> tuple[np.ndarray, int]:
        """Like :meth:`paint`, and how many pixels differ if earlier ones cover later ones."""
        ids, backwards = (self._columns(each, blank) for each in (self._layers, self._layers[::-1]))
        return cv2.transpose(ids), int(np.count_nonzero(ids != backwards))

    def _columns(self, layers: Sequence[tuple[Painter, int]], blank: int) -> np.ndarray:
        columns = np.full(self._size[::-1], blank, np.uint8)
        for paint, value in layers:
            paint(columns, value)
        return columns

    def _mask_painter(self, geometry: Geometry) -> Painter:
        match geometry:
            case CocoString() | RunLengths(by_columns=True):
                runs = geometry.runs() if isinstance(geometry, CocoString) else geometry
                _refuse_other_size(runs, self._size)
                return _span_painter(_spans(runs.checked_counts))
            case Ellipse(x, y, across, down, rotation):
                center, radii = _whole(np.array([(x, y), (across, down)])).tolist()
                mask = np.zeros(self._size, np.uint8)
                cv2.ellipse(mask, center, radii, rotation, 0, 360, 1, cv2.FILLED)
                return _paster(mask == 1, 0, 0)
        return _paster(*_decoded(geometry, self._size))


def _rings(geometry: Geometry) -> tuple[np.ndarray, ...]:
    if isinstance(geometry, Rectangle):
        return (geometry.ring,)
    return geometry.rings if isinstance(geometry, Polygon) else ()


def _span_painter(spans: Spans) -> Painter:
    def paint(columns: np.ndarray, value: int) -> None:
        flat = columns.reshape(-1)
        for start, end in spans:
            flat[start:end] = value

    return paint


def _paster(mask: np.ndarray, x: int, y: int) -> Painter:
    return lambda columns, value: _paste(columns.T, mask, x, y, value)


def _paste(ids: np.ndarray, mask: np.ndarray, x: int, y: int, value: int) -> None:
    region = ids[y : y + mask.shape[0], x : x + mask.shape[1]]
    region[mask] = value


def _coco_spans(rings: Sequence[np.ndarray], size: tuple[int, int]) -> list[Spans]:
    """The pixels of each ring, counted column by column, as spans."""
    from pycocotools import mask as coco

    if not rings:
        return []
    for ring in rings:
        steps = np.abs(np.diff(_checked(ring), axis=0, append=ring[:1]))
        if steps.max(axis=1).sum() > MAX_OUTLINE:
            raise BadImageError(
                f"holds a polygon whose outline is longer than {MAX_OUTLINE} pixels"
            )
    encoded = coco.frPyObjects([ring.ravel().tolist() for ring in rings], *size)
    return [_spans(counts) for counts in decode_coco_counts([each["counts"] for each in encoded])]


def _spans(counts: np.ndarray) -> Spans:
    ends = counts.cumsum().tolist()
    return list(zip(ends[0::2], ends[1::2], strict=False))


def _decoded(geometry: Geometry, size: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """The pixels of a mask, bool[h, w], and its upper left corner."""
    assert isinstance(geometry, Mask), geometry
    if isinstance(geometry, CocoString):
        geometry = geometry.runs()
    if isinstance(geometry, RunLengths):  # before anything of its size is allocated
        _refuse_outside(geometry, (geometry.height, geometry.width), size)
    pixels = geometry.decode()
    _refuse_outside(geometry, pixels.shape, size)
    return pixels, geometry.x, geometry.y


def _refuse_outside(
    mask: RunLengths | BrushRle | PngMask, shape: Sequence[int], size: tuple[int, int]
) -> None:
    x, y = mask.x, mask.y
    if x < 0 or y < 0 or y + shape[0] > size[0] or x + shape[1] > size[1]:
        raise BadImageError(
            f"holds a mask of {shape[1]}x{shape[0]} at ({x}, {y}), which is not inside the image "
            f"of {size[1]}x{size[0]}"
        )


def _refuse_other_size(runs: RunLengths, size: tuple[int, int]) -> None:
    if (runs.height, runs.width) != size:
        raise BadImageError(
            f"holds a mask of {runs.width}x{runs.height} in an image of {size[1]}x{size[0]}"
        )


def _checked(points: np.ndarray) -> np.ndarray:
    if not (np.abs(points) <= MAX_COORDINATE).all():  # also NaN
        raise BadImageError(f"holds a point more than {MAX_COORDINATE} pixels outside")
    return points


def _whole(points: np.ndarray) -> np.ndarray:
    return np.round(_checked(points)).astype(np.int32)
