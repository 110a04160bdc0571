"""A local folder or a prefix of an object store, with the same operations."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streetseg.core.atomic_files import lock_folder, unfinished_path, write_atomic
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, one_line

THREADS = 8
"""Concurrent downloads."""


class Storage:
    """The files below a folder, or below a prefix such as ``s3://bucket/prefix``.

    For S3, credentials and address come from ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and
    ``AWS_ENDPOINT_URL``, or from a role. ``url`` is the path or URL without user and password. Each
    method raises :class:`StreetsegError` if its operation fails.
    """

    def __init__(self, url: str) -> None:
        """Refer to a path, or to a URL that fsspec supports, which need not exist.

        Raises:
            StreetsegError: the URL is not supported, or its package is not installed.
        """
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.url = redact(url.rstrip("/") or url)
        with self._translate_errors("open"):
            self._files, root = url_to_fs(url, use_listings_cache=False)
        self._root = root.rstrip("/")
        self.local = isinstance(self._files, LocalFileSystem)

    def files(self) -> dict[str, int]:
        """The size in bytes of every file, keyed and sorted by its path relative to ``url``."""
        return {path: int(details["size"] or 0) for path, details in self._listing()}

    def stamps(self) -> dict[str, str]:
        """What changes with the content of each file: its ETag, or size and time of modification.

        Keyed and sorted by the path relative to ``url``.
        """
        return {path: _stamp(details) for path, details in self._listing()}

    def times(self) -> dict[str, datetime]:
        """When each file was last written, keyed and sorted by its path relative to ``url``."""
        with self._translate_errors("list"):  # some file systems tell no time
            return {path: _time(details) for path, details in self._listing()}

    def upload(self, file: Path, path: str) -> None:
        """Copy a file to ``path`` completely, or leave the file there as it was."""
        with self._translate_errors(f"write {path} to"):
            if not self.local:
                self._files.put_file(str(file), self._path(path))
                return
            target = Path(self._path(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = unfinished_path(target)
            shutil.copyfile(file, unfinished)
            unfinished.rename(target)

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        with self._translate_errors(f"look for {path} in"):
            return bool(self._files.isfile(self._path(path)))

    def read(self, path: str) -> bytes:
        """The content of a file."""
        with self._translate_errors(f"read {path} in"):
            return self._files.cat_file(self._path(path))

    def write(self, path: str, data: bytes) -> None:
        """Write ``data`` to a file completely, or leave the file as it was."""
        with self._translate_errors(f"write {path} to"):
            if not self.local:
                self._files.pipe_file(self._path(path), data)  # an object appears when complete
                return
            target = Path(self._path(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, data)

    def download(self, paths: Iterable[str], folder: Path) -> None:
        """Copy files to a local folder, under the same relative paths."""

        def copy(path: str) -> None:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._translate_errors(f"read {path} in"):
                self._files.get_file(self._path(path), str(target))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(copy, paths))

    def remove(self, path: str) -> None:
        """Remove an existing file."""
        with self._translate_errors(f"remove {path} in"):
            self._files.rm_file(self._path(path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing here; object stores have no locks."""
        if not self.local:
            yield
            return
        folder = Path(self._resolved())
        with self._translate_errors("write to"):
            folder.mkdir(parents=True, exist_ok=True)
        with lock_folder(folder, folder):
            yield

    def overlaps(self, other: Storage) -> bool:
        """Whether both are the same folder or prefix, or one is inside the other."""
        if type(self._files) is not type(other._files):
            return False
        mine, others = (f"{storage._resolved()}/" for storage in (self, other))
        return mine.startswith(others) or others.startswith(mine)

    def _listing(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The path of every file relative to ``url``, in order, and what fsspec tells of it."""
        with self._translate_errors("list"):
            listing = self._files.find(self._root, detail=True)
        prefix = f"{self._root}/"
        below = sorted(path for path in listing if path.startswith(prefix))
        return [(path.removeprefix(prefix), listing[path]) for path in below]

    def _resolved(self) -> str:
        return str(Path(self._root or "/").resolve()).rstrip("/") if self.local else self._root

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _translate_errors(self, action: str) -> Iterator[None]:
        """Raise a StreetsegError for any exception of a file system or an object store's client."""
        try:
            yield
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            message = redact(f"cannot {action} {self.url}: {one_line(reason)}")
            raise StreetsegError(message) from None


def _stamp(details: Mapping[str, Any]) -> str:
    """Of a file, from what a file system or object store lists of it."""
    tag = details.get("ETag") or details.get("etag")
    return str(tag or f"{details['size']} {_changed(details)}")


def _changed(details: Mapping[str, Any]) -> Any:
    return details.get("mtime") or details.get("LastModified") or details.get("updated")


def _time(details: Mapping[str, Any]) -> datetime:
    changed = _changed(details)
    if isinstance(changed, datetime):
        return changed
    if isinstance(changed, str):
        return datetime.fromisoformat(changed)
    return datetime.fromtimestamp(changed, UTC)
