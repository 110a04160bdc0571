"""The result of a choice: its folder, its table and its page."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage
from streetseg.images.decode import decode_image
from streetseg.images.paths import printable
from streetseg.labelling.select_network import ScoringNetwork
from streetseg.reports.drawing import jpeg_address, overlay, shrink
from streetseg.reports.html import write_page

SUMMARY, TABLE, PAGE = "selection.json", "selection.csv", "selection.html"
UNREADABLE, EVALUATION, KNOWN, DUPLICATE = "unreadable", "evaluation", "known", "near_duplicate"
MEANINGS = {
    UNREADABLE: "cannot be read",
    EVALUATION: "in the evaluation data, or nearly the same as a frame there",
    KNOWN: "in the training data, or nearly the same as a frame there",
    DUPLICATE: "nearly the same as a chosen frame",
}
"""Why frames are left out."""
MAX_SHOWN, WIDTH = 200, 320
"""Frames on the page, and the width of each of their two pictures in pixels."""


@dataclass(frozen=True)
class ChosenFrame:
    """A row of ``selection.csv``."""

    rank: int
    """From 1, in the order of choice."""
    name: str
    """File in the selection's folder."""
    source: str
    """Path below the source."""
    image_hash: str
    """As in the prepared index."""
    why: str
    entropy: float
    margin: float
    disagreement: float
    rarity: float
    distance: float | None
    """Of its embedding to that of the nearest training frame, 0 to 2; None if none is known."""
    nearest: str
    """That training frame; empty if none is known."""


@dataclass(frozen=True)
class Selection:
    """The result of :func:`select_frames`."""

    folder: Path
    model: dict[str, Any]
    """name, version, run_id, data_version and weights_sha256."""
    source: str
    by: str
    count: int
    """Frames asked for."""
    seen: int
    """Images in the source."""
    left_out: dict[str, int]
    """Counts by reason, such as ``near_duplicate``."""
    notes: list[str]
    """What could not be done, for people."""
    chosen: list[ChosenFrame]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        frames = [
            {"name": each.name, "source": each.source, "image_hash": each.image_hash}
            for each in self.chosen
        ]
        return {
            "model": self.model,
            "source": self.source,
            "by": self.by,
            "count": self.count,
            "seen": self.seen,
            "left_out": self.left_out,
            "chosen": len(self.chosen),
            "notes": self.notes,
            "frames": frames,
        }


def write_selection(
    selection: Selection, origin: Storage, network: ScoringNetwork, folder: Path, keep: set[str]
) -> None:
    """Copy the chosen frames to ``folder``, and write its table, summary and page.

    Everything else in the folder, which a stopped call has left, is removed, except ``keep``.

    Raises:
        StreetsegError: a frame is gone or has changed since it was looked at.
    """
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    figures: list[tuple[ChosenFrame, str]] = []
    for frame in selection.chosen:
        data = origin.read(frame.source)
        if xxhash.xxh3_128_hexdigest(data) != frame.image_hash:
            raise StreetsegError(
                f"{printable(frame.source)} in {origin.url} has changed meanwhile: run the same "
                "command again"
            )
        write_atomic(folder / frame.name, data)
        if len(figures) < MAX_SHOWN:
            figures.append((frame, _pictures(data, network)))
    write_atomic(folder / TABLE, _csv(selection.chosen))
    write_atomic(folder / SUMMARY, f"{json.dumps(selection.to_dict(), indent=1)}\n")
    write_page(
        folder / PAGE, "select.html.j2", selection=selection, figures=figures, table=TABLE,
        categories=network.labels.categories, meanings=MEANINGS,
    )  # fmt: skip


def _csv(chosen: list[ChosenFrame]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [field.name for field in fields(ChosenFrame)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(asdict(frame) for frame in chosen)
    return text.getvalue()


def _pictures(data: bytes, network: ScoringNetwork) -> str:
    """A frame beside its overlay, as a ``data:`` URL."""
    rgb = decode_image(data)
    categories = network.predict(rgb)
    pictures = [shrink(each, WIDTH) for each in (rgb, overlay(rgb, categories, network.labels))]
    return jpeg_address(np.concatenate(pictures, axis=1))
