"""Runs the network on images of several requests at once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from streetseg.serving.metrics import metrics


@dataclass(frozen=True)
class _Pending:
    image: np.ndarray
    output: asyncio.Future[np.ndarray]
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Collects images while the network is busy, then runs it on all of them, up to a limit.

    No image waits for a batch to fill: an image that arrives alone runs alone, and batches grow
    with the load.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], max_batch: int) -> None:
        """Batch for ``run``, which maps uint8[N, h, w, 3] to N outputs and gets its own thread."""
        self._run = run
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(1, "network")  # ends when nothing refers to the batcher
        self._pending: deque[_Pending] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, image: np.ndarray) -> np.ndarray:
        """The network's output for uint8[h, w, 3]; a cancelled caller's image is dropped."""
        output = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(image, output))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await output

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            try:
                images = np.stack([pending.image for pending in batch])
                outputs = await loop.run_in_executor(self._thread, self._timed_run, images)
                for pending, output in zip(batch, outputs, strict=True):
                    if not pending.output.done():
                        pending.output.set_result(output)
            except Exception as error:
                for pending in batch:
                    if not pending.output.done():
                        pending.output.set_exception(error)

    def _next_batch(self) -> list[_Pending]:
        batch: list[_Pending] = []
        while self._pending and len(batch) < self._max_batch:
            pending = self._pending.popleft()
            if not pending.output.done():
                batch.append(pending)
                metrics().queue.labels("network").observe(time.perf_counter() - pending.since)
        return batch

    def _timed_run(self, images: np.ndarray) -> np.ndarray:
        metrics().batch.observe(len(images))
        with metrics().stage.labels("network").time():
            return self._run(images)
