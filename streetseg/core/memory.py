"""Memory of this process."""

from __future__ import annotations

import ctypes


def return_freed_memory() -> None:
    """Give freed memory that the C library holds back to the system, where it can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
