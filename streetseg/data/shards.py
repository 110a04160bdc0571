"""The shards that a prepared dataset is made of: one folder for each split and city.

A shard that is finished holds ``shard.json`` until the dataset is whole: the rows of the index, and
a fingerprint of what they were made from. Worker processes import this module, so it stays light.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import StreetsegError
from streetseg.data.frames import blank_measures, prepare_frame
from streetseg.data.labels import LabelSpace
from streetseg.data.sources import EVALUATED, Frame

LEDGER = "shard.json"


Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """What a shard depends on besides its frames."""

    root: Path
    size: tuple[int, int]
    labels: LabelSpace
    skip_errors: bool
    format: int

    def fingerprint(self, frames: Iterable[Frame]) -> str:
        """A digest of the recipe and of the frames' files by path, size and time of change."""
        told = [self.format, self.size, self.labels.to_dict(), self.skip_errors]
        told += [[frame.name, _state(frame.image), _state(frame.label)] for frame in frames]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class Shard:
    """The frames of a city in a split, and the folder that they are written to."""

    folder: Path
    frames: tuple[Frame, ...]
    recipe: Recipe
    fingerprint: str

    def finished(self) -> Rows | None:
        """The rows of the index, if the shard was finished from the files as they are now."""
        try:
            ledger = json.loads((self.folder / LEDGER).read_text())
            return ledger["rows"] if ledger["fingerprint"] == self.fingerprint else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self) -> list[Job]:
        """Make empty arrays, and say what is to be written where."""
        shutil.rmtree(self.folder, ignore_errors=True)
        evaluated = self.frames[0].split == EVALUATED
        (self.folder / "label_ids" if evaluated else self.folder).mkdir(parents=True)
        for name, shape in (("images", (*self.recipe.size, 3)), ("categories", self.recipe.size)):
            np.lib.format.open_memmap(
                self.folder / f"{name}.npy", "w+", np.uint8, (len(self.frames), *shape)
            )
        places = len(self.frames)
        return [
            Job(frame, self.folder, row - places, self.recipe)
            for row, frame in enumerate(self.frames)
        ]

    def finish(self, rows: Rows) -> Rows:
        """Close the gaps that skipped frames left, and note that the shard is whole."""
        kept = [row for row in rows if not row["error"]]
        if len(kept) < len(rows):
            places = [place for place, row in enumerate(rows) if not row["error"]]
            for name in ("images", "categories"):
                _keep(self.folder / f"{name}.npy", places)
        for number, row in enumerate(kept):
            row["row"] = number
        ledger = {"fingerprint": self.fingerprint, "rows": rows}
        write_atomic(self.folder / LEDGER, json.dumps(ledger))
        return rows

    def close(self) -> None:
        """Remove the note: the rows are in the index now. An empty shard goes altogether."""
        (self.folder / LEDGER).unlink()
        if not np.load(self.folder / "images.npy", mmap_mode="r").size:
            shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Job:
    """A frame and its place in a shard."""

    frame: Frame
    folder: Path
    place: int
    """Counted from the end of the array files, which begin with a header: -1 is the last."""
    recipe: Recipe


def plan_shards(frames: Iterable[Frame], folder: Path, recipe: Recipe) -> list[Shard]:
    """One shard for each split and city of the sorted frames; what else is in ``folder`` goes."""
    shards = []
    for (split, city), group in groupby(frames, key=lambda frame: (frame.split, frame.city)):
        members = tuple(group)
        shards.append(Shard(folder / split / city, members, recipe, recipe.fingerprint(members)))
    planned = {shard.folder for shard in shards}
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if path.is_file():
            path.unlink()
        elif path.parent != folder and path not in planned:
            shutil.rmtree(path)
    return shards


def write_frame(job: Job) -> dict[str, Any]:
    """Prepare a frame, put it in its place, and return its row of the index.

    Raises:
        StreetsegError: the frame cannot be used and the recipe does not skip it.
    """
    frame, recipe = job.frame, job.recipe
    known = {
        "frame": frame.name,
        "split": frame.split,
        "city": frame.city,
        "row": -1,
        "image": frame.image.relative_to(recipe.root).as_posix(),
        "label": frame.label.relative_to(recipe.root).as_posix(),
        "error": "",
    }
    try:
        prepared = prepare_frame(frame, recipe.size, recipe.labels)
    except StreetsegError as error:
        if recipe.skip_errors:
            reason = str(error).replace(f"{recipe.root}/", "")
            return {**known, **blank_measures(recipe.labels), "error": reason}
        raise StreetsegError(
            f"{error}: fix or remove the frame, or set prepare.on_error=skip"
        ) from None
    _write(job.folder / "images.npy", job.place, prepared.rgb)
    _write(job.folder / "categories.npy", job.place, prepared.categories)
    if frame.split == EVALUATED:
        (job.folder / "label_ids" / f"{frame.name}.png").write_bytes(prepared.label_png)
    return {**known, **prepared.measures}


def _write(path: Path, place: int, pixels: np.ndarray) -> None:
    # Not through a memory map: its pages would count as this process's memory.
    with path.open("r+b") as file:
        file.seek(place * pixels.nbytes, 2)
        file.write(np.ascontiguousarray(pixels).data)


def _keep(path: Path, places: Sequence[int]) -> None:
    """Rewrite an array with only some of its rows."""
    unfinished = path.with_suffix(".partial")
    array = np.load(path, mmap_mode="r")
    with unfinished.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(places), *array.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        for place in places:
            file.write(array[place].tobytes())
    unfinished.rename(path)


def _state(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns]
