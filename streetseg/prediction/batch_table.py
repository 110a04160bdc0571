"""``summary.csv`` of a segmented folder, which is also its ledger, and the tables of its parts."""

from __future__ import annotations

import csv
import io
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage
from streetseg.data.labels import LabelSpace
from streetseg.images.paths import mask_name

TABLE = "summary.csv"
OF_PART = re.compile(r"summary\.part-\d+-of-\d+\.csv")
"""The tables of parts, until their rows are in ``TABLE``."""
SAVE_EVERY_S = 10.0
"""Seconds of work that a killed process loses at most."""


@dataclass(frozen=True)
class Part:
    """The images whose paths have one of ``of`` remainders, so that new images move no others."""

    number: int
    """From 0."""
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """The inverse of ``str``; StreetsegError for anything else."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or int(found[1]) >= int(found[2]):
            raise StreetsegError(f"'{text}' is no part: write one such as 0/4, the first of four")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """As ``0/4``, the first of four."""
        return f"{self.number}/{self.of}"

    @property
    def table(self) -> str:
        """The name of its table."""
        return f"summary.part-{self.number}-of-{self.of}.csv"

    def select(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Its images of all those, with their sizes."""
        return {path: size for path, size in sizes.items() if self._number_of(path) == self.number}

    def _number_of(self, path: str) -> int:
        return zlib.crc32(path.encode(errors="surrogateescape")) % self.of


@dataclass(frozen=True)
class ImageResult:
    """The outcome for one image: a row of ``summary.csv``."""

    path: str
    """Relative to the source."""
    bytes: int
    """Size of the file; an image whose size has changed is segmented again."""
    model: str
    """The first digits of the SHA-256 of the weights, and the windows if there are any."""
    width: int = 0
    height: int = 0
    shares: tuple[float, ...] = ()
    """Fraction of each category, 0 to 1; empty if the image failed. Their sum is 1, or less where
    the network does not see all of an image."""
    seconds: float = 0.0
    """From encoded image to encoded mask."""
    error: str = ""


class Table:
    """``summary.csv`` at the destination, or the table of a part."""

    def __init__(
        self, target: Storage, labels: LabelSpace, model: str, part: Part | None = None
    ) -> None:
        """Masks of a model, as :attr:`ImageResult.model` names it."""
        self.name = part.table if part else TABLE
        self.target, self.model, self.categories = target, model, len(labels.names)
        self.header = ["path", "bytes", "model", "width", "height"]
        self.header += [*labels.names, "seconds", "error"]
        self._saved_at = time.monotonic()
        self._save_seconds = 0.0

    @property
    def due(self) -> bool:
        """Whether to write the table again; a slow write makes it rarer."""
        age = time.monotonic() - self._saved_at
        return age >= max(SAVE_EVERY_S, 20 * self._save_seconds)

    def write(self, results: Mapping[str, ImageResult]) -> None:
        """Write the rows of all results."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        for image in (results[path] for path in sorted(results)):
            shares = [f"{share:.6f}" for share in image.shares] or [""] * self.categories
            start = [image.path, image.bytes, image.model, image.width or "", image.height or ""]
            writer.writerow([*start, *shares, f"{image.seconds:.4f}", image.error])
        began = time.monotonic()
        self.target.write(self.name, text.getvalue().encode())
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - began

    def read(self, sizes: Mapping[str, int], existing: Mapping[str, int]) -> dict[str, ImageResult]:
        """The results in any table that are valid: same file size, same model, and a mask."""
        tables = [name for name in existing if name == TABLE or OF_PART.fullmatch(name)]
        return {
            image.path: image
            for name in tables
            for image in self._rows(name)
            if sizes.get(image.path) == image.bytes
            and image.model == self.model
            and mask_name(image.path) in existing
        }

    def _rows(self, table: str) -> Iterator[ImageResult]:
        """The well-formed rows without an error."""
        text = self.target.read(table).decode(errors="replace")
        try:
            header, *lines = csv.reader(io.StringIO(text))
        except (csv.Error, ValueError):
            return
        for line in lines if header == self.header else []:
            try:
                path, size, model, width, height, *shares, seconds, error = line
                if not error:
                    yield ImageResult(
                        path, int(size), model, int(width), int(height),
                        tuple(map(float, shares)), float(seconds),
                    )  # fmt: skip
            except ValueError:
                continue
