"""Segmenting every image of a folder or of a prefix in an object store.

What is left at the destination::

    <path of the image>_mask.png   category ids as a palette PNG, such as drive/0001.jpg_mask.png
    summary.csv                      a row for each image that was looked at
    summary.json                     the model and the means; it comes last, when all is done

``summary.csv`` is also what a stopped call goes on from. It is written anew every few seconds,
whole or not at all, and a row is in it only once its mask is in its place.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.parallel import thread_map
from streetseg.core.progress import track
from streetseg.core.storage import Storage
from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_image
from streetseg.images.encode import encode_palette_png
from streetseg.images.errors import BadImageError
from streetseg.images.paths import list_images, mask_name, printable
from streetseg.inference.artifact import weights_sha256
from streetseg.inference.segmenter import Segmenter
from streetseg.tracking.store import name_and_version

TABLE, SUMMARY = "summary.csv", "summary.json"

THREADS = 8
"""Pictures that are read or written at the same time; their files are all that is held of them."""
SAVE_EVERY_S = 10.0
"""How much work a killed process loses at most."""


@dataclass(frozen=True)
class Row:
    """What is known of an image that was looked at."""

    path: str
    """Below the source."""
    bytes: int
    """Of its file: an image of another size is another image."""
    model: str
    """Beginning of the SHA-256 of the weights that its mask is of."""
    width: int = 0
    height: int = 0
    shares: tuple[float, ...] = ()
    """Of each category, 0 to 1, summing to 1; empty if it failed."""
    seconds: float = 0.0
    """From its bytes to those of its mask."""
    error: str = ""


Written = tuple[str, Row, Future[None] | None]
"""A path, its row, and its mask on the way to the destination."""


@dataclass(frozen=True)
class Batch:
    """A folder of images that has been segmented."""

    model: dict[str, Any]
    """name, version, run_id, data_version and weights_sha256."""
    source: str
    destination: str
    labels: LabelSpace
    rows: list[Row]
    """One for each image, by path."""
    made: int
    """How many were segmented by this call; the others were there."""
    seconds: float
    """That this call took."""

    @property
    def failed(self) -> list[Row]:
        """The images that have no mask."""
        return [row for row in self.rows if row.error]

    @property
    def shares(self) -> dict[str, float]:
        """Mean fraction of each category, 0 to 1; all images count alike."""
        means = np.mean([row.shares for row in self.rows if not row.error], axis=0)
        return dict(zip(self.labels.names, means.tolist(), strict=True))

    @property
    def frames_per_second(self) -> float | None:
        """Of this call, reading and writing included; None if everything was there."""
        return self.made / self.seconds if self.made else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "model": self.model,
            "source": self.source,
            "destination": self.destination,
            "pictures": len(self.rows),
            "failed": len(self.failed),
            "shares": {name: round(share, 6) for name, share in self.shares.items()},
            "frames_per_second": self.frames_per_second and round(self.frames_per_second, 3),
        }


def segment_folder(
    source: str,
    destination: str,
    artifact: Path,
    name: str = "",
    *,
    max_megapixels: float = 50.0,
) -> Batch:
    """Segment the PNG, JPEG and WebP images below a folder or prefix, however deep they lie.

    An image that cannot be used is a row with its error. A call that was stopped or killed is gone
    on with by the same call: an image is not segmented again if the table has it, of the same size
    and by the same weights, and its mask is there. Those that failed are tried again. Only one
    process at a time may write to a destination. Hidden files are passed over.

    Args:
        source: folder, or URL such as ``s3://bucket/prefix``.
        destination: folder or URL for the masks and the table, apart from the source.
        artifact: folder of the model artifact.
        name: what to call the model, such as ``models:/street-segmenter/3``; else the folder.
        max_megapixels: of an image, checked before it is decoded.

    Raises:
        StoppedError: Ctrl-C; the same call goes on.
        StreetsegError: no images, none that can be used, source and destination overlap, or one
            of them cannot be reached.
    """
    origin, target = Storage(source), Storage(destination)
    pictures = list_images(origin, target)
    segmenter = Segmenter(artifact)
    model = _describe(segmenter, artifact, name)
    table = _Table(target, segmenter.labels, model["weights_sha256"][:12])
    there = target.files()
    rows = table.read(pictures, there) if TABLE in there else {}
    if SUMMARY in there:
        target.remove(SUMMARY)
    to_do = [path for path in pictures if path not in rows]

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        writing: deque[Written] = deque()
        try:
            read = thread_map(pool, partial(_read, origin), to_do, ahead=THREADS)
            for path, data in track(read, total=len(to_do), description="segment"):
                row, mask = _segment(segmenter, path, data, max_megapixels, table.model)
                done = pool.submit(target.write, mask_name(path), mask) if mask else None
                writing.append((path, row, done))
                if len(writing) > THREADS:
                    _settle(writing.popleft(), rows)
                if table.due:
                    table.write(rows)
        except KeyboardInterrupt:
            _settle_all(writing, rows)
            table.write(rows)
            raise StoppedError(
                f"stopped after {len(rows)} of {len(pictures)} images: the same command goes on"
            ) from None
        _settle_all(writing, rows)

    table.write(rows)
    for path, row in rows.items():
        if row.error and mask_name(path) in there:
            target.remove(mask_name(path))  # of an earlier image or model
    ordered = [rows[path] for path in pictures]
    batch = Batch(
        model,
        origin.url,
        target.url,
        segmenter.labels,
        ordered,
        len([path for path in to_do if not rows[path].error]),
        time.monotonic() - began,
    )
    if len(batch.failed) == len(ordered):
        first = ordered[0]
        raise StreetsegError(
            f"none of the {len(ordered)} images in {origin.url} can be used; the first, "
            f"{first.path}, {first.error}; {TABLE} in {target.url} tells of each"
        )
    target.write(SUMMARY, f"{json.dumps(batch.to_dict(), indent=1)}\n".encode())
    return batch


class _Table:
    """``summary.csv`` at the destination."""

    def __init__(self, target: Storage, labels: LabelSpace, model: str) -> None:
        self.target, self.model, self.categories = target, model, len(labels.names)
        self.head = ["path", "bytes", "model", "width", "height", *labels.names, "seconds", "error"]
        self.saved = time.monotonic()
        self.took = 0.0

    @property
    def due(self) -> bool:
        """Whether the last writing is long enough ago; a long table is written less often."""
        return time.monotonic() - self.saved >= max(SAVE_EVERY_S, 20 * self.took)

    def write(self, rows: Mapping[str, Row]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.head)
        for row in (rows[path] for path in sorted(rows)):
            shares = [f"{share:.6f}" for share in row.shares] or [""] * self.categories
            known = [row.path, row.bytes, row.model, row.width or "", row.height or ""]
            writer.writerow([*known, *shares, f"{row.seconds:.4f}", row.error])
        began = time.monotonic()
        self.target.write(TABLE, text.getvalue().encode())
        self.saved = time.monotonic()
        self.took = self.saved - began

    def read(self, pictures: Mapping[str, int], there: Mapping[str, int]) -> dict[str, Row]:
        """The rows that still hold: of these images, of this model, and with a mask."""
        rows = {}
        for row in self._rows():
            same = pictures.get(row.path) == row.bytes and row.model == self.model
            if same and not row.error and mask_name(row.path) in there:
                rows[row.path] = row
        return rows

    def _rows(self) -> Iterator[Row]:
        """The rows that are well formed."""
        text = self.target.read(TABLE).decode(errors="replace")
        try:
            head, *lines = csv.reader(io.StringIO(text))
        except (csv.Error, ValueError):
            return
        for line in lines if head == self.head else []:
            try:
                path, size, model, width, height, *shares, seconds, error = line
                if not error:
                    numbers = tuple(map(float, shares))
                    sides = int(width), int(height)
                    yield Row(path, int(size), model, *sides, numbers, float(seconds))
            except ValueError:
                continue


def _describe(segmenter: Segmenter, artifact: Path, uri: str) -> dict[str, Any]:
    """Which model it is, by what its artifact and its name in the registry tell."""
    name, version = uri or str(artifact), None
    if uri.startswith("models:/"):
        name, version = name_and_version(uri)
    return {
        "name": name,
        "version": version,
        "run_id": segmenter.info["run_id"],
        "data_version": segmenter.info["data_version"],
        "weights_sha256": weights_sha256(artifact),
    }


def _read(origin: Storage, path: str) -> tuple[str, bytes | StreetsegError]:
    """A path with its bytes, or why they cannot be had."""
    try:
        return path, origin.read(path)
    except StreetsegError as error:
        return path, error


def _segment(
    segmenter: Segmenter, path: str, data: bytes | StreetsegError, megapixels: float, model: str
) -> tuple[Row, bytes | None]:
    """The row of an image and its mask, or None if it cannot be used."""
    if isinstance(data, StreetsegError):
        return Row(printable(path), 0, model, error=printable(str(data))), None
    began = time.perf_counter()
    try:
        if not path.isprintable():
            raise BadImageError("has a name that is not printable UTF-8: rename the file")
        rgb = decode_image(data, max_pixels=int(megapixels * 1e6))
    except BadImageError as error:
        return Row(printable(path), len(data), model, error=error.reason), None
    categories = segmenter.predict(rgb)
    height, width = categories.shape
    counts = np.bincount(categories.ravel(), minlength=len(segmenter.labels.names))
    mask = encode_palette_png(categories, segmenter.labels.palette)
    shares = tuple((counts / categories.size).tolist())
    seconds = time.perf_counter() - began
    return Row(path, len(data), model, width, height, shares, seconds), mask


def _settle(written: Written, rows: dict[str, Row]) -> None:
    """Note a row once its mask is in its place."""
    path, row, mask = written
    if mask:
        mask.result()
    rows[path] = row


def _settle_all(writing: deque[Written], rows: dict[str, Row]) -> None:
    while writing:
        _settle(writing.popleft(), rows)
