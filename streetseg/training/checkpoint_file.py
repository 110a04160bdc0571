"""The file of a checkpoint, on a disk or in a bucket."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from streetseg.core.atomic_files import os_reason, unfinished_path
from streetseg.core.errors import StreetsegError, one_line
from streetseg.core.storage import Storage


class LocalCheckpoint:
    """A checkpoint on a disk."""

    def __init__(self, path: Path) -> None:
        """Use the file ``path``, which need not exist."""
        self.path = path

    def exists(self) -> bool:
        """Whether the file exists."""
        return self.path.exists()

    def open(self) -> Path:
        """The file, for a reader that takes a path."""
        return self.path

    def write(self, stored: dict[str, Any]) -> None:
        """Write the file completely, or raise StreetsegError and leave the old one."""
        unfinished = unfinished_path(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                torch.save(stored, file)
            unfinished.rename(self.path)
        except (OSError, RuntimeError) as error:
            unfinished.unlink(missing_ok=True)
            # torch's error names a line of its own code, its context the reason
            cause = error.__context__ if isinstance(error, RuntimeError) else error
            reason = os_reason(cause) if isinstance(cause, OSError) else one_line(error)
            raise StreetsegError(
                f"cannot write the checkpoint {self.path}: {reason}: make room, or set "
                "train.checkpoint to another path; the previous checkpoint is kept"
            ) from None

    def set_aside(self) -> str:
        """Rename the file, and return its new path."""
        return str(self.path.replace(self.path.with_name(f"{self.path.name}.old")))

    def remove(self) -> None:
        """Delete the file, if it exists."""
        self.path.unlink(missing_ok=True)


class RemoteCheckpoint:
    """A checkpoint in a bucket. It is written as well as possible: training goes on without it."""

    def __init__(self, url: str) -> None:
        """Use the object ``url``, such as ``s3://bucket/training.checkpoint``."""
        self.path = url
        folder, _, self._name = url.rpartition("/")
        self._storage = Storage(folder)

    def exists(self) -> bool:
        """Whether the object exists."""
        return self._name in self._storage.files()

    def open(self) -> BytesIO:
        """The content of the object."""
        return BytesIO(self._storage.read(self._name))

    def write(self, stored: dict[str, Any]) -> None:
        """Replace the object; a warning is printed if that fails."""
        buffer = BytesIO()
        torch.save(stored, buffer)
        try:
            self._storage.write(self._name, buffer.getvalue())
        except StreetsegError as error:
            print(f"warning: no checkpoint this time, the previous one is kept: {error}")

    def set_aside(self) -> str:
        """Copy the object to another name, delete it, and return the new URL."""
        self._storage.write(f"{self._name}.old", self._storage.read(self._name))
        self.remove()
        return f"{self.path}.old"

    def remove(self) -> None:
        """Delete the object, if it exists."""
        if self.exists():
            self._storage.remove(self._name)


def checkpoint_file(path: str | Path) -> LocalCheckpoint | RemoteCheckpoint:
    """The checkpoint at a path or a URL."""
    text = str(path)
    return RemoteCheckpoint(text) if "://" in text else LocalCheckpoint(Path(path))
