"""The pictures of a label file and the images on disk, matched by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.shapes import Picture

UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio writes before the names of uploads."""


class Pictures:
    """The pictures of a label file by the name of their image."""

    def __init__(self, pictures: Iterable[Picture], path: Path, unlisted: str = "") -> None:
        """``path`` is the label file, which errors name, ``unlisted`` why it may lack an image."""
        self._path, self._unlisted = path, unlisted
        self._by_name: dict[str, list[Picture]] = defaultdict(list)
        self._by_stem: dict[str, list[Picture]] = defaultdict(list)
        self._unmatched: dict[int, Picture] = {}
        for picture in pictures:
            self._unmatched[id(picture)] = picture
            name = _parts(picture.name)[-1]
            for each in dict.fromkeys((name, UPLOADED.sub("", name, count=1))):
                self._by_name[each].append(picture)
                self._by_stem[PurePosixPath(each).stem].append(picture)
        self._image_of: dict[int, Path] = {}

    @property
    def unmatched(self) -> list[Picture]:
        """The pictures that no image was matched to."""
        return [*self._unmatched.values()]

    def of(self, image: Path) -> Picture:
        """The picture of an image: that whose path has most folders in common with its own.

        A picture with an ``error`` if there is none, or if several cannot be told apart. A file
        name with another ending is enough, and pictures that cannot be used do not count beside
        one that can.

        Raises:
            StreetsegError: two images of one picture cannot be told apart.
        """
        named = self._by_name.get(image.name) or self._by_stem.get(image.stem, [])
        for picture in named:
            if picture.error:
                self._unmatched.pop(id(picture), None)
        found = [picture for picture in named if not picture.error] or named[:1]
        if not found:
            reason = f"is not among the pictures of {self._path}{self._unlisted}"
            return Picture(image.name, error=reason)
        likeness = [_likeness(image, picture.name) for picture in found]
        best = [each for each, like in zip(found, likeness, strict=True) if like == max(likeness)]
        if len(best) > 1:
            reason = (
                f"has the name of {len(best)} pictures in {self._path}, and nothing tells which "
                "one counts: leave one in the export, or name the files apart"
            )
            return Picture(image.name, error=reason)
        other = self._image_of.setdefault(id(best[0]), image)
        if other != image:
            raise StreetsegError(
                f"{other} and {image} are both '{best[0].name}' in {self._path}: give each folder "
                "a pair with its own label file, or name the files apart"
            )
        self._unmatched.pop(id(best[0]), None)
        return best[0]


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


def _likeness(image: Path, name: str) -> tuple[bool, int]:
    """Whether the file names are equal, and how many folders, from the file up, are."""
    parts = _parts(name)
    folders = list(zip(image.parts[-2::-1], parts[-2::-1], strict=False))
    differing = (number for number, (one, other) in enumerate(folders) if one != other)
    return image.name == parts[-1], next(differing, len(folders))
