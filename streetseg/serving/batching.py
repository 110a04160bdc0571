"""Pictures of different requests, looked at together."""

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
class _Waiting:
    image: np.ndarray
    answer: asyncio.Future[np.ndarray]
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Collects images while the network is busy, and gives it all that wait, up to a limit.

    Nothing waits for a batch to fill: an image that comes alone is looked at alone, and the more
    come at once the larger the batches are.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], largest: int) -> None:
        """Batch for a network, which gets a thread of its own.

        Args:
            run: takes uint8[N, h, w, 3], gives an array of N answers.
            largest: most images of a batch.
        """
        self._run = run
        self._largest = largest
        self._thread = ThreadPoolExecutor(1, "network")  # ends when nothing holds the batcher
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, image: np.ndarray) -> np.ndarray:
        """The network's answer to uint8[h, w, 3]; whoever stops waiting takes the image away."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(image, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            try:
                images = np.stack([waiting.image for waiting in batch])
                answers = await loop.run_in_executor(self._thread, self._timed_run, images)
                for waiting, answer in zip(batch, answers, strict=True):
                    if not waiting.answer.done():
                        waiting.answer.set_result(answer)
            except Exception as error:
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._largest:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                metrics().queue.labels("network").observe(time.perf_counter() - waiting.since)
        return batch

    def _timed_run(self, images: np.ndarray) -> np.ndarray:
        metrics().batch.observe(len(images))
        with metrics().stage.labels("network").time():
            return self._run(images)
