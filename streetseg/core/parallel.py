"""All cores on a list of independent jobs, with a progress bar and a clean Ctrl-C."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use, by its affinity and its container's limit."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:  # "quota period" or "max period", in microseconds (Linux, cgroup-v2.rst, "cpu.max")
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed


def parallel_map(
    task: Callable[[Item], Result], items: Sequence[Item], *, workers: int, description: str
) -> Iterator[Result]:
    """Yield ``task(item)`` for every item, in order, computed by ``workers`` processes.

    Only a few results per worker are held at a time, so memory does not grow with the number of
    items. The first exception of a task is raised here and the jobs not yet begun are dropped.

    Args:
        task: a picklable function (defined at the top of a module).
        items: its arguments.
        workers: processes; 0 means one for each core, 1 stays in this process.
        description: what the progress bar says.

    Raises:
        StreetsegError: a worker was killed.
    """
    workers = min(workers or cores(), len(items))
    if workers <= 1:
        yield from track(map(task, items), total=len(items), description=description)
        return
    yield from track(_pool_map(task, items, workers), total=len(items), description=description)


def thread_map(
    pool: ThreadPoolExecutor, task: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """Yield ``task(item)`` for every item, in order; ``ahead`` of them are begun beforehand.

    For tasks that wait for disks or servers. The first exception of a task is raised here.
    """
    coming = iter(items)
    pending = deque(pool.submit(task, item) for item in islice(coming, ahead))
    while pending:
        result = pending.popleft().result()
        pending.extend(pool.submit(task, item) for item in islice(coming, 1))
        yield result


def _pool_map(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    # Several at a time, if there are many: each trip to a worker costs as much as a small job.
    size = max(1, min(8, len(items) // (32 * workers)))
    chunks = (items[start : start + size] for start in range(0, len(items), size))
    pending: deque[Future[list[Result]]] = deque()
    try:
        with _without_interrupts():
            pending.extend(pool.submit(_run, task, chunk) for chunk in islice(chunks, 4 * workers))
        for chunk in chunks:
            yield from pending.popleft().result()
            pending.append(pool.submit(_run, task, chunk))
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool:
        raise StreetsegError(
            "a worker process was killed, most likely for want of memory: lower prepare.workers; "
            "the same command goes on"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run(task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [task(item) for item in items]


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C while workers are started: they inherit it, so that the parent alone ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    """Leave the cores to the other workers, and end when the parent is killed."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
