"""Segmentation of videos."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np

from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.progress import Throughput, track
from streetseg.images.resize import blend
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import frame_categories
from streetseg.prediction.legend import Legend
from streetseg.prediction.video_files import Video, open_video, write_masks, write_video
from streetseg.reports.drawing import colorize

Item = TypeVar("Item")

PREFETCHED = 3
"""Frames in each queue between decoding, segmenting and encoding."""
CUT_DIFFERENCE = 20.0
"""Mean difference of two frames, on 0 to 255, above which a new scene begins."""
CUT_SIZE = (64, 32)
"""Width and height for comparing frames: noise and small movements average out."""
COUNT_TOLERANCE = 0.02
"""Fraction by which a container's frame count may exceed the frames of an intact video."""


@dataclass(frozen=True)
class VideoOptions:
    """How a video is segmented and drawn."""

    opacity: float = 0.5
    """Of the categories' colours, 0 to 1."""
    legend: bool = True
    """Whether a strip below the image names the colours and their fractions."""
    stamp: str = ""
    """A line of text on that strip, such as the model's version."""
    smoothing: float = 0.0
    """Weight of the previous frames, see :class:`Smoother`."""
    rate: float | None = None
    """Frames per second of a folder of frames; None means 25."""
    masks: Path | None = None
    """A folder for category ids, as palette PNGs."""


@dataclass(frozen=True)
class SegmentedVideo:
    """A video that has been segmented."""

    destination: Path
    frames: int
    expected_frames: int | None
    """According to the source; None if it does not say."""
    rate: float
    """Frames per second of playback."""
    seconds: float
    """Processing time."""

    @property
    def frames_per_second(self) -> float:
        """Processing speed, decoding and encoding included."""
        return self.frames / max(self.seconds, 1e-9)

    @property
    def cut_off(self) -> bool:
        """Whether the source seems to have more frames than could be read."""
        if self.expected_frames is None:
            return False
        return self.frames < (1 - COUNT_TOLERANCE) * self.expected_frames - 1


class Smoother:
    """An exponential moving average of logits over the frames of a scene.

    ``average = weight * average + (1 - weight) * logits``. On average it lags by
    ``weight / (1 - weight)`` frames: 1 at 0.5, 4 at 0.8, 9 at 0.9. A cut restarts it.
    """

    def __init__(self, weight: float) -> None:
        """Take a weight in [0, 1), else raise a StreetsegError; 0 disables smoothing."""
        if not 0 <= weight < 1:
            raise StreetsegError(f"smoothing is {weight:g}: choose from 0 to below 1")
        self.weight = weight
        self._average: np.ndarray | None = None
        self._previous: np.ndarray | None = None

    def __call__(self, logits: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        """The average float32[C, h, w] including a frame with these logits and this image."""
        if not self.weight:
            return logits
        small = cv2.resize(rgb, CUT_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        cut = self._previous is None or np.abs(small - self._previous).mean() > CUT_DIFFERENCE
        self._previous = small
        if cut or self._average is None:
            self._average = logits.copy()
        else:
            self._average *= self.weight
            self._average += (1 - self.weight) * logits
        return self._average


def segment_video(
    source: Path, destination: Path, segmenter: Segmenter, options: VideoOptions | None = None
) -> SegmentedVideo:
    """Write a video with the categories' colours over it.

    The source is a video, an animated GIF or a folder of frames; the destination an ``.mp4``, a
    ``.gif`` or a folder, replaced if it exists. Decoding, segmenting and encoding overlap, with a
    few frames in memory at a time. The output appears when it is complete. Of a truncated source,
    the readable frames are written.

    Raises:
        StoppedError: Ctrl-C; nothing is written.
        StreetsegError: the source cannot be read, or the destination cannot be written.
    """
    options = options or VideoOptions()
    labels, masks = segmenter.labels, options.masks
    video = open_video(source, options.rate)
    _refuse_overlap(source, destination, masks)
    start = time.monotonic()
    smoother, throughput = Smoother(options.smoothing), Throughput(video.count or 0)
    legend: Legend | None = None
    try:
        with ExitStack() as stack:
            write = stack.enter_context(write_video(destination, video.rate))
            write_mask = masks and stack.enter_context(
                write_masks(masks, video.rate, labels.palette)
            )
            frames = stack.enter_context(closing(_prefetch(_segment(video, segmenter, smoother))))
            for rgb, categories, seconds in track(
                frames,
                total=video.count,
                description="segment",
                status=lambda: _status(throughput),
            ):
                if legend is None:
                    legend = Legend(labels if options.legend else None, rgb.shape[1], options.stamp)
                overlay = blend(rgb, colorize(categories, labels), options.opacity)
                write(legend.below(overlay, categories), seconds)
                if write_mask:
                    write_mask(categories, seconds)
                throughput.done += 1
            if not throughput.done:
                raise StreetsegError(f"{source}: no frame can be decoded")
    except KeyboardInterrupt:
        raise StoppedError(
            f"stopped after {throughput.done} frames: {destination} is not written"
        ) from None
    took = time.monotonic() - start
    return SegmentedVideo(destination, throughput.done, video.count, video.rate, took)


def _segment(
    video: Video, segmenter: Segmenter, smoother: Smoother
) -> Generator[tuple[np.ndarray, np.ndarray, float], None, None]:
    """Yield each frame, its category ids, and its duration in seconds."""
    size: tuple[int, int] | None = None
    with closing(_prefetch(video.read())) as frames:
        for number, (rgb, seconds) in enumerate(frames, 1):
            height, width = rgb.shape[:2]
            size = size or (height, width)
            if (height, width) != size:
                raise StreetsegError(
                    f"{video.path}: frame {number} is {width}x{height}, those before are "
                    f"{size[1]}x{size[0]}"
                )
            logits = smoother(segmenter.logits(segmenter.network_input(rgb)[None])[0], rgb)
            yield rgb, frame_categories(logits, size, segmenter.placement(size)), seconds


def _prefetch(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """Yield the items while another thread computes the next ones."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[Item | object]] = deque(
            pool.submit(next, items, end) for _ in range(PREFETCHED)
        )
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(pool.submit(next, items, end))
                yield cast("Item", item)
        finally:
            pool.shutdown(cancel_futures=True)
            items.close()


def _status(throughput: Throughput) -> str:
    rate = f"{throughput.rate:.1f} frames/s"
    return f"{rate}, {throughput.left} left" if throughput.done < throughput.total else rate


def _refuse_overlap(source: Path, destination: Path, masks: Path | None) -> None:
    paths = [path.resolve() for path in (source, destination, masks) if path]
    if any(inner.is_relative_to(outer) for inner, outer in permutations(paths, 2)):
        raise StreetsegError(
            f"{source}: the source, the output and the masks must not contain one another"
        )
