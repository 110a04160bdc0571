"""Polygons of masks: exact without tolerance, without gaps with it, and holes stay."""

from __future__ import annotations

import numpy as np
import pytest

from streetseg.data.annotations.rasterize import Rasterizer, rasterize
from streetseg.data.annotations.shapes import Polygon
from streetseg.data.labels import IGNORE
from streetseg.labelling.outlines import Region, outlines

NOISE = np.random.default_rng(0).integers(0, 3, (24, 32)).astype(np.uint8)


def drawn(regions: list[Region], size: tuple[int, int], rasterizer: Rasterizer) -> np.ndarray:
    exact = rasterizer == "pycocotools"
    rings = [each.outline if exact else each.outline_pixels for each in regions]
    shapes = [
        (Polygon((ring.astype(float),)), region.category)
        for ring, region in zip(rings, regions, strict=True)
    ]
    return rasterize(shapes, size, IGNORE, rasterizer)


def disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - height / 2, x - width / 2) < radius


def test_without_tolerance_a_mask_of_noise_comes_back_to_the_pixel() -> None:
    assert (drawn(outlines(NOISE, 0), NOISE.shape, "pycocotools") == NOISE).all()


@pytest.mark.parametrize("rasterizer", ["pycocotools", "pillow", "labelme"])
def test_holes_and_islands_in_them_come_back(rasterizer: Rasterizer) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 10:70] = 1
    mask[20:40, 20:60] = 0  # a hole, of the category around
    mask[25:35, 30:50] = 2  # an island in it
    regions = outlines(mask, 1)
    assert [region.category for region in regions] == [0, 1, 0, 2]
    assert [len(region.holes) for region in regions] == [1, 1, 1, 0]
    assert (drawn(regions, mask.shape, rasterizer) == mask).all()


@pytest.mark.parametrize("rasterizer", ["pycocotools", "pillow", "labelme"])
def test_simplified_neighbours_leave_no_gap(rasterizer: Rasterizer) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[disc(120, 160, 55)] = 1
    mask[disc(120, 160, 30)] = 2
    mask[60:] += 3
    regions = outlines(mask, 2)
    again = drawn(regions, mask.shape, rasterizer)
    assert sum(len(region.outline) for region in regions) < 80
    assert (again != IGNORE).all()
    assert (again == mask).mean() > 0.97


def test_no_edge_is_further_away_than_the_tolerance() -> None:
    mask = disc(200, 200, 80).astype(np.uint8)
    (_, exact), (_, simple) = outlines(mask, 0), outlines(mask, 1.5)
    starts, ends = simple.outline, np.roll(simple.outline, -1, axis=0)
    along = ends - starts
    to_points = exact.outline[:, None] - starts
    position = ((to_points * along).sum(-1) / (along**2).sum(-1)).clip(0, 1)
    distance = np.linalg.norm(to_points - position[..., None] * along, axis=-1).min(axis=1)
    assert len(simple.outline) < len(exact.outline) / 4
    assert distance.max() <= 1.5


def test_what_simplification_would_lose_keeps_its_outline() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 20] = 1  # a pole one pixel wide
    mask[3, 3] = 2
    again = drawn(outlines(mask, 2), mask.shape, "pycocotools")
    assert (again == mask).all()


def test_pixels_without_a_category_get_no_outline() -> None:
    mask = np.full((30, 40), IGNORE, np.uint8)
    mask[:, 10:30] = 4
    regions = outlines(mask, 1)
    assert [region.category for region in regions] == [4]
    assert (drawn(regions, mask.shape, "pycocotools") == mask).all()
