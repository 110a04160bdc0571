"""Images that several label files of many pictures may list: which file counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from streetseg.data.annotations.files import read_bytes
from streetseg.data.annotations.formats import FORMATS, Format, FormatName
from streetseg.data.annotations.match import Pictures, choose_files
from streetseg.data.annotations.shapes import Picture
from streetseg.data.splits import UNLISTED


class Labelled(Protocol):
    """What is known of a frame by its path."""

    @property
    def label(self) -> Path: ...  # noqa: D102
    @property
    def format(self) -> FormatName | None: ...  # noqa: D102


AnyFrame = TypeVar("AnyFrame", bound=Labelled)


def join_label_files(
    listing: Mapping[Path, Sequence[AnyFrame]], root: Path
) -> dict[Path, AnyFrame]:
    """The frame of each image that several label files may list, or that may be left out.

    ``listing`` has a frame of each image for each file. An image that no file lists has a picture
    with an ``error``, or the split ``UNLISTED`` where the format is ``partial``.

    Raises:
        StreetsegError: a file cannot be read, or two have shapes of one image.
    """
    candidates = {
        image: frames
        for image, frames in listing.items()
        if len(frames) > 1 or any(_format(frame).partial for frame in frames)
    }
    formats = {each.label: _format(each) for frames in candidates.values() for each in frames}
    files = {
        path: Pictures(format.read(read_bytes(path), path).pictures, path)
        for path, format in formats.items()
    }
    paths = {
        image.relative_to(root): [frame.label for frame in frames]
        for image, frames in candidates.items()
    }
    chosen = choose_files(paths, files)
    return {
        image: _of_file(chosen.get(image.relative_to(root)), image, frames)
        for image, frames in candidates.items()
    }


def _of_file(path: Path | None, image: Path, frames: Sequence[AnyFrame]) -> AnyFrame:
    """The frame whose label file is ``path``; if no file lists the image, what that means."""
    if path:
        return next(frame for frame in frames if frame.label == path)
    if _format(frames[0]).partial:
        return _changed(frames[0], split=UNLISTED)
    among = " or ".join(str(frame.label) for frame in frames)
    error = f"is not among the pictures of {among}"
    return _changed(frames[0], picture=Picture(image.name, error=error))


def _format(frame: Labelled) -> Format:
    assert frame.format
    return FORMATS[frame.format]


def _changed(frame: AnyFrame, **changes: object) -> AnyFrame:
    return dataclasses.replace(frame, **changes)  # type: ignore[type-var]
