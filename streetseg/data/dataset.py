"""Reading a prepared dataset (see :mod:`streetseg.data.prepare` for the format)."""

from __future__ import annotations

import json
import tempfile
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_ids

FORMAT = 2
DESCRIPTION, INDEX = "dataset.json", "index.parquet"
INDEX_FILES = (DESCRIPTION, INDEX)
"""What tells about the frames without holding their pixels."""


class PreparedDataset:
    """A prepared dataset on disk; pixels are memory-mapped, nothing is decoded.

    Attributes:
        path: the folder.
        size: (height, width) of the arrays.
        source: the name of the source.
        cities_are_places: whether a city is a place, so that none should be in two splits.
        labels: the label space.
        index: one row per frame, numbered from 0.
        skipped: one row per frame of the source that could not be used, with the error.
    """

    def __init__(self, path: Path) -> None:
        """Open the dataset in the folder ``path``.

        Raises:
            StreetsegError: the folder holds no prepared dataset of a format known here.
        """
        self.path = Path(path)
        try:
            description = json.loads((self.path / DESCRIPTION).read_text())
            index = pd.read_parquet(self.path / INDEX)
            if (written_as := description["format"]) != FORMAT:
                raise StreetsegError(
                    f"{path} has format {written_as}, this version reads {FORMAT}: prepare it again"
                )
            usable = index["error"] == ""
            self.index = index[usable].drop(columns="error").reset_index(drop=True)
            self.skipped = index[~usable].reset_index(drop=True)
            self.size: tuple[int, int] = tuple(description["size"])
            self.source: str = description["source"]
            self.cities_are_places: bool = description["cities_are_places"]
            self.labels = LabelSpace.from_dict(description["label_space"])
        except (FileNotFoundError, NotADirectoryError):
            raise StreetsegError(
                f"{path} holds no prepared dataset: make one with 'streetseg prepare'"
            ) from None
        except PermissionError:
            raise StreetsegError(f"cannot read {path}: Permission denied") from None
        except (OSError, ValueError, KeyError, TypeError):  # OSError: of Arrow, at a damaged table
            raise StreetsegError(
                f"{path} holds a damaged dataset: prepare or fetch it again"
            ) from None

    @cached_property
    def version(self) -> str:
        """The data version: the md5 that DVC gives this folder, ending in ``.dir``."""
        return data_version(self.path)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split: int64[frames].

        Raises:
            StreetsegError: the dataset has no frame in this split.
        """
        rows = np.flatnonzero(self.index["split"] == split)
        if not rows.size:
            raise StreetsegError(f"{self.path} has no frames in the split '{split}'")
        return rows

    @property
    def labelled_pixels(self) -> pd.Series:
        """How many pixels of each frame are in a category other than void."""
        names = [f"pixels_{name}" for name in self.labels.names if name != "void"]
        return self.index[names].sum(axis=1)

    def category_pixels(self, rows: np.ndarray) -> np.ndarray:
        """How many pixels of each category the frames of ``rows`` have together: int64[C]."""
        names = [f"pixels_{name}" for name in self.labels.names]
        return self.index.iloc[rows][names].sum().to_numpy()

    def evenly_spaced_rows(self, frames: int) -> list[int]:
        """At most so many rows, evenly through the dataset, which is in order of split and city."""
        rows = np.linspace(0, len(self.index) - 1, min(frames, len(self.index)))
        return np.unique(rows.round().astype(int)).tolist()

    def image(self, row: int) -> np.ndarray:
        """RGB uint8[height, width, 3]."""
        return self._pixels(row, "images")

    def categories(self, row: int) -> np.ndarray:
        """Category ids uint8[height, width]."""
        return self._pixels(row, "categories")

    def label_ids(self, row: int) -> np.ndarray:
        """Label ids at native size: uint8[H, W]. Kept for evaluation splits only."""
        return decode_ids(
            (self._places[row][0] / "label_ids" / f"{self.index.frame[row]}.png").read_bytes()
        )

    def _pixels(self, row: int, name: str) -> np.ndarray:
        shard, place = self._places[row]
        path = shard / f"{name}.npy"
        try:
            return _open(path, path.stat().st_mtime_ns)[place]
        except (OSError, ValueError, EOFError, IndexError):
            raise StreetsegError(
                f"{path} is missing or damaged: prepare or fetch the data again"
            ) from None

    @cached_property
    def _places(self) -> list[tuple[Path, int]]:
        """The shard of each frame and its row there: a data frame is too slow to be asked."""
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
def _open(path: Path, changed: int) -> np.ndarray:
    """The array in a file, as it was when the file was last changed (the key of the cache)."""
    return np.load(path, mmap_mode="r")
