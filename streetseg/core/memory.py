"""Freed memory of this process: glibc keeps it, or gives it back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of glibc's ``mallopt``."""
MIB = 2**20
UNLIMITED = 2**31 - 1


def return_freed_memory() -> None:
    """Give freed memory that the C library holds back to the system, where it can (glibc)."""
    if libc := _glibc():
        libc.malloc_trim(0)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let glibc keep freed memory within the block.

    By default it returns every tensor of 32 MiB or more to the system at once. The next step of a
    training then waits for the system to clear the same pages again, for about a fifth of its time.
    With other C libraries nothing changes.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, UNLIMITED)
    try:
        yield
    finally:  # as glibc itself sets them once large blocks were freed
        libc.mallopt(MMAP_MAX, 65536)
        libc.mallopt(MMAP_THRESHOLD, 32 * MIB)
        libc.mallopt(TRIM_THRESHOLD, 64 * MIB)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if libc and hasattr(libc, "malloc_trim") else None
