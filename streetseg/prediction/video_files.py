"""Films: read and written frame by frame, so that memory does not grow with their length.

MP4 is written as MPEG-4 Part 2 (``mp4v``), the one codec in OpenCV's wheel that is quick, free of
the GPL and known to most players; browsers do not play it. There is no sound.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong is told in a line of ours
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")

import cv2
import numpy as np
from PIL import GifImagePlugin, Image, UnidentifiedImageError

from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.images.decode import read_image
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.images.paths import SUFFIXES, is_image, natural_order

FILMS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
RATE = 25.0
"""Frames per second, where nothing tells."""
FASTEST = 1000.0
"""Frames per second; what is said to be faster is a mistake in the file."""
MARKER = "film.json"
"""In a folder of frames that was written here."""

SHORTEST_GIF_FRAME, DEFAULT_GIF_FRAME = 2, 10
"""Hundredths of a second: browsers show a frame that is to be shorter for the latter."""

Frame = tuple[np.ndarray, float]
"""RGB uint8[H, W, 3], and for how many seconds it is shown."""
Write = Callable[[np.ndarray, float], None]
"""Takes the next frame."""


@dataclass(frozen=True)
class Film:
    """A video that can be read."""

    path: Path
    rate: float
    """Frames per second; of an uneven GIF, what its shortest frame asks for."""
    count: int | None
    """Frames, as the file tells; None if it does not."""
    read: Callable[[], Generator[Frame, None, None]]
    """Gives the frames, upright, until the end or until one that cannot be decoded."""


def open_film(path: Path, rate: float | None = None) -> Film:
    """Open a video, an animated GIF, or a folder of PNG, JPEG and WebP frames in natural order.

    Args:
        path: what to read.
        rate: frames per second of a folder; None means 25.

    Raises:
        StreetsegError: it is not there, no video, or has no frames.
    """
    if path.is_dir():
        return _open_folder(path, rate or RATE)
    if rate is not None:
        raise StreetsegError(f"{path} keeps its own frame rate: only a folder of frames takes one")
    if not path.is_file():
        raise StreetsegError(f"{path} is not there: name a video or a folder of frames")
    if path.suffix.lower() == ".gif":
        return _open_gif(path)
    if path.suffix.lower() not in FILMS:
        raise StreetsegError(
            f"{path} is no video by its name: known are {', '.join(FILMS)}, .gif and folders of "
            "frames"
        )
    return _open_video(path)


def new_film(destination: Path, rate: float) -> AbstractContextManager[Write]:
    """Write a video, which takes the place of ``destination`` when it is whole.

    An MP4 repeats what is shown for longer than a frame, and loses the last row or column of a
    frame of odd size. A GIF has up to 256 colours a frame and at most 50 frames a second; it leaves
    out what is shorter.

    Args:
        destination: a name that ends with ``.mp4`` or ``.gif``, or that of a folder.
        rate: frames per second.

    Raises:
        StreetsegError: another suffix, or it cannot be written.
    """
    if destination.is_dir() or not destination.suffix:
        return _new_frames(destination, rate, encode_png)
    if destination.suffix.lower() == ".mp4":
        return _new_mp4(destination, rate)
    if destination.suffix.lower() == ".gif":
        return _new_gif(destination)
    raise StreetsegError(f"cannot write {destination}: name a .mp4, a .gif or a folder")


def new_masks(destination: Path, rate: float, palette: np.ndarray) -> AbstractContextManager[Write]:
    """Write ids uint8[H, W] as a folder of palette PNGs, with the colours uint8[n, 3]."""
    return _new_frames(destination, rate, lambda ids: encode_palette_png(ids, palette))


def frame_name(number: int) -> str:
    """The file of a frame in a folder that is written; the first is number 1."""
    return f"{number:06}.png"


def _open_folder(path: Path, rate: float) -> Film:
    paths = [each for each in path.iterdir() if is_image(each.name) and each.is_file()]
    if not paths:
        raise StreetsegError(f"{path} holds no frames ({', '.join(SUFFIXES)})")
    paths.sort(key=lambda each: natural_order(each.name))
    return Film(path, rate, len(paths), lambda: ((read_image(file), 1 / rate) for file in paths))


def _open_video(path: Path) -> Film:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    told, count = (capture.get(each) for each in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
    if not (capture.isOpened() and capture.grab()):
        raise StreetsegError(f"{path} is no video that can be read, or has no frames")
    capture.release()
    rate = told if 0 < told <= FASTEST else RATE
    return Film(path, rate, int(count) if count > 0 else None, lambda: _read_video(path, rate))


def _read_video(path: Path, rate: float) -> Generator[Frame, None, None]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    try:
        while True:
            found, bgr = capture.read()
            if not found:
                return
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), 1 / rate
    finally:
        capture.release()


def _open_gif(path: Path) -> Film:
    try:
        durations = [duration for _, duration in _read_gif(path, pixels=False)]
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError):
        raise StreetsegError(f"{path} is no GIF that can be read") from None
    return Film(path, 1 / min(durations), len(durations), lambda: _read_gif(path))


def _read_gif(path: Path, pixels: bool = True) -> Generator[Frame, None, None]:
    with Image.open(path, formats=["GIF"]) as gif:
        while True:
            milliseconds = gif.info.get("duration", 0)
            shown = milliseconds / 1000
            if milliseconds < 10 * SHORTEST_GIF_FRAME:
                shown = DEFAULT_GIF_FRAME / 100
            try:
                yield np.array(gif.convert("RGB")) if pixels else np.empty(0), shown
                gif.seek(gif.tell() + 1)
            except (EOFError, OSError, SyntaxError):
                return


@contextmanager
def _new_file(destination: Path) -> Iterator[Path]:
    """Give a path to write to, of the same suffix, which is renamed at the end."""
    unfinished = destination.with_name(f"{destination.stem}.partial{destination.suffix}")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            unfinished.replace(destination)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise StreetsegError(f"cannot write {destination}: {error.strerror or error}") from None


@contextmanager
def _new_mp4(destination: Path, rate: float) -> Iterator[Write]:
    with _new_file(destination) as path:
        path.touch()  # tells why, if it cannot be
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
        # OpenCV does not tell if writing fails; the index comes last, so a cut file has none.
        if _frames_in(path) != written:
            raise StreetsegError(f"cannot write {destination}: is the disk full?")


def _frames_in(path: Path) -> int:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count


@contextmanager
def _new_gif(destination: Path) -> Iterator[Write]:
    with _new_file(destination) as path, path.open("wb") as file:
        gif = _Gif(file)
        yield gif.write
        gif.close()


class _Gif:
    """A GIF that grows; Pillow's own writer holds all frames until the last one is there.

    GIF89a Specification, CompuServe 1990: times are hundredths of a second.
    """

    def __init__(self, file: BufferedWriter) -> None:
        self.file, self.clock = file, 0.0
        self.held: Image.Image | None = None
        self.since = 0

    def write(self, rgb: np.ndarray, seconds: float) -> None:
        """Take a frame; it is written when its end is known."""
        now = round(self.clock * 100)
        self.clock += seconds
        if self.held is None:
            size = rgb.shape[1], rgb.shape[0]
            self.file.write(struct.pack("<6sHHBBB", b"GIF89a", *size, 0x70, 0, 0))
            self.file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # again and again
        elif now - self.since < SHORTEST_GIF_FRAME:
            return
        else:
            self._flush(now)
        picture = Image.fromarray(rgb)
        self.held = picture.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        self.since = now

    def close(self) -> None:
        """Write the last frame and the end."""
        self._flush(max(round(self.clock * 100), self.since + SHORTEST_GIF_FRAME))
        self.file.write(b";")

    def _flush(self, now: int) -> None:
        assert self.held is not None
        shown = 10 * (now - self.since)
        for part in GifImagePlugin.getdata(self.held, duration=shown, include_color_table=True):
            self.file.write(part)


@contextmanager
def _new_frames(
    destination: Path, rate: float, encode: Callable[[np.ndarray], bytes]
) -> Iterator[Write]:
    with atomic_folder(destination, MARKER) as folder:
        written = 0

        def write(pixels: np.ndarray, _: float) -> None:
            nonlocal written
            written += 1
            (folder / frame_name(written)).write_bytes(encode(pixels))

        yield write
        (folder / MARKER).write_text(json.dumps({"rate": rate, "frames": written}) + "\n")
