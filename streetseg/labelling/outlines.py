"""A mask as polygons whose neighbours share their edges, so that no gaps open between them.

The edges between pixels of two regions are followed from junction to junction, and each piece is
simplified once for both sides. Source: Douglas and Peucker, Algorithms for the reduction of the
number of points required to represent a digitized line, Cartographica 10(2), 1973; pieces between
junctions as in TopoJSON.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from streetseg.data.labels import IGNORE

MAX_AREA_CHANGE = 0.1
"""Fraction of a region's pixels that simplification may add or remove. A region that would change
more, such as a thin pole, keeps its outline."""

AHEAD = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""(x, y) steps along the upper, right, lower and left side of a pixel, clockwise."""
RIGHT, LOWER = 1, 2
"""Sides whose inner pixels have a coordinate that is less than that of the side by 1."""
OUTWARD = np.roll(AHEAD, 1, axis=0)
"""(x, y) steps across these sides."""
CORNER = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
"""Where each side begins, from the upper left corner of its pixel."""


@dataclass(frozen=True, eq=False)
class Region:
    """Adjoining pixels of one category."""

    category: int
    outline: np.ndarray
    """int32[n, 2], clockwise: corners of pixels as (x, y), of a picture from (0, 0) to its size."""
    outline_pixels: np.ndarray
    """int32[n, 2]: the same corners as pixels, for rasterisers that draw outlines too: the last of
    the region, or where a region beside it is drawn later, the first of that."""
    holes: tuple[np.ndarray, ...]
    """int32[n, 2] each, counterclockwise. Other regions fill them."""


def outlines(categories: np.ndarray, tolerance: float) -> list[Region]:
    """The regions of a mask uint8[H, W], in the order in which filled outlines must be drawn.

    Pixels that share a side adjoin. ``IGNORE`` gets no region, and lies at the border, as in what a
    model predicts; what it would enclose would be covered.

    Args:
        tolerance: the largest distance in pixels between an edge and its simplification; 0 only
            leaves out points on straight lines.
    """
    return _Outlines(categories).regions(tolerance)


class _Outlines:
    """The sides of pixels at which a region ends, as closed rings of directed edges."""

    def __init__(self, categories: np.ndarray) -> None:
        height, width = categories.shape
        self._components, self._category_of = _components(categories)
        padded = np.pad(self._components, 1, constant_values=-1)
        self._stride, step = width + 1, np.array([1, width + 2])
        flat = padded.ravel()
        pixel, side = _edges(padded)
        own = flat[pixel]
        ahead, diagonal = pixel + AHEAD[side] @ step, pixel + (AHEAD + OUTWARD)[side] @ step
        turns_right, goes_on = flat[ahead] != own, flat[diagonal] != own
        next_pixel = np.where(turns_right, pixel, np.where(goes_on, ahead, diagonal))
        next_side = (side + np.where(turns_right, 1, np.where(goes_on, 0, -1))) % 4
        number = np.zeros(flat.size * 4, np.int32)
        number[pixel * 4 + side] = np.arange(len(pixel))
        order, starts = _cycles(number[next_pixel * 4 + next_side].tolist())
        y, x = np.divmod(pixel[order], width + 2)
        self.last_pixel = np.array([width - 1, height - 1], np.int32)
        self._side = side[order]
        self._own = own[order]
        self._across = flat[(pixel + OUTWARD[side] @ step)[order]]
        self._rings = list(zip(starts, [*starts[1:], len(order)], strict=True))
        self._points = (np.stack([x, y], axis=1) - 1 + CORNER[self._side]).astype(np.int32)
        self._vertex = self._points @ np.array([1, self._stride])
        self._chosen = _junctions(padded)
        self._junction = self._chosen.copy()

    def regions(self, tolerance: float) -> list[Region]:
        """See :func:`outlines`."""
        rings = [_Ring(self, *ring) for ring in self._rings]
        of_component: dict[int, list[_Ring]] = {}
        for ring in rings:
            ring.simplify(tolerance)
            of_component.setdefault(ring.component, []).append(ring)
        pixels = np.bincount(self._components.ravel() + 1)[1:]
        for component, members in of_component.items():
            change = abs(sum(ring.simplified_area for ring in members) - pixels[component])
            if change > MAX_AREA_CHANGE * pixels[component]:
                for ring in members:
                    ring.restore()
        outer = [ring for ring in rings if ring.area > 0]
        outer.sort(key=lambda ring: -ring.area)  # what is in a hole is smaller than what is around
        drawn_as = np.full(len(outer) + 1, -1)  # the last for what is outside
        drawn_as[[ring.component for ring in outer]] = np.arange(len(outer))
        return [
            Region(
                int(self._category_of[ring.component]),
                ring.simplified,
                ring.simplified_pixels(drawn_as),
                tuple(each.simplified for each in of_component[ring.component] if each.area < 0),
            )
            for ring in outer
        ]


class _Ring:
    """A closed ring: the edges from ``start`` to ``end``."""

    def __init__(self, of: _Outlines, start: int, end: int) -> None:
        self._all, edges = of, slice(start, end)
        self.component = int(of._own[start])
        side, across = of._side[edges], of._across[edges]
        corner = (side != np.roll(side, 1)) | of._junction[of._vertex[edges]]
        self._sides = np.roll(side, 1)[corner], side[corner]
        self._borders = np.roll(across, 1)[corner], across[corner]
        self._points, self._vertex = of._points[edges][corner], of._vertex[edges][corner]
        self._across = across[corner]
        self.area = _area(self._points)

    def simplify(self, tolerance: float) -> None:
        """Choose points of each piece that borders on a region of a lower number, or on none."""
        junctions = np.flatnonzero(self._all._junction[self._vertex])
        if not len(junctions):
            if self._across[0] < self.component:
                self._choose(self._points, tolerance, closed=True)
            return
        points = np.concatenate([self._points, self._points[: junctions[0] + 1]])
        ends = [*junctions[1:], len(self._points) + junctions[0]]
        for start, end in zip(junctions.tolist(), ends, strict=True):
            if self._across[start] < self.component and end - start > 1:
                self._choose(points[start : end + 1], tolerance, closed=False)

    def _choose(self, points: np.ndarray, tolerance: float, closed: bool) -> None:
        kept = cv2.approxPolyDP(points[:, None], tolerance, closed)[:, 0]
        if closed and len(kept) < 3:
            kept = points
        self._all._chosen[kept @ np.array([1, self._all._stride])] = True

    def restore(self) -> None:
        """Choose all points."""
        self._all._chosen[self._vertex] = True

    @property
    def _kept(self) -> np.ndarray:
        return self._all._chosen[self._vertex]

    @property
    def simplified(self) -> np.ndarray:
        """The chosen points: int32[n, 2]."""
        return self._points[self._kept]

    @property
    def simplified_area(self) -> float:
        """In pixels; negative if it is a hole."""
        return _area(self.simplified)

    def simplified_pixels(self, drawn_as: np.ndarray) -> np.ndarray:
        """The chosen points as pixels: int32[n, 2]; ``drawn_as`` has the place of each region."""
        pixels = self._points.copy()
        for side, beyond in zip(self._sides, self._borders, strict=True):
            covered = drawn_as[beyond] > drawn_as[self.component]
            for axis, far in ((0, RIGHT), (1, LOWER)):
                at = side % 2 == far % 2
                pixels[at, axis] = self._points[at, axis] - ((side == far) != covered)[at]
        return np.minimum(pixels, self._all.last_pixel)[self._kept]


def _components(categories: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each pixel's region int32[H, W], -1 for ``IGNORE``, and their categories."""
    numbers, category_of = np.full(categories.shape, -1, np.int32), list[int]()
    for category in np.unique(categories[categories != IGNORE]).tolist():
        mask = categories == category
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        numbers[mask] = labels[mask] - 1 + len(category_of)
        category_of += [category] * (count - 1)
    return numbers, np.array(category_of, np.int64)


def _edges(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels int64[n] of a padded picture, and their sides, at which a region ends."""
    pixels, sides = [], []
    for side, (x, y) in enumerate(OUTWARD.tolist()):
        ends = (padded != np.roll(padded, (-y, -x), axis=(0, 1))) & (padded >= 0)
        at = np.flatnonzero(ends)
        pixels.append(at)
        sides.append(np.full(len(at), side))
    return np.concatenate(pixels), np.concatenate(sides)


def _junctions(padded: np.ndarray) -> np.ndarray:
    """Which corners of pixels begin and end a piece: bool[(H + 1) * (W + 1)].

    Those at which three or four edges meet, and the corners of the picture.
    """
    across = padded[1:] != padded[:-1]
    down = padded[:, 1:] != padded[:, :-1]
    meeting = across[:, 1:].astype(np.uint8) + across[:, :-1] + down[1:] + down[:-1]
    junctions = meeting > 2
    junctions[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return junctions.ravel()


def _cycles(following: list[int]) -> tuple[np.ndarray, list[int]]:
    """A permutation as cycles one after another, and where each begins."""
    order, starts, visited = list[int](), list[int](), bytearray(len(following))
    for first in range(len(following)):
        if visited[first]:
            continue
        starts.append(len(order))
        at = first
        while not visited[at]:
            visited[at] = 1
            order.append(at)
            at = following[at]
    return np.array(order, np.int64), starts


def _area(ring: np.ndarray) -> float:
    """In pixels; positive if the ring is clockwise, as the y axis points down."""
    x, y = ring.T.astype(np.int64)
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
