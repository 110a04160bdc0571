"""Memory of a training on a CPU: freed tensors stay with the process, for the next step."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of glibc's ``mallopt``."""
MIB = 2**20
UNLIMITED = 2**31 - 1


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Let glibc keep freed memory within the block, if ``device`` is a CPU.

    By default it returns every tensor of 32 MiB or more to the system at once. The next step then
    waits for the system to clear the same pages again, for about a fifth of its time. With other C
    libraries nothing changes.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" and device.type == "cpu" else None
    if libc is None or not hasattr(libc, "mallopt"):
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
