"""A folder or a prefix in an object store: files are listed, read and written alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streetseg.core.atomic_files import write_atomic
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, one_line


class Storage:
    """The files below a folder, or below a prefix such as ``s3://bucket/prefix``.

    Credentials and addresses of object stores are those of their own clients: for S3,
    ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_ENDPOINT_URL`` or a role.

    Attributes:
        url: as it was named, without user and password.
        local: whether it is a folder of this machine.
    """

    def __init__(self, url: str) -> None:
        """Name a place; a folder need not be there.

        Args:
            url: path of a folder, or a URL that fsspec understands.

        Raises:
            StreetsegError: an unknown kind of URL, or its package is not installed.
        """
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.url = redact(url.rstrip("/") or url)
        with self._translate_errors("open"):
            self._files, root = url_to_fs(url, use_listings_cache=False)
        self._root = root.rstrip("/")
        self.local = isinstance(self._files, LocalFileSystem)

    def files(self) -> dict[str, int]:
        """Bytes of each file by its path below this place, sorted; empty if there is none.

        Raises:
            StreetsegError: the place cannot be listed.
        """
        with self._translate_errors("list"):
            found = self._files.find(self._root, detail=True)
        prefix = f"{self._root}/"
        sizes = {
            path.removeprefix(prefix): int(details["size"] or 0)
            for path, details in found.items()
            if path.startswith(prefix)
        }
        return dict(sorted(sizes.items()))

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            StreetsegError: it cannot be read.
        """
        with self._translate_errors(f"read {path} in"):
            return self._files.cat_file(self._path(path))

    def write(self, path: str, data: bytes) -> None:
        """Make a file that holds all of ``data``, or leave what was there.

        Raises:
            StreetsegError: it cannot be written.
        """
        with self._translate_errors(f"write {path} to"):
            if not self.local:
                self._files.pipe_file(self._path(path), data)  # an object appears when it is whole
                return
            target = Path(self._path(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, data)

    def remove(self, path: str) -> None:
        """Remove a file that is there.

        Raises:
            StreetsegError: it cannot be removed.
        """
        with self._translate_errors(f"remove {path} in"):
            self._files.rm_file(self._path(path))

    def overlaps(self, other: Storage) -> bool:
        """Whether one of the two is the other, or inside it."""
        if type(self._files) is not type(other._files):
            return False
        ours, theirs = (f"{place._resolved()}/" for place in (self, other))
        return ours.startswith(theirs) or theirs.startswith(ours)

    def _resolved(self) -> str:
        return str(Path(self._root or "/").resolve()).rstrip("/") if self.local else self._root

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _translate_errors(self, what: str) -> Iterator[None]:
        """One line for whatever a file system or the client of an object store raises."""
        try:
            yield
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            told = redact(f"cannot {what} {self.url}: {one_line(reason)}")
            raise StreetsegError(told) from None
