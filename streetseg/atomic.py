"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streetseg.errors import StreetsegError


@contextmanager
def new_folder(
    destination: Path, marker: str, hint: str = "", *, resumable: bool = False
) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of ``destination`` at the end.

    If the block fails, ``destination`` stays as it was.

    Args:
        destination: where the folder is to be.
        marker: a file that the folder will hold; a folder that is there without it is not ours to
            replace.
        hint: what to do if it cannot be written.
        resumable: whether what an interrupted block wrote is kept, and given to the next one.

    Raises:
        StreetsegError: the folder cannot be written, or holds something else.
    """
    refuse_foreign(destination, marker)
    destination = destination.resolve()
    unfinished = unfinished_folder(destination)
    try:
        if not resumable:
            shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, exist_ok=resumable)
        yield unfinished
        shutil.rmtree(destination, ignore_errors=True)
        unfinished.rename(destination)
    except OSError as error:
        reason = f"cannot write {destination}: {error.strerror or error}"
        raise StreetsegError(f"{reason}: {hint}" if hint else reason) from None
    finally:
        if not resumable:
            shutil.rmtree(unfinished, ignore_errors=True)


def unfinished_folder(destination: Path) -> Path:
    """Where a folder grows before it takes its place."""
    return destination.with_name(f"{destination.name}.partial")


def refuse_foreign(destination: Path, marker: str) -> None:
    """Stop if ``destination`` is something else than an empty folder or one with ``marker`` in it.

    Raises:
        StreetsegError: replacing it would lose what is there.
    """
    if not destination.exists():
        return
    ours = destination.is_dir() and (
        (destination / marker).is_file() or not any(destination.iterdir())
    )
    if not ours:
        raise StreetsegError(
            f"{destination} is there and holds no {marker}, so it is not replaced: remove it or "
            "name another place"
        )
