"""The annotations of frames: which picture of a label file is whose, and what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import xxhash

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import read_bytes
from streetseg.data.annotations.formats import FORMATS, FormatName, regions_export
from streetseg.data.annotations.match import Pictures
from streetseg.data.annotations.shapes import Picture
from streetseg.data.listings import find_listing
from streetseg.data.sources import Frame

WITHOUT_MASK = (
    "; Datumaro and CVAT write no mask of a picture without shapes: 'CVAT for images 1.1' and COCO "
    "list it"
)


def attach_pictures(frames: Sequence[Frame], root: Path) -> tuple[list[Frame], list[str]]:
    """Give each frame of a label file with many pictures its own, and say what files have lost.

    Pictures have an ``error`` where the file has none for an image. The other frames are unchanged.

    Raises:
        StreetsegError: a label file is unusable, or an image could be one of two pictures.
    """
    of_file: dict[tuple[Path, FormatName], list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        unread = frame.picture is None and frame.label.exists()
        if frame.format and frame.lists_images and unread:
            of_file[frame.label, frame.format].append(number)
    attached, notes = list(frames), list[str]()
    images = {frame.image.stem for frame in frames}
    for (path, name), numbers in of_file.items():
        export = FORMATS[name].read(read_bytes(path), path)
        pictures = Pictures(export.pictures, path, FORMATS[name].unlisted)
        for number in numbers:
            picture = pictures.of(frames[number].image.relative_to(root))
            _refuse_outside(picture, path, root)
            attached[number] = replace(frames[number], picture=picture)
        notes += export.notes
        unmatched = [
            picture
            for picture in pictures.unmatched  # without a shape, it may be in another file too
            if picture.shapes or PurePosixPath(picture.name).stem not in images
        ]
        if unmatched:
            more = f" (and {len(unmatched) - 1} more)" if len(unmatched) > 1 else ""
            notes.append(f"{path} has '{unmatched[0].name}'{more}, of which there is no image here")
    return attached, notes


def refuse_incomplete(frames: Iterable[Frame], root: Path) -> None:
    """Raise StreetsegError if an image has no label file, or the reverse."""
    for missing, present in (("label", "image"), ("image", "label")):
        incomplete = [frame for frame in frames if not getattr(frame, missing).exists()]
        if incomplete:
            first, more = incomplete[0], len(incomplete) - 1
            path = getattr(first, missing)
            listed = missing == "label" and not first.format and find_listing(path, root)
            raise StreetsegError(
                f"{getattr(first, present)} has no {missing} in {path.parent}"
                f"{f' (and {more} more)' if more else ''}: "
                f"{regions_export(path.parent) or 'add it, or set prepare.on_error=skip'}"
                f"{WITHOUT_MASK if listed else ''}"
            )


def refuse_unusable_pictures(frames: Iterable[Frame]) -> None:
    """Raise StreetsegError if an image has no annotation that can be used."""
    unusable = [frame for frame in frames if frame.picture and frame.picture.error]
    if unusable:
        first, more = unusable[0], len(unusable) - 1
        assert first.picture is not None
        raise StreetsegError(
            f"{first.image} {first.picture.error}{f' (and {more} more)' if more else ''}: "
            "mend the export, or set prepare.on_error=skip"
        )


def read_picture(frame: Frame) -> tuple[Picture, str]:
    """The annotation of a frame whose ``format`` is set, and a hash of it.

    Raises:
        StreetsegError: its label file is unusable, or it has no annotation.
    """
    assert frame.format
    picture = frame.picture
    if picture is None:
        data = read_bytes(frame.label)
        (picture,) = FORMATS[frame.format].read(data, frame.label).pictures
        return picture, xxhash.xxh3_128_hexdigest(data)
    if picture.error:
        raise StreetsegError(f"{frame.image} {picture.error}")
    if picture.segments and picture.shapes:
        content = picture.content_hash.encode() + read_bytes(picture.segments)
        return picture, xxhash.xxh3_128_hexdigest(content)
    return picture, picture.content_hash


def _refuse_outside(picture: Picture, path: Path, root: Path) -> None:
    """Refuse a panoptic PNG whose path leads out of ``root``."""
    if picture.segments and not picture.segments.resolve().is_relative_to(root.resolve()):
        raise StreetsegError(
            f"{path} names {picture.segments} as a mask, which is outside data.root"
        )


def file_hash(path: Path) -> str:
    """The xxHash of a file; StreetsegError if it cannot be read."""
    return xxhash.xxh3_128_hexdigest(read_bytes(path))
