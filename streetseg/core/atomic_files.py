"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streetseg.core.errors import StreetsegError


@contextmanager
def atomic_folder(
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
        StreetsegError: the folder cannot be written, holds something else, or is being written by
            another process.
    """
    destination = destination.resolve()
    ensure_replaceable(destination, marker)
    unfinished = unfinished_path(destination)
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        with lock_folder(unfinished, destination):
            if not resumable:
                _empty(unfinished)
            try:
                yield unfinished
                replace_folder(unfinished, destination)
            finally:
                if not resumable:
                    shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        reason = f"cannot write {destination}: {os_reason(error)}"
        raise StreetsegError(f"{reason}: {hint}" if hint else reason) from None


def os_reason(error: OSError) -> str:
    """Why files could not be read or written; of a whole folder that was copied, the first."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return error.strerror or str(error)


def replace_folder(folder: Path, destination: Path) -> None:
    """Rename ``folder`` to ``destination``; what was there is removed once it is replaced.

    Meanwhile it is in ``.<name>.old-*`` beside it, where a killed process leaves it until the next
    call.
    """
    aside = f".{destination.name}.old-"
    before = Path(tempfile.mkdtemp(prefix=aside, dir=destination.parent)) / destination.name
    try:
        if destination.exists():
            destination.rename(before)
        folder.rename(destination)
    except OSError:
        if before.exists():
            before.rename(destination)
        before.parent.rmdir()
        raise
    for left in destination.parent.glob(f"{glob.escape(aside)}*"):
        shutil.rmtree(left, ignore_errors=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file that holds all of ``content`` (text as UTF-8) or what it held before.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    unfinished = unfinished_path(path)
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        unfinished.rename(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def unfinished_path(destination: Path) -> Path:
    """Where a folder or file grows before it takes its place."""
    return destination.with_name(f"{destination.name}.partial")


def ensure_replaceable(destination: Path, marker: str) -> None:
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


@contextmanager
def lock_folder(folder: Path, destination: Path) -> Iterator[None]:
    """Hold a lock on a folder, which the system frees when this process ends in any way.

    Args:
        folder: one that is there.
        destination: what to call it in the message.

    Raises:
        StreetsegError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StreetsegError(
                f"another process is writing {destination}: wait for it, or name another place"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def lock_destination(destination: Path) -> Iterator[None]:
    """Keep other processes from making ``destination`` during the block, hours before it is there.

    The empty folder ``<name>.lock`` stands beside it meanwhile; one that a killed process left does
    no harm.

    Raises:
        StreetsegError: another process has it.
        OSError: nothing can be written there.
    """
    lock = destination.with_name(f"{destination.name}.lock")
    lock.mkdir(parents=True, exist_ok=True)
    with lock_folder(lock, destination):
        try:
            yield
        finally:
            with suppress(OSError):  # someone has tidied up
                lock.rmdir()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
