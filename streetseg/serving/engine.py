"""The stages from an upload to a response body: decode, segment, encode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from streetseg.config.params import Serve
from streetseg.images.decode import decode_image
from streetseg.serving.metrics import metrics
from streetseg.serving.segmented import Segmented
from streetseg.serving.served_model import ServedModel, threads_per_worker
from streetseg.serving.tracing import span

Result = TypeVar("Result")


class TooSlowError(Exception):
    """An answer took longer than ``serve.timeout``."""


class Engine:
    """Processes several uploads at once: one decoding and one encoding thread for each core.

    Images are decoded and masks encoded while the network runs on a batch. A full-size image is in
    memory only while a thread works on it; a waiting request holds its upload and a resized copy.
    """

    def __init__(self, settings: Serve) -> None:
        """Start the thread pools."""
        self._settings = settings
        threads = threads_per_worker(settings)
        self._decoders = ThreadPoolExecutor(threads, "decode")
        self._encoders = ThreadPoolExecutor(threads, "encode")

    def close(self) -> None:
        """End the threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._encoders.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self, upload: bytes, model: ServedModel, encode: Callable[[Segmented], Result]
    ) -> Result:
        """Segment an upload, and encode the result in a thread.

        Raises:
            BadImageError: the upload is not an image that the service accepts.
            TooSlowError: it took longer than ``serve.timeout``.
        """
        try:
            async with asyncio.timeout(self._settings.timeout):
                segmented = await self._segment(upload, model)
                return await _run_stage(self._encoders, "encode", lambda: encode(segmented))
        except TimeoutError:
            raise TooSlowError(
                f"no answer within {self._settings.timeout:g} seconds: try again later"
            ) from None

    async def _segment(self, upload: bytes, model: ServedModel) -> Segmented:
        def decode() -> tuple[np.ndarray, tuple[int, int]]:
            rgb = self.decode(upload)
            return model.segmenter.network_input(rgb), (rgb.shape[0], rgb.shape[1])

        network_input, size = await _run_stage(self._decoders, "decode", decode)
        with span("segment"):
            logits = await model.batcher(network_input)
        placement = model.segmenter.placement(size)
        return Segmented(upload, network_input, logits, size, placement)

    def decode(self, upload: bytes) -> np.ndarray:
        """RGB uint8[H, W, 3] of an upload; raises BadImageError if it is not accepted."""
        return decode_image(upload, max_pixels=int(self._settings.max_megapixels * 1e6))


async def _run_stage(threads: Executor, stage: str, work: Callable[[], Result]) -> Result:
    """Run one stage in a thread; its waiting and working times go to Prometheus."""
    queued = time.perf_counter()

    def timed() -> Result:
        metrics().queue.labels(stage).observe(time.perf_counter() - queued)
        with metrics().stage.labels(stage).time():
            return work()

    with span(stage):
        return await asyncio.get_running_loop().run_in_executor(threads, timed)
