"""Reading and writing video files frame by frame.

MP4 is written as MPEG-4 Part 2 (``mp4v``), the one codec in OpenCV's wheel that is fast, free of
the GPL and known to most players; browsers do not play it. Sound is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # we report errors in one line
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from streetseg.core.atomic_files import atomic_folder, lock_destination
from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.images.decode import read_image
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.images.paths import SUFFIXES, is_image, natural_order

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
DEFAULT_RATE = 25.0
"""Frames per second of a source without a rate."""
MAX_RATE = 1000.0
"""Frames per second; a higher rate in a file is wrong."""
MARKER = "film.json"
"""Marks a folder of frames as written by this module."""

MIN_GIF_DURATION, DEFAULT_GIF_DURATION = 2, 10
"""Hundredths of a second. Browsers show a frame below the minimum for the default."""
MAX_GIF_PIXELS = 1 << 30
"""Pixels of all frames of a GIF that is written: Pillow keeps a byte for each until the end."""

TimedFrame = tuple[np.ndarray, float]
"""RGB uint8[H, W, 3], and its duration in seconds."""
WriteFrame = Callable[[np.ndarray, float], None]
"""Takes the next frame and its duration in seconds."""


@dataclass(frozen=True)
class Video:
    """A video that can be read."""

    path: Path
    rate: float
    """Frames per second; for a GIF, of its shortest frame."""
    count: int | None
    """Frames according to the file; None if it does not say."""
    read: Callable[[], Generator[TimedFrame, None, None]]
    """Yields the frames, upright, up to the end or to one that cannot be decoded."""


def open_video(path: Path, rate: float | None = None) -> Video:
    """Open a video, an animated GIF, or a folder of PNG, JPEG and WebP frames in natural order.

    ``rate`` is the frames per second of a folder; None means 25.

    Raises:
        StreetsegError: the path does not exist, is no video, has no frames, or takes no rate.
    """
    if path.is_dir():
        return _open_folder(path, rate or DEFAULT_RATE)
    if rate is not None:
        raise StreetsegError(f"{path} keeps its own frame rate: only a folder of frames takes one")
    if not path.is_file():
        hint = did_you_mean_path(path, "name a video or a folder of frames")
        raise StreetsegError(f"{path} does not exist: {hint}")
    if path.suffix.lower() == ".gif":
        return _open_gif(path)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise StreetsegError(
            f"{path} does not have the suffix of a video: use {', '.join(VIDEO_SUFFIXES)}, .gif "
            "or a folder of frames"
        )
    return _open_with_opencv(path)


def write_video(destination: Path, rate: float) -> AbstractContextManager[WriteFrame]:
    """Write a video, which replaces ``destination`` when it is complete.

    The destination ends with ``.mp4`` or ``.gif``, or is a folder; ``rate`` is in frames per
    second. An MP4 repeats a frame that lasts longer than ``1 / rate``, and loses the last row or
    column of an odd size. A GIF has up to 256 colours a frame and at most 50 frames a second;
    shorter frames are left out.

    Raises:
        StreetsegError: another suffix, the file cannot be written, or the GIF becomes too large.
    """
    if destination.is_dir() or not destination.suffix:
        return _write_folder(destination, rate, encode_png)
    if destination.suffix.lower() == ".mp4":
        return _write_mp4(destination, rate)
    if destination.suffix.lower() == ".gif":
        return _write_gif(destination)
    raise StreetsegError(f"cannot write {destination}: name a .mp4, a .gif or a folder")


def write_masks(
    destination: Path, rate: float, palette: np.ndarray
) -> AbstractContextManager[WriteFrame]:
    """Write ids uint8[H, W] as a folder of palette PNGs, with the colours uint8[n, 3]."""
    return _write_folder(destination, rate, lambda ids: encode_palette_png(ids, palette))


def _open_folder(path: Path, rate: float) -> Video:
    files = [file for file in path.iterdir() if is_image(file.name) and file.is_file()]
    if not files:
        raise StreetsegError(f"{path} holds no frames ({', '.join(SUFFIXES)})")
    files.sort(key=lambda file: natural_order(file.name))
    return Video(path, rate, len(files), lambda: ((read_image(file), 1 / rate) for file in files))


def _open_with_opencv(path: Path) -> Video:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    rate, count = (capture.get(name) for name in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
    if not (capture.isOpened() and capture.grab()):
        raise StreetsegError(f"{path} is no video that can be read, or has no frames")
    capture.release()
    rate = rate if 0 < rate <= MAX_RATE else DEFAULT_RATE
    return Video(
        path, rate, int(count) if count > 0 else None, lambda: _read_with_opencv(path, rate)
    )


def _read_with_opencv(path: Path, rate: float) -> Generator[TimedFrame, None, None]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    try:
        while True:
            decoded, bgr = capture.read()
            if not decoded:
                return
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), 1 / rate
    finally:
        capture.release()


def _open_gif(path: Path) -> Video:
    try:
        durations = [seconds for _, seconds in _read_gif(path, pixels=False)]
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError):
        raise StreetsegError(f"{path} is no GIF that can be read") from None
    return Video(path, 1 / min(durations), len(durations), lambda: _read_gif(path))


def _read_gif(path: Path, pixels: bool = True) -> Generator[TimedFrame, None, None]:
    with Image.open(path, formats=["GIF"]) as gif:
        while True:
            milliseconds = gif.info.get("duration", 0)
            if milliseconds < 10 * MIN_GIF_DURATION:
                milliseconds = 10 * DEFAULT_GIF_DURATION
            try:
                yield np.array(gif.convert("RGB")) if pixels else np.empty(0), milliseconds / 1000
                gif.seek(gif.tell() + 1)
            except (EOFError, OSError, SyntaxError):
                return


@contextmanager
def _unfinished_file(destination: Path) -> Iterator[Path]:
    """Yield an empty file with the same suffix, which replaces ``destination`` at the end."""
    unfinished = destination.with_name(f"{destination.stem}.partial{destination.suffix}")
    try:
        with lock_destination(destination):
            try:
                unfinished.touch()  # fails before any work if the file cannot be written
                yield unfinished
                unfinished.replace(destination)
            finally:
                unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise StreetsegError(f"cannot write {destination}: {error.strerror or error}") from None


@contextmanager
def _write_mp4(destination: Path, rate: float) -> Iterator[WriteFrame]:
    with _unfinished_file(destination) as path:
        writer, written, clock = cv2.VideoWriter(), 0, 0.0

        def write(rgb: np.ndarray, seconds: float) -> None:
            nonlocal written, clock
            if not writer.isOpened():
                codec = cv2.VideoWriter.fourcc(*"mp4v")
                size = rgb.shape[1], rgb.shape[0]
                if not writer.open(str(path), cv2.CAP_FFMPEG, codec, rate, size):
                    raise StreetsegError(
                        f"cannot write {destination}: {size[0]}x{size[1]} at {rate:g} frames/s is "
                        "not possible in MP4: write a folder"
                    )
            clock += seconds
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            while written < round(clock * rate):
                writer.write(bgr)
                written += 1

        try:
            yield write
        finally:
            writer.release()
        # OpenCV reports no failed writes. The index comes last, so a truncated file has none.
        if _count_frames(path) != written:
            raise StreetsegError(f"cannot write {destination}: is the disk full?")


def _count_frames(path: Path) -> int:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count


@contextmanager
def _write_gif(destination: Path) -> Iterator[WriteFrame]:
    """GIF89a Specification, CompuServe 1990: durations are hundredths of a second."""
    frames: list[Image.Image] = []
    starts: list[int] = []
    clock = 0.0

    def write(rgb: np.ndarray, seconds: float) -> None:
        nonlocal clock
        start = round(100 * clock)
        clock += seconds
        if starts and start - starts[-1] < MIN_GIF_DURATION:
            return
        height, width = rgb.shape[:2]
        if (len(frames) + 1) * height * width > MAX_GIF_PIXELS:
            raise StreetsegError(
                f"cannot write {destination}: a GIF takes at most {len(frames)} frames of "
                f"{width}x{height}: write a .mp4 or a folder"
            )
        image = Image.fromarray(rgb)
        frames.append(image.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
        starts.append(start)

    with _unfinished_file(destination) as path:
        yield write
        end = max(round(100 * clock), starts[-1] + MIN_GIF_DURATION)
        durations = [10 * int(length) for length in np.diff([*starts, end])]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)


@contextmanager
def _write_folder(
    destination: Path, rate: float, encode: Callable[[np.ndarray], bytes]
) -> Iterator[WriteFrame]:
    with atomic_folder(destination, MARKER) as folder:
        written = 0

        def write(pixels: np.ndarray, _: float) -> None:
            nonlocal written
            written += 1
            (folder / f"{written:06}.png").write_bytes(encode(pixels))

        yield write
        (folder / MARKER).write_text(json.dumps({"rate": rate, "frames": written}) + "\n")
