"""Exceptions whose message is for the user, and how a program ends with one."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

MAX_SIBLINGS = 1000
"""Files of a folder that are compared with a path that does not exist."""


class StreetsegError(Exception):
    """A mistake the user can fix: one line that says what is wrong, where, and what to do."""


class NoRegistryError(StreetsegError):
    """There is no registry yet: the SQLite file does not exist."""


class NoSuchVersionError(StreetsegError):
    """The registry was reached but has no such version or alias."""


class StoppedError(StreetsegError):
    """A long job was asked to stop, by the user or the system, and can be resumed."""


def one_line(message: object, max_length: int | None = 200) -> str:
    """One line of up to ``max_length`` characters; of an exception without text, its class name."""
    text = " ".join(str(message).split())
    return text[:max_length] or (type(message).__name__ if isinstance(message, Exception) else "")


def did_you_mean(unknown: str, known: Iterable[str], otherwise: str, most: int = 1) -> str:
    """A hint about an unknown name: up to ``most`` known ones like it, or else ``otherwise``."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(unknown.lower(), names, n=most)
    quoted = " or ".join(f"'{names[name]}'" for name in close)
    return f"did you mean {quoted}?" if quoted else otherwise


def did_you_mean_path(path: str | Path, otherwise: str) -> str:
    """As :func:`did_you_mean` for a path: an existing one like it, if it does not exist itself."""
    if "://" in str(path) or os.path.lexists(path):
        return otherwise
    like = None
    with suppress(OSError):  # a folder that may not be read, a name too long
        like = _existing_path_like(Path(path))
    return f"did you mean {like}?" if like else otherwise


def _existing_path_like(path: Path) -> Path | None:
    if path.exists():
        return path
    parent = _existing_path_like(path.parent) if path != path.parent else None
    if parent is None or not parent.is_dir():
        return None
    if (parent / path.name).exists():
        return parent / path.name
    with os.scandir(parent) as entries:
        names = [entry.name for entry in islice(entries, MAX_SIBLINGS)]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return parent / close[0] if close else None


def cannot_read(path: str | Path, error: OSError) -> StreetsegError:
    """The error about a file that the system does not let us read."""
    return StreetsegError(
        joined("cannot read " + str(path), error.strerror or error, _hint(error, path))
    )


def _hint(error: OSError, path: str | Path) -> str:
    """The existing path like one that the system did not find."""
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    return did_you_mean_path(path, "") if missing else ""


def joined(*parts: object) -> str:
    """What there is of a message, such as what is wrong, where, and a hint, with colons between."""
    return ": ".join(filter(None, map(str, parts)))


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the process with status 1 and one line on standard error for a mistake of the user."""
    try:
        yield
    except StreetsegError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        name = str(error.filename or "")
        sys.exit(joined("error", error.strerror or error, name, name and _hint(error, name)))
