"""The sources that a dataset is prepared from: one, or several that become one target."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from streetseg.config.params import Data
from streetseg.config.yaml_files import is_yaml
from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.data.places import KnownPlaces, read_origins
from streetseg.data.sources import Frame, Source, load_source


@dataclass(frozen=True)
class Member:
    """A source, and the folder of its frames below ``data.root``."""

    name: str
    """What frames, slices and pages call it; empty if it is the only one."""
    source: Source
    folder: Path


@dataclass(frozen=True)
class Collection:
    """The sources of a dataset. Of several, frames and cities begin with the name of theirs."""

    members: tuple[Member, ...]

    @property
    def several(self) -> bool:
        """Whether frames are told apart by source."""
        return len(self.members) > 1

    @cached_property
    def labels(self) -> LabelSpace:
        """The label space of the prepared data; StreetsegError if the sources' differ."""
        first, *others = self.members
        for other in others:
            if other.source.labels != first.source.labels:
                raise StreetsegError(
                    f"the labels of '{first.name}' become '{first.source.labels.name}', those of "
                    f"'{other.name}' '{other.source.labels.name}': set data.target for both, such "
                    "as data.target=cityscapes-19"
                )
        return first.source.labels

    @cached_property
    def file(self) -> str:
        """What ``dataset.json`` calls the sources: their names or files, joined by ``+``."""
        return "+".join(member.source.file for member in self.members)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the sources' own."""
        if not self.several:
            return self.members[0].source.fingerprint
        parts = [
            [member.name, member.folder.as_posix(), member.source.fingerprint]
            for member in self.members
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def places(self) -> bool:
        """Whether the cities of all sources are places."""
        return all(member.source.places for member in self.members)

    @property
    def stated_name(self) -> str | None:
        """The ``name:`` of a single source."""
        return None if self.several else self.members[0].source.name

    def name_in(self, root: Path) -> str:
        """What the data in ``root`` is called: the names of the sources, joined by ``+``."""
        if not self.several:
            return self.members[0].source.name_in(root / self.members[0].folder)
        return "+".join(member.name for member in self.members)

    def find(self, root: Path, images_needed: bool = True) -> list[Frame]:
        """The frames of all sources; see :meth:`streetseg.data.sources.Source.find_with_unused`."""
        frames, _ = self.find_with_unused(root, images_needed)
        return frames

    def find_with_unused(
        self, root: Path, images_needed: bool = True
    ) -> tuple[list[Frame], Counter[str]]:
        """Like :meth:`find`, and how many frames each split has that nothing uses."""
        frames: list[Frame] = []
        unused: Counter[str] = Counter()
        known = KnownPlaces()
        for member in self.members:
            found, left_out = member.source.find_with_unused(root / member.folder, images_needed)
            unused += left_out
            if member.source.joins_splits:
                found = [*known.join(found, read_origins(member.source.provenance))]
            if any(other.source.joins_splits for other in self.members):
                known.add(found, member.source.places)
            frames += [self._of_member(frame, member) for frame in found]
        if self.several:
            frames.sort(key=lambda frame: (frame.split, frame.city))
        return frames, unused

    def _of_member(self, frame: Frame, member: Member) -> Frame:
        if not self.several:
            return frame
        name, city = f"{member.name}_{frame.name}", f"{member.name}_{frame.city}"
        return replace(frame, name=name, city=city, source=member.name)


def load_sources(data: Data) -> Collection:
    """The sources that the settings name.

    Raises:
        StreetsegError: one is missing or invalid, or two have one name.
    """
    if not data.sources:
        source = load_source(data.source, data.target, data.fold)
        return Collection((Member("", source, Path()),))
    members = []
    for each in data.sources:
        source = load_source(each.source, data.target, data.fold)
        name = source.name or (each.folder.name if is_yaml(each.source) else each.source)
        members.append(Member(name, source, each.folder))
    names = Counter(member.name for member in members)
    if twice := [name for name, count in names.items() if count > 1]:
        raise StreetsegError(
            f"data.sources: two are called '{twice[0]}': write a YAML file for one, with its name:"
        )
    if len(members) == 1:
        members = [replace(members[0], name="")]
    return Collection(tuple(members))
