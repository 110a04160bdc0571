"""Frames of one place in one split, also where they come from several sources."""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from streetseg.core.errors import StreetsegError
from streetseg.data.drives import NO_CITY, drive_of
from streetseg.data.sources import Frame
from streetseg.data.splits import SCORED
from streetseg.images.paths import natural_order

NUMBERS = re.compile(r"_\d+.*")
"""What follows the city in a name such as ``aachen_000000_000019``."""

Position = tuple[tuple[int, int | str], ...]


class KnownPlaces:
    """The splits that the places of some sources are in."""

    def __init__(self) -> None:
        """Start without places: of each, position, split and name of its frames."""
        self._frames: dict[str, list[tuple[Position, str, str]]] = defaultdict(list)

    def add(self, frames: Iterable[Frame], cities_are_places: bool) -> None:
        """Add the frames of a source, whose names and cities are as in that source alone."""
        for frame in frames:
            city = frame.city if cities_are_places and frame.city != NO_CITY else ""
            for place in filter(None, {drive_of(frame.name), city}):
                self._frames[place].append((natural_order(frame.name), frame.split, frame.name))
        for members in self._frames.values():
            members.sort()

    def join(self, frames: Iterable[Frame], origins: Mapping[str, str]) -> Iterator[Frame]:
        """The frames; those of a known place with its split, the others unchanged.

        ``origins`` may have the path of a frame before it was labelled, by the stem of its image.

        The place is the drive, else the city. Of a place in two splits, the nearest frame before
        and the nearest after decide; if they differ, the one that is scored does, so that no
        neighbour of an evaluated frame is trained on.
        """
        for frame in frames:
            origin = PurePosixPath(origins.get(frame.image.stem, ""))
            known = (each for each in _places_of(frame, origin) if each[0] in self._frames)
            place = next(known, None)
            yield replace(frame, split=self._split_in(*place)) if place else frame

    def _split_in(self, place: str, name: str) -> str:
        members, position = self._frames[place], natural_order(name)
        after = bisect(members, position, key=lambda member: member[0])
        neighbours = members[max(0, after - 1) : after + 1]
        for _, split, other in neighbours:
            if name == other or name.startswith(f"{other}_"):  # the same frame, as x_leftImg8bit
                return split
        splits = [split for _, split, _ in neighbours]
        return next((split for split in splits if split in SCORED), splits[0])


def read_origins(provenance: Path) -> dict[str, str]:
    """The path of each frame before it was labelled, by the stem of its image; empty without file.

    Raises:
        StreetsegError: the file does not hold them.
    """
    try:
        frames = json.loads(provenance.read_bytes())["frames"]
        return {str(stem): str(frame.get("origin", "")) for stem, frame in frames.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StreetsegError(
            f"{provenance} does not tell the origin of each frame: import the labels again, or "
            "delete it"
        ) from None


def _places_of(frame: Frame, origin: PurePosixPath) -> Iterator[tuple[str, str]]:
    """What the place of a frame may be called, from the narrowest, and what the frame is there."""
    names = (frame.name, frame.image.stem, origin.stem)
    yield from ((drive_of(name), name) for name in names)
    yield from ((NUMBERS.sub("", name), name) for name in names)
    yield from ((folder, f"{folder}_{origin.stem}") for folder in reversed(origin.parent.parts))
    yield frame.city, frame.name
