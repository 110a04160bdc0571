"""The one exception that users are meant to read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class StreetsegError(Exception):
    """Something the user can fix: what is wrong, where, and what to do, in one line."""


class NoRegistryError(StreetsegError):
    """There is no registry yet: the SQLite file does not exist."""


class NoSuchVersionError(StreetsegError):
    """The registry answers, and holds no such version or alias."""


class StoppedError(StreetsegError):
    """The user, or the system, asked a long job to stop, and it can be gone on with."""


def one_line(said: object, longest: int | None = 200) -> str:
    """What an exception or a server says, without line breaks, cut after ``longest`` characters.

    An exception that says nothing gives its name.
    """
    told = " ".join(str(said).split())
    return told[:longest] or (type(said).__name__ if isinstance(said, Exception) else "")


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the process with status 1 and one line on standard error if something is wrong."""
    try:
        yield
    except StreetsegError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "))
