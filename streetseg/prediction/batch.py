"""Segmentation of every image of a folder or of a prefix in an object store.

The destination then holds::

    <path of the image>_mask.png   category ids as a palette PNG, such as drive/0001.jpg_mask.png
    summary.csv                    one row per processed image
    summary.json                   the model and the means; written last

A stopped call resumes from ``summary.csv``. The table is replaced atomically every few seconds, and
lists an image only once its mask is written.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.config.params import Evaluate
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.parallel import cores, thread_map
from streetseg.core.progress import track
from streetseg.core.sampling import evenly_spaced
from streetseg.core.storage import Storage
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.windows import sliding
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_palette_png
from streetseg.images.errors import BadImageError
from streetseg.images.paths import list_images, mask_name, printable, require_printable
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.windows import SlidingSegmenter
from streetseg.prediction.batch_table import OF_PART, TABLE, ImageResult, Part, Table
from streetseg.registry.versions import describe
from streetseg.reports.drawing import overlay, shrink

SUMMARY = "summary.json"

THREADS = 8
"""Concurrent reads or writes."""
MAX_AT_ONCE = 8
"""Images that are segmented at once, at most: one is decoded while the network sees another."""
MAX_EXAMPLES, EXAMPLE_WIDTH = 12, 448
"""Overlays for the report, and their width in pixels."""


@dataclass(frozen=True)
class BatchResult:
    """A segmented folder of images."""

    model: dict[str, Any]
    """name, version, run_id, data_version and weights_sha256."""
    source: str
    destination: str
    labels: LabelSpace
    images: list[ImageResult]
    """Sorted by path."""
    segmented: int
    """Images that this call segmented; the others already had a mask."""
    seconds: float
    """Duration of this call."""
    examples: list[tuple[str, np.ndarray]]
    """Paths and overlays of some images of this call: uint8[h, w, 3], ``EXAMPLE_WIDTH`` wide."""

    @property
    def failed(self) -> list[ImageResult]:
        """The images without a mask."""
        return [image for image in self.images if image.error]

    @property
    def masks(self) -> int:
        """How many images have a mask."""
        return len(self.images) - len(self.failed)

    @property
    def shares(self) -> dict[str, float]:
        """Mean fraction of each category, 0 to 1, with equal weight for each image."""
        means = np.mean([image.shares for image in self.images if not image.error], axis=0)
        return dict(zip(self.labels.names, means.tolist(), strict=True))

    @property
    def frames_per_second(self) -> float | None:
        """Of this call, reading and writing included; None if it segmented nothing."""
        return self.segmented / self.seconds if self.segmented else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "model": self.model,
            "source": self.source,
            "destination": self.destination,
            "pictures": len(self.images),
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
    windows: Evaluate | None = None,
    part: Part | None = None,
) -> BatchResult:
    """Segment all PNG, JPEG and WebP images below a folder or prefix.

    An unusable image gets a row with its error. The same call resumes one that was stopped or
    killed: it skips an image whose row names the same file size, weights and windows and whose mask
    exists. Failed images are tried again. Hidden files are ignored. Only one process at a time may
    write to a destination; a folder is locked, a prefix of an object store is not.

    Of a ``part``, only the images are segmented that are its own. Several processes may do one part
    each at the same time; the call without a part then does what is left, and makes the table.

    Args:
        source: folder, or URL such as ``s3://bucket/prefix``.
        destination: folder or URL for the masks and the table, outside the source.
        name: the model's URI, such as ``models:/street-segmenter/3``; the folder by default.
        max_megapixels: limit per image, checked before decoding.
        windows: settings whose ``window`` and ``overlap`` apply to larger images.

    Raises:
        StoppedError: Ctrl-C; the same call resumes.
        StreetsegError: no usable images, source and destination overlap, one cannot be reached, or
            another process is writing the destination.
    """
    origin, target = Storage(source), Storage(destination)
    sizes = list_images(origin, target)
    sizes = part.select(sizes) if part else sizes
    segmenter = sliding(Segmenter(artifact), windows or Evaluate())
    with nullcontext() if part else target.locked():
        return _segment(origin, target, sizes, segmenter, name, int(max_megapixels * 1e6), part)


def _segment(
    origin: Storage,
    target: Storage,
    sizes: Mapping[str, int],
    segmenter: Segmenter | SlidingSegmenter,
    name: str,
    max_pixels: int,
    part: Part | None,
) -> BatchResult:
    """:func:`segment_folder` of the images in ``sizes``."""
    model = describe(segmenter.artifact, name)
    table = Table(target, segmenter.labels, _key(segmenter, model), part)
    existing = target.files()
    results = table.read(sizes, existing)
    if SUMMARY in existing:
        with suppress(StreetsegError) if part else nullcontext():  # another part was faster
            target.remove(SUMMARY)
    pending = [path for path in sizes if path not in results]
    worker = _Worker(segmenter, table.model, max_pixels)

    start = time.monotonic()
    alone = isinstance(segmenter, SlidingSegmenter) or segmenter.device != "CPU"
    at_once = 1 if alone else min(cores(), MAX_AT_ONCE)
    with ThreadPoolExecutor(THREADS) as pool, ThreadPoolExecutor(at_once) as workers:
        writer = _MaskWriter(target, pool, results)
        try:
            files = thread_map(pool, partial(_read, origin), pending, ahead=THREADS)
            segmented = thread_map(workers, worker.segment, files, ahead=at_once)
            for frame in track(segmented, total=len(pending), description="segment"):
                worker.keep_example(frame)
                writer.add(frame)
                if table.due:
                    table.write(results)
        except KeyboardInterrupt:
            workers.shutdown(cancel_futures=True)
            writer.finish()
            table.write(results)
            raise StoppedError(
                f"stopped after {len(results)} of {len(sizes)} images: the same command goes on"
            ) from None
        writer.finish()
    table.write(results)
    for path, result in results.items():
        if result.error and mask_name(path) in existing:
            target.remove(mask_name(path))  # of an earlier image or model

    batch = BatchResult(
        model=model,
        source=origin.url,
        destination=target.url,
        labels=segmenter.labels,
        images=[results[path] for path in sizes],
        segmented=sum(not results[path].error for path in pending),
        seconds=time.monotonic() - start,
        examples=worker.examples or _examples(origin, target, list(results), segmenter.labels),
    )
    if part:
        return batch
    for name in filter(OF_PART.fullmatch, existing):
        target.remove(name)
    if not batch.masks:
        first = batch.images[0]
        raise StreetsegError(
            f"none of the {len(sizes)} images in {origin.url} can be used; the first, "
            f"{first.path}, {first.error}; see {TABLE} in {target.url} for the others"
        )
    target.write(SUMMARY, f"{json.dumps(batch.to_dict(), indent=1)}\n".encode())
    return batch


@dataclass(frozen=True)
class _Frame:
    """An image of a batch; one that cannot be used has only a result with its error."""

    path: str
    result: ImageResult
    rgb: np.ndarray | None = None
    categories: np.ndarray | None = None
    mask: bytes | None = None


class _Worker:
    """Segments images, and keeps overlays of some that are evenly spaced."""

    def __init__(
        self, segmenter: Segmenter | SlidingSegmenter, model: str, max_pixels: int
    ) -> None:
        self.segmenter, self.model, self.max_pixels = segmenter, model, max_pixels
        self.examples: list[tuple[str, np.ndarray]] = []
        self._segmented, self._stride = 0, 1

    def segment(self, file: tuple[str, bytes | StreetsegError]) -> _Frame:
        """Segment an image, given its path and its content or error. Thread-safe."""
        path, data = file
        if isinstance(data, StreetsegError):
            error = printable(str(data))
            return _Frame(path, ImageResult(printable(path), 0, self.model, error=error))
        start = time.perf_counter()
        try:
            require_printable(path)
            rgb = decode_image(data, max_pixels=self.max_pixels)
        except BadImageError as bad:
            size, error = len(data), bad.reason
            return _Frame(path, ImageResult(printable(path), size, self.model, error=error))
        labels = self.segmenter.labels
        categories = self.segmenter.predict(rgb)
        height, width = categories.shape
        counts = np.bincount(categories.ravel(), minlength=256)[: len(labels.names)]
        mask = encode_palette_png(categories, labels.palette)
        shares = tuple((counts / categories.size).tolist())
        seconds = time.perf_counter() - start
        result = ImageResult(path, len(data), self.model, width, height, shares, seconds)
        return _Frame(path, result, rgb, categories, mask)

    def keep_example(self, frame: _Frame) -> None:
        """Keep every n-th image; with too many, double n and drop every other example."""
        if frame.rgb is None or frame.categories is None:
            return
        if self._segmented % self._stride == 0:
            image = overlay(frame.rgb, frame.categories, self.segmenter.labels)
            self.examples.append((frame.path, shrink(image, EXAMPLE_WIDTH)))
            if len(self.examples) > MAX_EXAMPLES:
                self.examples, self._stride = self.examples[::2], 2 * self._stride
        self._segmented += 1


class _MaskWriter:
    """Writes masks in threads, and records a result once its mask is written."""

    def __init__(
        self, target: Storage, pool: ThreadPoolExecutor, results: dict[str, ImageResult]
    ) -> None:
        self.target, self.pool, self.results = target, pool, results
        self._pending: deque[tuple[str, ImageResult, Future[None] | None]] = deque()

    def add(self, frame: _Frame) -> None:
        path, mask = frame.path, frame.mask
        written = self.pool.submit(self.target.write, mask_name(path), mask) if mask else None
        self._pending.append((path, frame.result, written))
        if len(self._pending) > THREADS:
            self._record_oldest()

    def finish(self) -> None:
        while self._pending:
            self._record_oldest()

    def _record_oldest(self) -> None:
        path, result, written = self._pending.popleft()
        if written:
            written.result()
        self.results[path] = result


def _examples(
    origin: Storage, target: Storage, paths: Sequence[str], labels: LabelSpace
) -> list[tuple[str, np.ndarray]]:
    """Overlays of masks that were there already."""
    examples = []
    for path in (paths[row] for row in evenly_spaced(len(paths), MAX_EXAMPLES)):
        try:
            rgb = decode_image(origin.read(path))
            categories = decode_ids(target.read(mask_name(path)))
        except (StreetsegError, BadImageError):
            continue  # without a mask, or larger than images usually are
        examples.append((path, shrink(overlay(rgb, categories, labels), EXAMPLE_WIDTH)))
    return examples


def _key(segmenter: Segmenter | SlidingSegmenter, model: Mapping[str, Any]) -> str:
    """What masks depend on besides the images."""
    weights = str(model["weights_sha256"])[:12]
    if isinstance(segmenter, Segmenter):
        return weights
    height, width = segmenter.size
    return f"{weights} {width}x{height} overlap {segmenter.overlap:g}"


def _read(origin: Storage, path: str) -> tuple[str, bytes | StreetsegError]:
    """A path, and its content or error."""
    try:
        return path, origin.read(path)
    except StreetsegError as error:
        return path, error
