"""Folders and files that appear complete or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from streetseg.core.errors import StreetsegError

ATTEMPTS = 100
"""To take a lock that others give back at the same moment."""


@contextmanager
def atomic_folder(
    destination: Path,
    marker: str,
    hint: str = "",
    *,
    resumable: bool = False,
    locked: bool = False,
) -> Iterator[Path]:
    """Yield a folder that replaces ``destination`` when the block ends without an exception.

    Args:
        marker: a file that the new folder will hold. An existing folder without it is not replaced.
        hint: advice for the message that the folder cannot be written.
        resumable: keep what an interrupted block wrote, and yield it to the next block.
        locked: the caller holds :func:`lock_destination` already.

    Raises:
        StreetsegError: the folder cannot be written, holds something else, or is locked.
    """
    destination = destination.resolve()
    begun = destination if resumable else destination.with_name(f"{destination.name}.new")
    unfinished = unfinished_path(begun)
    try:
        with nullcontext() if locked else lock_destination(destination):
            ensure_replaceable(destination, marker)
            if not resumable:
                shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(exist_ok=True)
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
    """Why files could not be read or written; the first reason if a folder was copied."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return error.strerror or str(error)


def replace_folder(folder: Path, destination: Path) -> None:
    """Rename ``folder`` to ``destination``, and remove the folder that was there before.

    The caller holds a lock, such as :func:`lock_destination`. A killed process leaves the old
    folder in ``.<name>.old-*`` beside it; the next call removes it.
    """
    prefix = f".{destination.name}.old-"
    old = Path(tempfile.mkdtemp(prefix=prefix, dir=destination.parent)) / destination.name
    try:
        if destination.exists():
            destination.rename(old)
        folder.rename(destination)
    except OSError:
        if old.exists():
            old.rename(destination)
        old.parent.rmdir()
        raise
    for leftover in destination.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` (text as UTF-8) completely, or raise OSError and leave the old file.

    Each call has a temporary file of its own, so of several writers the last one wins.
    """
    unfinished = unfinished_path(path.with_name(f".{secrets.token_hex(8)}"))
    try:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_new(files: Mapping[Path, str]) -> None:
    """Write texts to files that do not exist yet, in new folders if need be: all, or none.

    Raises:
        StreetsegError: one cannot be written.
    """
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            write_atomic(path, text)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StreetsegError(f"cannot write {written[-1]}: {os_reason(error)}") from None
        raise


def unfinished_path(destination: Path) -> Path:
    """The path of a folder or file until it is complete."""
    return destination.with_name(f"{destination.name}.partial")


def ensure_replaceable(destination: Path, marker: str) -> None:
    """Raise StreetsegError unless ``destination`` is absent, empty, or a folder with ``marker``."""
    if not destination.exists():
        return
    replaceable = destination.is_dir() and (
        (destination / marker).is_file() or not any(destination.iterdir())
    )
    if not replaceable:
        raise StreetsegError(
            f"{destination} exists and holds no {marker}, so it is not replaced: remove it or "
            "choose another path"
        )


@contextmanager
def lock_folder(folder: Path, destination: Path) -> Iterator[int]:
    """Lock an existing folder during the block; the system frees the lock when this process ends.

    Yields the descriptor of the folder.

    Raises:
        StreetsegError: another process holds the lock. The message names ``destination``.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(destination) from None
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def lock_destination(destination: Path) -> Iterator[None]:
    """Keep other processes from making ``destination`` during the block, before it exists.

    The lock is the empty folder ``<name>.lock``; one that a killed process left locks nothing.

    Raises:
        StreetsegError: another process holds the lock.
        OSError: the folder cannot be written.
    """
    resolved = destination.resolve()
    path = resolved.with_name(f"{resolved.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(ATTEMPTS):
        with suppress(FileExistsError):
            path.mkdir()
        with ExitStack() as lock:
            try:
                descriptor = lock.enter_context(lock_folder(path, destination))
                if not os.path.samestat(os.fstat(descriptor), path.stat()):
                    continue
            except FileNotFoundError:  # whoever held the lock has just removed it
                continue
            try:
                yield
            finally:
                with suppress(OSError):  # somebody removed it already
                    path.rmdir()
            return
    raise _locked(destination)


def _locked(destination: Path) -> StreetsegError:
    return StreetsegError(
        f"another process is writing {destination}: wait for it, or choose another path"
    )
