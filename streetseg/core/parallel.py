"""Independent tasks on all cores or in threads, with a progress bar and a clean Ctrl-C."""

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
from typing import TypeVar

from streetseg.core.cgroups import cpu_limit
from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The number of cores that CPU affinity and the container's limit let this process use."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = cpu_limit()
    return max(1, min(allowed, round(limit))) if limit else allowed


def parallel_map(
    task: Callable[[Item], Result], items: Sequence[Item], *, workers: int, description: str
) -> Iterator[Result]:
    """Yield ``task(item)`` for every item, in order, computed by ``workers`` processes.

    Memory does not grow with the number of items. The first exception of a task is raised here, and
    tasks that have not started are dropped.

    Args:
        task: a picklable function, defined at the top level of a module.
        workers: 0 means one per core, 1 means no other process.

    Raises:
        StreetsegError: a worker was killed, or ``workers`` is negative or no whole number.
    """
    if not (isinstance(workers, int) and workers >= 0):
        raise StreetsegError(f"workers={workers}: give a whole number, 0 for one per core")
    workers = min(workers or cores(), len(items))
    if workers <= 1:
        yield from track(map(task, items), total=len(items), description=description)
        return
    yield from track(_pool_map(task, items, workers), total=len(items), description=description)


def thread_map(
    pool: ThreadPoolExecutor, task: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """Yield ``task(item)`` for every item, in order, with up to ``ahead`` tasks in flight.

    For tasks that wait for disks or servers. The first exception of a task is raised here.

    Raises:
        ValueError: ``ahead`` is below 1, with which nothing would be done.
    """
    if ahead < 1:
        raise ValueError(f"ahead={ahead}: at least one task must be in flight")
    remaining = iter(items)
    pending = deque(pool.submit(task, item) for item in islice(remaining, ahead))
    while pending:
        result = pending.popleft().result()
        pending.extend(pool.submit(task, item) for item in islice(remaining, 1))
        yield result


def _pool_map(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    # Many items go in chunks, because sending one to a worker costs as much as a small task.
    chunk_size = max(1, min(8, len(items) // (32 * workers)))
    chunks = (items[start : start + chunk_size] for start in range(0, len(items), chunk_size))
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
            "a worker process was killed, probably for lack of memory: lower prepare.workers "
            "and run the same command again to resume"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run(task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [task(item) for item in items]


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C while workers start: they inherit this, so only the parent reacts to it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker() -> None:
    """Use one core, and end when the parent process is killed."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
