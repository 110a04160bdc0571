"""Labels of a source that its label space does not define yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import parallel_map
from streetseg.data.collection import Collection
from streetseg.data.label_files import undefined_labels
from streetseg.data.label_names import BACKGROUND, label_names, name_key
from streetseg.data.labels import Label
from streetseg.data.listings import BLACK, Color, find_listing, read_listing
from streetseg.data.sources import Frame, Source
from streetseg.data.targets import label_ids_in
from streetseg.images.decode import read_image

LabelKey = int | str | Color
"""An id, a name or a colour."""


@dataclass(frozen=True)
class Undefined:
    """A label that occurs and is not defined."""

    label: LabelKey
    frames: int
    """How many hold it, of those that were looked at."""
    example: str
    """One of them."""

    @property
    def title(self) -> str:
        """What it is called on pages and in lines."""
        if isinstance(self.label, tuple):
            return f"colour {self.label}"
        return f"id {self.label}" if isinstance(self.label, int) else f"'{self.label}'"


def define_all(
    sources: Collection, frames: Sequence[Frame], root: Path, workers: int
) -> tuple[Collection, list[Undefined]]:
    """Sources in which every label of ``frames`` is defined, and those that were not.

    They are added without a category, so that their pixels are shown as ignored.
    """
    by_name = {member.name: member.source for member in sources.members}
    look = partial(_undefined, sources=by_name, root=root)
    holders: dict[tuple[str, LabelKey], list[str]] = defaultdict(list)
    found = parallel_map(look, frames, workers=workers, description="labels")
    for frame, labels in zip(frames, found, strict=True):
        for label in labels:
            holders[frame.source, label].append(frame.name)
    members = [
        replace(
            each, source=_defining(each.source, [key for of, key in holders if of == each.name])
        )
        for each in sources.members
    ]
    undefined = [Undefined(key, len(names), names[0]) for (_, key), names in holders.items()]
    return Collection(tuple(members)), sorted(undefined, key=lambda each: -each.frames)


def _undefined(frame: Frame, sources: Mapping[str, Source], root: Path) -> list[LabelKey]:
    """The labels of a frame that are not defined; none if its label cannot be read."""
    source = sources[frame.source]
    space = source.file_labels
    try:
        if frame.format or not frame.label.exists():
            return [*undefined_labels(frame, space)] if frame.label.exists() else []
        if space.encoding == "colors":
            rgb = read_image(frame.label)
            occurring = {
                tuple(color) for color in np.unique(rgb.reshape(-1, 3), axis=0).tolist()
            } - {label.color for label in space.drawn}
            return sorted(occurring)
        listing = None if source.ids else find_listing(frame.label, root)
        if listing and space.encoding == "ids":
            names = label_names(space)
            return [
                name
                for name, color in read_listing(listing).entries
                if names.find(name) is None and name_key(name) != BACKGROUND[0] and color != BLACK
            ]
    except StreetsegError:
        return []
    return [*undefined_labels(frame, space, source.ids, root)]


def _defining(source: Source, undefined: Sequence[LabelKey]) -> Source:
    """A source that defines more labels; the same if there are none, or too many."""
    space = source.file_labels
    taken = {label.id for label in space.labels} | {key for key in undefined if type(key) is int}
    free = iter([number for number in range(255, -1, -1) if number not in taken])
    if not undefined or len(taken) + len(undefined) > 256:
        return source
    labels = [
        Label(
            id=key if isinstance(key, int) else next(free),
            name=key if isinstance(key, str) else f"undefined {key}",
            color=key if isinstance(key, tuple) else (0, 0, 0),
        )
        for key in undefined
    ]
    extended = source.reading(replace(space, labels=(*space.labels, *labels)))
    try:
        label_ids_in(extended.labels, extended.file_labels)
    except StreetsegError:  # a target without these names
        return source
    return extended
