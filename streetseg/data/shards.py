"""The shards of a prepared dataset: one folder for each split and city.

A finished shard holds ``shard.json`` until the dataset is complete: its rows of the index, and a
fingerprint of their inputs. Worker processes import this module, so it imports little.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import StreetsegError
from streetseg.data.frames import blank_measures, prepare_frame
from streetseg.data.instances import read_instances
from streetseg.data.label_files import UndefinedLabelsError
from streetseg.data.labels import LabelSpace
from streetseg.data.listings import find_listing
from streetseg.data.numbering import Ids
from streetseg.data.sources import Frame
from streetseg.data.splits import SCORED
from streetseg.images.resize import Fit

LEDGER = "shard.json"
ARRAYS = "images", "categories"
SHAPES = "shapes"
"""Key of a row: the counts of shapes in it, which are added up and are no column of the index."""

Rows = list[dict[str, Any]]
Stat = Callable[[Path], list[Any]]
"""The name of a file, then what changes with its content; the name alone if it does not exist."""


@dataclass(frozen=True)
class ShardSpec:
    """The inputs of a shard besides its frames."""

    root: Path
    size: tuple[int, int]
    labels: LabelSpace
    file_labels: LabelSpace
    """The label space of the label images, which is mapped onto ``labels``."""
    ids: Ids | None
    """The numbering of the label images, as in :class:`streetseg.data.sources.Source`."""
    skip_errors: bool
    format: int
    fit: Fit

    def fingerprint(self, frames: Iterable[Frame], stat: Stat | None = None) -> str:
        """A digest of the spec and of the frames' files, each by what ``stat`` says of it.

        By default that is path, size and time of modification. Of a label file with many pictures,
        each frame's own counts.
        """
        stat = stat or _stat
        spaces = [self.labels.to_dict(), self.file_labels.to_dict()]
        inputs = [self.format, self.size, self.fit, spaces, self.ids, self.skip_errors]
        listings = {find_listing(frame.label, self.root) for frame in frames}
        inputs += sorted(stat(path) for path in listings if path)
        inputs += [[frame.name, stat(frame.image), *_label_state(frame, stat)] for frame in frames]
        inputs += [stat(path) for path in map(_instances, frames) if path]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


@dataclass(frozen=True)
class Shard:
    """The frames of one city in one split, and the folder they are written to."""

    folder: Path
    frames: tuple[Frame, ...]
    spec: ShardSpec
    fingerprint: str

    def finished(self) -> Rows | None:
        """The rows of the index; None if the shard is not finished or its inputs have changed."""
        try:
            ledger = json.loads((self.folder / LEDGER).read_text())
            return ledger["rows"] if ledger["fingerprint"] == self.fingerprint else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self) -> list[Job]:
        """Create empty arrays, and return one job per frame."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.frames[0].split in SCORED:
            (self.folder / "label_ids").mkdir()
        if any(map(_instances, self.frames)):
            (self.folder / "instances").mkdir()
        for name, shape in zip(ARRAYS, ((*self.spec.size, 3), self.spec.size), strict=True):
            np.lib.format.open_memmap(
                self.folder / f"{name}.npy", "w+", np.uint8, (len(self.frames), *shape)
            )
        return [
            Job(frame, self.folder, row - len(self.frames), self.spec)
            for row, frame in enumerate(self.frames)
        ]

    def finish(self, rows: Rows) -> Rows:
        """Remove the rows of skipped frames from the arrays, and mark the shard as finished."""
        numbers = [number for number, row in enumerate(rows) if not row["error"]]
        if len(numbers) < len(rows):
            for name in ARRAYS:
                _keep_rows(self.folder / f"{name}.npy", numbers)
        number_rows(rows)
        ledger = {"fingerprint": self.fingerprint, "rows": rows}
        write_atomic(self.folder / LEDGER, json.dumps(ledger))
        return rows

    def close(self) -> None:
        """Remove the ledger, whose rows are in the index now, and the shard if it is empty."""
        (self.folder / LEDGER).unlink()
        if not np.load(self.folder / "images.npy", mmap_mode="r").size:
            shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Job:
    """A frame and its position in a shard."""

    frame: Frame
    folder: Path
    row: int
    """Counted from the end of the array files, which begin with a header: -1 is the last."""
    spec: ShardSpec


def plan_shards(
    frames: Iterable[Frame], folder: Path, specs: Mapping[str, ShardSpec]
) -> list[Shard]:
    """Plan a shard per split and city of the sorted frames, and clear the rest of ``folder``.

    ``specs`` are those of the frames by ``Frame.source``.
    """
    shards = []
    for (split, city), group in groupby(frames, key=lambda frame: (frame.split, frame.city)):
        members = tuple(group)
        spec = specs[members[0].source]
        shards.append(Shard(folder / split / city, members, spec, spec.fingerprint(members)))
    planned = {shard.folder for shard in shards}
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if path.is_file():
            path.unlink()
        elif path.parent != folder and path not in planned:
            shutil.rmtree(path)
    return shards


def write_frame(job: Job) -> dict[str, Any]:
    """Prepare a frame, write it to its shard, and return its row of the index.

    Raises:
        StreetsegError: the frame cannot be used, and the spec does not skip errors.
    """
    frame, spec = job.frame, job.spec
    source = {
        "frame": frame.name,
        "split": frame.split,
        "city": frame.city,
        "row": -1,
        "image": frame.image.relative_to(spec.root).as_posix(),
        "label": frame.label.relative_to(spec.root).as_posix(),
        "error": "",
        **({"source": frame.source} if frame.source else {}),
        **({"condition": frame.condition} if frame.condition else {}),
    }
    try:
        prepared = prepare_frame(
            frame, spec.size, spec.labels, spec.ids, spec.root, spec.file_labels, spec.fit
        )
        instances = _instances(frame)
        if instances:
            size = prepared.measures["height"], prepared.measures["width"]
            read_instances(instances, size, spec.labels)
    except StreetsegError as error:
        if spec.skip_errors:
            reason = str(error).replace(f"{spec.root}/", "")
            return {**source, **blank_measures(spec.labels), "error": reason, SHAPES: {}}
        if isinstance(error, UndefinedLabelsError):
            raise
        raise StreetsegError(
            f"{error}: fix or remove the frame, or set prepare.on_error=skip"
        ) from None
    _write(job.folder / "images.npy", job.row, prepared.rgb)
    _write(job.folder / "categories.npy", job.row, prepared.categories)
    if prepared.label_png is not None:
        (job.folder / "label_ids" / f"{frame.name}.png").write_bytes(prepared.label_png)
    if instances:
        shutil.copyfile(instances, job.folder / "instances" / f"{frame.name}.png")
    return {**source, **prepared.measures, SHAPES: prepared.shapes}


def number_rows(rows: Rows) -> None:
    """Set the ``row`` of each usable frame of a shard: its place in the arrays, from 0."""
    for number, row in enumerate(row for row in rows if not row["error"]):
        row["row"] = number


def concatenate_arrays(pieces: Sequence[Path], path: Path) -> None:
    """Write an array file whose rows are those of the files ``pieces``, in order.

    Memory does not grow with their size.
    """
    arrays = [np.load(piece, mmap_mode="r") for piece in pieces]
    rows = sum(len(array) for array in arrays)
    with path.open("wb") as file:
        _write_header(file, (rows, *arrays[0].shape[1:]))
        for piece, array in zip(pieces, arrays, strict=True):
            with piece.open("rb") as source:
                source.seek(-array.nbytes, 2)
                shutil.copyfileobj(source, file, 2**20)


def _instances(frame: Frame) -> Path | None:
    """The instance ids to keep: those of the evaluation split, if there are any."""
    path = frame.instances
    return path if path and frame.split in SCORED and path.exists() else None


def _write(path: Path, row: int, pixels: np.ndarray) -> None:
    # A memory map would be simpler, but its pages count as memory of this process.
    with path.open("r+b") as file:
        file.seek(row * pixels.nbytes, 2)
        file.write(np.ascontiguousarray(pixels).data)


def _keep_rows(path: Path, rows: Sequence[int]) -> None:
    unfinished = path.with_suffix(".partial")
    array = np.load(path, mmap_mode="r")
    with unfinished.open("wb") as file:
        _write_header(file, (len(rows), *array.shape[1:]))
        for row in rows:
            file.write(array[row].tobytes())
    unfinished.rename(path)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _label_state(frame: Frame, stat: Stat) -> list[Any]:
    """What tells that the label of a frame has changed."""
    if not frame.format:
        return [stat(frame.label)]
    if not (picture := frame.picture):
        return [frame.format, stat(frame.label)]
    name, segments = stat(frame.label)[0], [stat(picture.segments)] if picture.segments else []
    return [frame.format, name, picture.error, picture.content_hash, *segments]


def _stat(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns]
