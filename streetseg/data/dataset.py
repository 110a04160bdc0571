"""Reading a prepared dataset (see :mod:`streetseg.data.prepare` for the format)."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.core.sampling import evenly_spaced
from streetseg.data.annotations.shapes import COVERED, DROPPED, EMPTY, READ
from streetseg.data.drives import drive_of
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.images.decode import decode_ids, decode_instances, read_image
from streetseg.images.resize import Fit, Placement, aspect_change, nearest_size, place, size_of

FORMAT, FORMAT_WITH_FIT = 2, 3
"""A dataset whose fit is not ``stretch`` has the second: releases that stretch refuse it."""
DESCRIPTION, INDEX = "dataset.json", "index.parquet"
MAX_REASONS = 4
"""Reasons for skipping frames that are told."""
INDEX_FILES = (DESCRIPTION, INDEX)
"""The files that describe the frames but hold no pixels."""


class PreparedDataset:
    """A prepared dataset on disk, with memory-mapped pixels.

    Attributes:
        size: (height, width) of the arrays.
        fit: how frames of another aspect ratio meet that size.
        source: name of a packaged source, or of the file of another.
        name: what the source is called; empty in datasets of 0.1.0, as is the next.
        source_hash: a digest of its patterns, splits and label space.
        shapes: counts of the shapes in label files; empty if all are images.
        label_files: hashes of label files with many pictures, by their path below the root.
        cities_are_places: whether cities are real places, so that none should be in two splits.
        index: one row per usable frame, numbered from 0.
        skipped: one row per unusable frame of the source, with the error.
    """

    def __init__(self, path: Path) -> None:
        """Open the dataset in a folder; StreetsegError if missing, damaged or of another format."""
        self.path = Path(path)
        try:
            description = json.loads((self.path / DESCRIPTION).read_text())
            index = pd.read_parquet(self.path / INDEX)
            if description["format"] not in (FORMAT, FORMAT_WITH_FIT):
                raise StreetsegError(
                    f"{path} has format {description['format']}, this version reads {FORMAT} and "
                    f"{FORMAT_WITH_FIT}: prepare it again"
                )
            usable = index["error"] == ""
            self.index = index[usable].drop(columns="error").reset_index(drop=True)
            self.skipped = index[~usable].reset_index(drop=True)
            self.size: tuple[int, int] = tuple(description["size"])
            self.fit: Fit = description.get("fit", "stretch")
            self.source: str = description["source"]
            self.name: str = description.get("source_name", "")
            self.source_hash: str = description.get("source_hash", "")
            self.shapes: dict[str, int] = description.get("shapes", {})
            self.label_files: dict[str, str] = description.get("label_files", {})
            self.cities_are_places: bool = description["cities_are_places"]
            self.labels = LabelSpace.from_dict(description["label_space"])
            self._refuse_negative_ids()
        except (FileNotFoundError, NotADirectoryError):
            hint = did_you_mean_path(path, "make one with 'streetseg prepare'")
            raise StreetsegError(f"{path} holds no prepared dataset: {hint}") from None
        except PermissionError:
            raise StreetsegError(f"cannot read {path}: Permission denied") from None
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ):  # OSError by Arrow
            raise StreetsegError(
                f"{path} holds a damaged dataset: prepare or fetch it again"
            ) from None

    def _refuse_negative_ids(self) -> None:
        """Refuse data in which an older version took 255 for the id -1."""
        if len(self.labels.drawn) == len(self.labels.labels) or self.labels.known[IGNORE]:
            return
        if IGNORE in np.concatenate([np.empty(0, int), *self.index["label_ids"]]):
            raise StreetsegError(
                f"{self.path} counts pixels of id 255 to the label of id -1, as versions before "
                "0.2.0 did: prepare it again"
            )

    @cached_property
    def version(self) -> str:
        """The data version: the md5 that DVC gives this folder, ending in ``.dir``."""
        return data_version(self.path)

    @property
    def origin(self) -> str:
        """The source for people, as ``munich (source.yaml)``."""
        return f"{self.name} ({self.source})" if self.name not in ("", self.source) else self.source

    @property
    def place_words(self) -> tuple[str, str]:
        """What people call the cities of the index, one and several: a city or a sequence."""
        return ("city", "cities") if self.cities_are_places else ("sequence", "sequences")

    @property
    def skip_summary(self) -> str:
        """How many frames were skipped and why, in one line; empty if none was."""
        reasons = Counter(
            error.replace(image, "the image").replace(label, "the label")
            for image, label, error in self.skipped[["image", "label", "error"]].to_numpy()
        )
        if not reasons:
            return ""
        listed = "; ".join(f"{count}x {why}" for why, count in reasons.most_common(MAX_REASONS))
        more = len(reasons) - MAX_REASONS
        n_skipped, n_frames = len(self.skipped), len(self.skipped) + len(self.index)
        return (
            f"{n_skipped} of {n_frames} frames skipped: {listed}"
            f"{f'; and {more} other reasons' if more > 0 else ''} (the first: "
            f"{self.skipped['image'][0]})"
        )

    @property
    def shape_summary(self) -> str:
        """How many shapes were read and dropped, in one line; empty if all labels are images."""
        if not self.shapes:
            return ""
        groups: dict[str, list[str]] = {READ: [], DROPPED: []}
        for key, count in self.shapes.items():
            what, _, kind = key.partition(":")
            if kind:
                groups[what].append(f"{count}x {kind}")
        parts = [f"shapes {what}: {', '.join(kinds) or 'none'}" for what, kinds in groups.items()]
        if empty := self.shapes.get(EMPTY):
            parts.append(f"pictures without a shape: {empty}")
        if covered := self.shapes.get(COVERED):
            parts.append(
                "pixels whose label hangs on the order in the file, as COCO keeps no z_order "
                f"('CVAT for images 1.1' does): {covered}"
            )
        return "; ".join(parts)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split: int64[frames]; StreetsegError if it has no frames."""
        rows = np.flatnonzero(self.index["split"] == split)
        if not rows.size:
            raise StreetsegError(f"{self.path} has no frames in the split '{split}'")
        return rows

    def drives(self, rows: np.ndarray) -> list[str]:
        """The drive of each frame in ``rows``; empty where it is not known."""
        frames = self.index.iloc[rows]
        cities = frames["city"] if self.cities_are_places else [None] * len(frames)
        return [drive_of(*frame) for frame in zip(frames["frame"], cities, strict=True)]

    @property
    def labelled_pixels(self) -> pd.Series:
        """Pixels of each frame that are in a category other than void."""
        names = [f"pixels_{name}" for name in self.labels.names if name != "void"]
        return self.index[names].sum(axis=1)

    def native_size(self, row: int) -> tuple[int, int]:
        """(height, width) of a frame in the source."""
        return int(self.index["height"][row]), int(self.index["width"][row])

    def placement(self, row: int) -> Placement:
        """Which part of a frame its arrays show, and where."""
        return place(self.native_size(row), self.size, self.fit)

    @property
    def shown_pixels(self) -> np.ndarray:
        """Pixels of the arrays of each frame that are no padding: int64[frames]."""
        frames = list(zip(self.index["height"].tolist(), self.index["width"].tolist(), strict=True))
        shown = {
            frame: math.prod(size_of(place(frame, self.size, self.fit).target, self.size))
            for frame in set(frames)
        }
        return np.array([shown[frame] for frame in frames], np.int64)

    def better_size(self, max_change: float) -> str:
        """Advice if stretching changes the aspect ratio of frames by more than ``max_change``."""
        if self.fit != "stretch" or not len(self.index):
            return ""
        height, width = self.index[["height", "width"]].value_counts().index[0]
        change = aspect_change((height, width), self.size)
        if change <= max_change:
            return ""
        fitting = list(nearest_size((height, width), self.size))
        return (
            f"stretching {width}x{height} to {self.size[1]}x{self.size[0]} changes the aspect "
            f"ratio by {change:.0%}: prepare.size={fitting} keeps it, and so do prepare.fit=pad "
            "and crop"
        )

    def require_labelled(self, rows: np.ndarray, purpose: str) -> None:
        """Raise a StreetsegError if no pixel of ``rows`` int64[n] is in a category but void."""
        if not self.labelled_pixels.iloc[rows].any():
            raise StreetsegError(
                f"no pixel of the {len(rows)} frames {purpose} is labelled in {self.path}: all are "
                f"ignored or void in the label space '{self.labels.name}': check data.source and "
                "the label images, then prepare again"
            )

    def category_pixels(self, rows: np.ndarray) -> np.ndarray:
        """Pixels of each category in the frames of ``rows`` together: int64[C]."""
        names = [f"pixels_{name}" for name in self.labels.names]
        return self.index.iloc[rows][names].sum().to_numpy()

    def evenly_spaced_rows(self, frames: int) -> list[int]:
        """Up to ``frames`` row numbers, evenly spaced over all splits and cities."""
        return evenly_spaced(len(self.index), frames).tolist()

    def image(self, row: int) -> np.ndarray:
        """RGB uint8[height, width, 3]."""
        return self._pixels(row, "images")

    def categories(self, row: int) -> np.ndarray:
        """Category ids uint8[height, width]."""
        return self._pixels(row, "categories")

    def label_ids(self, row: int) -> np.ndarray:
        """Label ids at native size: uint8[H, W]. Only the evaluation split has them.

        Raises:
            StreetsegError: the file is missing or damaged.
        """
        shard, _ = self._locations[row]
        frame = self.index.frame[row]
        try:
            return read_image(shard / "label_ids" / f"{frame}.png", decode_ids)
        except StreetsegError as error:
            raise StreetsegError(
                f"{self.path} has no labels of {frame} at native size ({error}): prepare or fetch "
                "the data again"
            ) from None

    def instances(self, row: int) -> np.ndarray | None:
        """Instance ids at native size: uint16[H, W]; None if the source has none.

        Raises:
            StreetsegError: the file is damaged.
        """
        shard, _ = self._locations[row]
        path = shard / "instances" / f"{self.index.frame[row]}.png"
        return read_image(path, decode_instances) if path.exists() else None

    def _pixels(self, row: int, name: str) -> np.ndarray:
        shard, shard_row = self._locations[row]
        path = shard / f"{name}.npy"
        try:
            return _memory_map(path, path.stat().st_mtime_ns)[shard_row]
        except (OSError, ValueError, EOFError, IndexError):
            raise StreetsegError(
                f"{path} is missing or damaged: prepare or fetch the data again"
            ) from None

    @cached_property
    def _locations(self) -> list[tuple[Path, int]]:
        """The shard of each frame and its row there, as a list: indexing a data frame is slow."""
        columns = (self.index[name].tolist() for name in ("split", "city", "row"))
        return [(self.path / split / city, row) for split, city, row in zip(*columns, strict=True)]


def data_version(folder: Path) -> str:
    """The name DVC gives a folder: the md5 of its sorted list of file md5s, ending in ``.dir``."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import localfs

    with tempfile.TemporaryDirectory() as staging:
        _, _, tree = build(HashFileDB(localfs, staging), str(folder), localfs, "md5", dry_run=True)
    return str(tree.hash_info.value)


@lru_cache(maxsize=256)
def _memory_map(path: Path, modified_ns: int) -> np.ndarray:
    """The array in a file; the time of modification is part of the cache key."""
    return np.load(path, mmap_mode="r")
