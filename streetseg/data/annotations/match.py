"""The pictures of a label file and the images on disk, matched by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
        for picture in self._named(image):
            if picture.error:
                self._unmatched.pop(id(picture), None)
        best = self.closest(image)
        if not best:
            reason = f"is not among the pictures of {self._path}{self._unlisted}"
            return Picture(image.name, error=reason)
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

    def closest(self, image: Path) -> list[Picture]:
        """The pictures that an image may be, with the most folders in common with its path."""
        named = self._named(image)
        usable = [picture for picture in named if not picture.error] or named[:1]
        likeness = [_likeness(image, picture.name) for picture in usable]
        return [each for each, like in zip(usable, likeness, strict=True) if like == max(likeness)]

    def _named(self, image: Path) -> list[Picture]:
        return self._by_name.get(image.name) or self._by_stem.get(image.stem, [])


def choose_files(
    candidates: Mapping[Path, Sequence[Path]], files: Mapping[Path, Pictures]
) -> dict[Path, Path]:
    """The label file of each image, of those that may list it; images that none lists are left out.

    A file without a shape of an image does not count beside one that has some.

    Raises:
        StreetsegError: two files have shapes of one image.
    """
    alike: dict[str, list[Path]] = defaultdict(list)
    for image in candidates:
        alike[image.stem].append(image)
    chosen: dict[Path, Path] = {}
    for image, paths in candidates.items():
        listed = [
            (path, picture)
            for path in paths
            for picture in files[path].closest(image)
            if _likeness(image, picture.name)
            == max(_likeness(other, picture.name) for other in alike[image.stem])
        ]
        annotated = list(dict.fromkeys(path for path, picture in listed if picture.shapes))
        if len(annotated) > 1:
            raise StreetsegError(
                f"{image} has shapes in {annotated[0]} and in {annotated[1]}: leave them in one"
            )
        usable = [path for path, picture in listed if not picture.error]
        for path in annotated or usable or [path for path, _ in listed][:1]:
            chosen.setdefault(image, path)
    return chosen


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or ("",)


def _likeness(image: Path, name: str) -> tuple[bool, int]:
    """Whether the file names are equal, and how many folders, from the file up, are."""
    parts = _parts(name)
    folders = list(zip(image.parts[-2::-1], parts[-2::-1], strict=False))
    differing = (number for number, (one, other) in enumerate(folders) if one != other)
    return image.name == parts[-1], next(differing, len(folders))
