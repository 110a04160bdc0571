"""Source frames in a folder or in an object store, which are listed once and fetched in part."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.core.storage import Storage

TEXTS = (".txt", ".yaml", ".yml")
"""Suffixes of sources, label spaces and lists, which are read to find the frames."""


class RawFrames:
    """The files below a folder or a prefix such as ``s3://bucket/raw``."""

    def __init__(self, url: str) -> None:
        """Refer to a folder or prefix; StreetsegError if its kind is not supported."""
        self._storage = Storage(url)
        self.url = self._storage.url

    @cached_property
    def stamps(self) -> dict[str, str]:
        """What changes with the content of each file, by its path; StreetsegError if none."""
        if stamps := self._storage.stamps():
            return stamps
        hint = did_you_mean_path(self.url, "name the folder or prefix of the frames")
        raise StreetsegError(f"{self.url} holds no files: {hint}")

    @contextmanager
    def outline(self) -> Iterator[Path]:
        """A folder with all files, of which those in an object store are empty but for texts.

        An error in the block names files by their address. A local folder is itself.

        Raises:
            StreetsegError: it cannot be listed, or a name is no path of a file.
        """
        if self._storage.local:
            yield self._folder
            return
        with self._scratch() as root:
            for path in self.stamps:
                if PurePosixPath(path).as_posix() != path or ".." in PurePosixPath(path).parts:
                    raise StreetsegError(
                        f"{self.url} holds '{path}', which is no path of a file: rename it"
                    )
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).touch()
            texts = [path for path in self.stamps if path.endswith(TEXTS)]
            self._storage.download(texts, root)
            yield root

    @contextmanager
    def only(self, paths: Iterable[str]) -> Iterator[Path]:
        """A folder with some of the files. A local folder is itself.

        An error in the block names files by their address.
        """
        if self._storage.local:
            yield self._folder
            return
        with self._scratch() as root:
            self._storage.download(sorted(set(paths)), root)
            yield root

    def fill(self, root: Path, paths: Iterable[Path]) -> None:
        """Fetch the content of files in an outline."""
        if not self._storage.local:
            inside = {path for path in paths if path.is_relative_to(root) and path.exists()}
            names = sorted(path.relative_to(root).as_posix() for path in inside)
            self._storage.download(names, root)

    def stat(self, root: Path, path: Path) -> list[Any]:
        """The name of a file in an outline, and its stamp; the name alone if it does not exist."""
        name = path.relative_to(root).as_posix()
        return [name, self.stamps[name]] if name in self.stamps else [name]

    @property
    def _folder(self) -> Path:
        return Path(self._storage.url.removeprefix("file://")).absolute()

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / PurePosixPath(self.url).name
            root.mkdir()
            try:
                yield root
            except StreetsegError as error:
                raise StreetsegError(str(error).replace(str(root), self.url)) from None
