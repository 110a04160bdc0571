"""Segmenting videos."""

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
from streetseg.images.resize import blend, resize_rgb
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import categories_at
from streetseg.prediction.legend import Legend
from streetseg.prediction.video_files import Film, new_film, new_masks, open_film
from streetseg.reports.drawing import colorize

Item = TypeVar("Item")

AHEAD = 3
"""Frames that wait between decoding, segmenting and encoding."""
CUT = 20.0
"""Mean change between two frames, on 0..255, that begins a new scene."""
LOOKS_AT = (64, 32)
"""Width and height at which frames are compared: noise and small movements average out."""
COUNT_ERROR = 0.02
"""Share by which a whole video may have fewer frames than its container tells."""


@dataclass(frozen=True)
class SegmentedFilm:
    """A video that has been segmented."""

    destination: Path
    frames: int
    told: int | None
    """Frames that the source says it has; None if it does not."""
    rate: float
    """Frames per second at which it plays."""
    seconds: float
    """That this took."""

    @property
    def frames_per_second(self) -> float:
        """Segmented, decoding and encoding included."""
        return self.frames / max(self.seconds, 1e-9)

    @property
    def cut_off(self) -> bool:
        """Whether the source seems to have more frames than could be read."""
        return self.told is not None and self.frames < (1 - COUNT_ERROR) * self.told - 1


class Smoother:
    """An exponential moving average of logits over the frames of a scene.

    ``average = weight * average + (1 - weight) * logits``. It lags behind by
    ``weight / (1 - weight)`` frames in the mean: 1 at 0.5, 4 at 0.8, 9 at 0.9. A cut begins anew.
    """

    def __init__(self, weight: float) -> None:
        """Take ``weight`` for the past, from 0, which changes nothing, to below 1.

        Raises:
            StreetsegError: another weight.
        """
        if not 0 <= weight < 1:
            raise StreetsegError(f"smoothing is {weight:g}: choose from 0 to below 1")
        self.weight = weight
        self._average: np.ndarray | None = None
        self._seen: np.ndarray | None = None

    def __call__(self, logits: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        """The average float32[C, h, w] up to a frame of these logits and this image."""
        if not self.weight:
            return logits
        small = cv2.resize(rgb, LOOKS_AT, interpolation=cv2.INTER_AREA).astype(np.float32)
        cut = self._seen is None or np.abs(small - self._seen).mean() > CUT
        self._seen = small
        if cut or self._average is None:
            self._average = logits.copy()
        else:
            self._average *= self.weight
            self._average += (1 - self.weight) * logits
        return self._average


def segment_film(
    source: Path,
    destination: Path,
    segmenter: Segmenter,
    *,
    opacity: float = 0.5,
    legend: bool = True,
    stamp: str = "",
    smoothing: float = 0.0,
    rate: float | None = None,
    masks: Path | None = None,
) -> SegmentedFilm:
    """Write a video with the categories' colours laid over it.

    Decoding, segmenting and encoding overlap; a few frames are held at a time. What is written
    takes its place when it is whole. Of a video that is cut off, what can be read is written.

    Args:
        source: video, animated GIF, or folder of frames.
        destination: ``.mp4``, ``.gif``, or a folder; what is there is replaced.
        segmenter: the model.
        opacity: of the colours, 0..1.
        legend: whether a strip below the image names the colours and their shares.
        stamp: a line of text on that strip, such as the model's version.
        smoothing: weight of the past, see :class:`Smoother`.
        rate: frames per second of a folder.
        masks: a folder for category ids as palette PNGs.

    Raises:
        StoppedError: Ctrl-C; nothing is written.
        StreetsegError: the source cannot be read, or the destination not be written.
    """
    film = open_film(source, rate)
    _refuse_overlap(source, destination, masks)
    began = time.monotonic()
    smoother, pace = Smoother(smoothing), Throughput(film.count or 0)
    strip: Legend | None = None
    try:
        with ExitStack() as stack:
            write = stack.enter_context(new_film(destination, film.rate))
            write_mask = masks and stack.enter_context(
                new_masks(masks, film.rate, segmenter.labels.palette)
            )
            frames = stack.enter_context(closing(_ahead(_segmented(film, segmenter, smoother))))
            for rgb, categories, shown in track(
                frames, total=film.count, description="segment", status=lambda: _status(pace)
            ):
                strip = strip or Legend(segmenter.labels if legend else None, rgb.shape[1], stamp)
                overlay = blend(rgb, colorize(categories, segmenter.labels), opacity)
                write(strip.below(overlay, categories), shown)
                if write_mask:
                    write_mask(categories, shown)
                pace.done += 1
            if not pace.done:
                raise StreetsegError(f"{source}: no frame can be decoded")
    except KeyboardInterrupt:
        raise StoppedError(
            f"stopped after {pace.done} frames: {destination} is not written"
        ) from None
    return SegmentedFilm(destination, pace.done, film.count, film.rate, time.monotonic() - began)


def _segmented(
    film: Film, segmenter: Segmenter, smoother: Smoother
) -> Generator[tuple[np.ndarray, np.ndarray, float], None, None]:
    """Each frame, its category ids, and for how many seconds it is shown."""
    size: tuple[int, int] | None = None
    with closing(_ahead(film.read())) as frames:
        for number, (rgb, shown) in enumerate(frames, 1):
            height, width = rgb.shape[:2]
            size = size or (height, width)
            if (height, width) != size:
                raise StreetsegError(
                    f"{film.path}: frame {number} is {width}x{height}, those before are "
                    f"{size[1]}x{size[0]}"
                )
            logits = segmenter.logits(resize_rgb(rgb, segmenter.size)[None])[0]
            yield rgb, categories_at(smoother(logits, rgb), size), shown


def _ahead(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """Give the items while another thread makes the next ones."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming: deque[Future[Item | object]] = deque(
            pool.submit(next, items, end) for _ in range(AHEAD)
        )
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(pool.submit(next, items, end))
                yield cast("Item", item)
        finally:
            pool.shutdown(cancel_futures=True)
            items.close()


def _status(pace: Throughput) -> str:
    rate = f"{pace.rate:.1f} frames/s"
    return f"{rate}, {pace.left} left" if pace.done < pace.total else rate


def _refuse_overlap(source: Path, destination: Path, masks: Path | None) -> None:
    places = [path.resolve() for path in (source, destination, masks) if path]
    if any(one.is_relative_to(other) for one, other in permutations(places, 2)):
        raise StreetsegError(
            f"{source}, what is written and the masks need places of their own, none inside another"
        )
