"""The report on a segmented folder of images."""

from __future__ import annotations

from pathlib import Path

from streetseg.core.sampling import evenly_spaced
from streetseg.prediction.batch import SUMMARY, TABLE, BatchResult
from streetseg.reports.drawing import jpeg_address
from streetseg.reports.html import write_page

MAX_OVERLAYS, MAX_FAILED = 6, 20
FOLDED_FROM = 20
"""Categories of a table that are not folded."""


def write_batch_page(batch: BatchResult, path: Path) -> None:
    """Write an HTML page with the means, overlays of evenly spaced images, and the failures."""
    overlays = [(name, jpeg_address(rgb)) for name, rgb in batch.examples]
    chosen = evenly_spaced(len(overlays), MAX_OVERLAYS)
    write_page(
        path,
        "batch.html.j2",
        batch=batch,
        shares=list(zip(batch.labels.categories, batch.shares.values(), strict=True)),
        overlays=[overlays[number] for number in chosen],
        folded_from=FOLDED_FROM,
        failed=batch.failed[:MAX_FAILED],
        table=TABLE,
        summary=SUMMARY,
    )
