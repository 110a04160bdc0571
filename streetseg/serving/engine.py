"""From the bytes of an upload to an answer: decode, look, and say what was seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from streetseg.config.params import Serve
from streetseg.core.parallel import cores
from streetseg.images.decode import decode_image
from streetseg.images.resize import resize_rgb
from streetseg.inference.upsampling import categories_at
from streetseg.serving.metrics import metrics
from streetseg.serving.tracing import span

if TYPE_CHECKING:
    from streetseg.serving.champion_follower import ServedModel

Result = TypeVar("Result")


def threads_of(settings: Serve) -> int:
    """``serve.threads``, or the worker's part of the cores."""
    return settings.threads or max(1, cores() // settings.workers)


class TooSlowError(Exception):
    """An answer took longer than ``serve.timeout``."""


@dataclass(frozen=True)
class Segmented:
    """What was seen in an image."""

    data: bytes
    """The upload."""
    small: np.ndarray
    """The image at the network's size, uint8[h, w, 3]."""
    logits: np.ndarray
    """float32[C, h, w]."""
    size: tuple[int, int]
    """(height, width) of the image."""

    def categories(self) -> np.ndarray:
        """Category ids uint8[H, W]."""
        return categories_at(self.logits, self.size)


class Engine:
    """Works on several uploads at once: a thread for each core to decode, as many to encode.

    Images are decoded and masks encoded while the network looks at a batch. A whole image is in
    memory only as long as a thread works on it: what waits is the upload and its small version.
    """

    def __init__(self, settings: Serve) -> None:
        """Make the threads."""
        self._settings = settings
        self._decoding = ThreadPoolExecutor(threads_of(settings), "decode")
        self._encoding = ThreadPoolExecutor(threads_of(settings), "encode")

    def close(self) -> None:
        """End the threads."""
        self._decoding.shutdown(wait=False, cancel_futures=True)
        self._encoding.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self, data: bytes, model: ServedModel, respond: Callable[[Segmented], Result]
    ) -> Result:
        """Segment an upload and make an answer of it.

        Args:
            data: PNG, JPEG or WebP.
            model: what segments it.
            respond: makes the answer; runs in a thread.

        Raises:
            BadImageError: the upload is no image that is taken.
            TooSlowError: it took longer than ``serve.timeout``.
        """
        try:
            async with asyncio.timeout(self._settings.timeout):
                seen = await self._segment(data, model)
                return await _in_thread(self._encoding, "encode", lambda: respond(seen))
        except TimeoutError:
            raise TooSlowError(
                f"no answer within {self._settings.timeout:g} seconds: try again later"
            ) from None

    async def _segment(self, data: bytes, model: ServedModel) -> Segmented:
        def decode() -> tuple[np.ndarray, tuple[int, int]]:
            rgb = self.decode(data)
            return resize_rgb(rgb, model.segmenter.size), (rgb.shape[0], rgb.shape[1])

        small, size = await _in_thread(self._decoding, "decode", decode)
        with span("segment"):
            return Segmented(data, small, await model.batcher(small), size)

    def decode(self, data: bytes) -> np.ndarray:
        """The image of an upload, RGB uint8[H, W, 3].

        Raises:
            BadImageError: it is no image that is taken.
        """
        return decode_image(data, max_pixels=int(self._settings.max_megapixels * 1e6))


async def _in_thread(threads: Executor, stage: str, work: Callable[[], Result]) -> Result:
    asked = time.perf_counter()

    def timed() -> Result:
        metrics().queue.labels(stage).observe(time.perf_counter() - asked)
        with metrics().stage.labels(stage).time():
            return work()

    with span(stage):
        return await asyncio.get_running_loop().run_in_executor(threads, timed)
