"""Exceptions whose message is for the user, and how a program ends with one."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


def did_you_mean(unknown: str, known: Iterable[str], otherwise: str) -> str:
    """A hint about an unknown name: the known one that is like it, or else ``otherwise``."""
    close = difflib.get_close_matches(unknown, known, n=1)
    return f"did you mean '{close[0]}'?" if close else otherwise


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the process with status 1 and one line on standard error for a mistake of the user."""
    try:
        yield
    except StreetsegError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "))
