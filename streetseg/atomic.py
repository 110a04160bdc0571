"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streetseg.errors import StreetsegError


@contextmanager
def new_folder(destination: Path, hint: str = "") -> Iterator[Path]:
    """Give an empty folder to write to, which takes the place of ``destination`` at the end.

    If the block fails, what it wrote is removed and ``destination`` stays as it was.

    Args:
        destination: where the folder is to be.
        hint: what to do if it cannot be written.

    Raises:
        StreetsegError: the folder cannot be written.
    """
    partial = destination.with_name(f"{destination.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(destination, ignore_errors=True)
        partial.rename(destination)
    except OSError as error:
        reason = f"cannot write {destination}: {error.strerror or error}"
        raise StreetsegError(f"{reason}: {hint}" if hint else reason) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
