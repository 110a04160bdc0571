"""The limits of the container that this process runs in (Linux, cgroup v2 or v1)."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Bytes from which a limit of memory means none: cgroup v1 gives the largest whole pages."""


def cpu_limit(root: Path = ROOT) -> float | None:
    """The number of CPUs whose time the container may use; None without a limit.

    Sources: cgroup-v2.rst, ``cpu.max``; sched-bwc.rst for v1.
    """
    quota, _, period = _read(root / "cpu.max").partition(" ")
    if not quota:
        quota = _read(root / "cpu" / "cpu.cfs_quota_us")
        period = _read(root / "cpu" / "cpu.cfs_period_us")
    if not (quota.isdecimal() and period.isdecimal() and int(period)):  # "max", -1
        return None
    return int(quota) / int(period)


def memory_limit(root: Path = ROOT) -> int | None:
    """The bytes that the container may use; None without a limit.

    Sources: cgroup-v2.rst, ``memory.max``; memory.rst for v1.
    """
    limit = _read(root / "memory.max") or _read(root / "memory" / "memory.limit_in_bytes")
    return int(limit) if limit.isdecimal() and int(limit) < UNLIMITED else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
