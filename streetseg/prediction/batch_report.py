"""The page about a folder of images that was segmented."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streetseg.core.storage import Storage
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.paths import mask_name
from streetseg.prediction.batch import SUMMARY, TABLE, Batch, Row
from streetseg.reports.drawing import jpeg_address, overlay, shrink
from streetseg.reports.html import write_page

SHOWN, FAILED, PICTURE_WIDTH = 6, 20, 448
"""Overlays and failures on the page, and how many pixels wide an overlay is."""


def write_batch_page(batch: Batch, path: Path) -> None:
    """Write the page: the means, overlays of images spread evenly, and what failed.

    Args:
        batch: what was segmented.
        path: the HTML file to write.

    Raises:
        StreetsegError: the images or their masks cannot be read again.
    """
    masked = [row for row in batch.rows if not row.error]
    places = np.linspace(0, len(masked) - 1, min(SHOWN, len(masked))).round().astype(int)
    write_page(
        path,
        "batch.html.j2",
        batch=batch,
        masked=masked,
        shares=list(zip(batch.labels.categories, batch.shares.values(), strict=True)),
        overlays=[_overlay(batch, masked[place]) for place in places],
        told=batch.failed[:FAILED],
        files=(TABLE, SUMMARY),
    )


def _overlay(batch: Batch, row: Row) -> tuple[str, str]:
    """The path of an image, and the image under the colours of its mask."""
    rgb = decode_image(Storage(batch.source).read(row.path))
    categories = decode_ids(Storage(batch.destination).read(mask_name(row.path)))
    return row.path, jpeg_address(shrink(overlay(rgb, categories, batch.labels), PICTURE_WIDTH))
