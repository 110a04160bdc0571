"""Data sets as published: finding the frames and their label images on disk.

A source is data (``layouts/<name>.yaml``, or a file of yours): where the images lie, what their
labels mean, and how frames are split where the data set does not say.
"""

from __future__ import annotations

import glob
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, TypeAdapter, model_validator

from streetseg.config.yaml_files import Section, find_yaml, read_yaml, validated
from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.images.paths import is_hidden, natural_order

LAYOUTS = Path(__file__).parent / "layouts"

SPLITS = ("train", "val")
"""The splits with ground truth. Cityscapes publishes its test labels as all void."""

EVALUATED = "val"
"""The split that scores are of. Its label ids are kept at native size."""

OTHER_SPLITS = ("test", "train_extra")
"""Splits that may lie beside them and are left out, if no pair asks for them."""

PLACEHOLDER = re.compile(r"{(\w+)}")
PLACEHOLDERS = {"split": "[^/]+", "city": "[^/]+?", "name": "[^/]+"}


@dataclass(frozen=True)
class Frame:
    """A photograph and its label image; one of the two may be missing on disk."""

    name: str
    """Unique in the data set, as ``aachen_000000_000019``."""
    split: str
    city: str
    image: Path
    label: Path


class Pair(Section):
    """A photograph's path and its label image's, with ``{split}``, ``{city}`` and ``{name}``."""

    images: str
    labels: str
    split: Literal["train", "val"] | None = None

    @model_validator(mode="after")
    def _alike(self) -> Pair:
        held = [set(PLACEHOLDER.findall(pattern)) for pattern in (self.images, self.labels)]
        if unknown := sorted((held[0] | held[1]) - PLACEHOLDERS.keys()):
            raise ValueError(f"{{{unknown[0]}}} is none of {{split}}, {{city}} and {{name}}")
        if held[0] != held[1] or "name" not in held[0]:
            raise ValueError("images and labels need the same placeholders, {name} among them")
        if any(Path(pattern).is_absolute() for pattern in (self.images, self.labels)):
            raise ValueError("images and labels are paths below data.root")
        return self


class Source(Section):
    """How a data set lies on disk."""

    label_space: str
    """The name of one that is shipped, or a YAML file beside this one."""
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]
    """A photograph belongs to the first pair whose label image is there."""
    licence: str | None = None
    """What the published data may be used for."""
    places: bool = True
    """Whether a city is a place, so that none should be in two splits."""
    city_from_name: Annotated[int, Field(ge=0)] = 0
    """Without ``{city}``: how many characters of the name stand for it, to bound the shards."""
    val_cities: tuple[str, ...] = ()
    """Without ``{split}``: the cities that are val."""
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Without ``{split}`` and ``val_cities``: the share at the end of each city that is val."""

    _name: str = PrivateAttr("")
    _folder: Path = PrivateAttr(LAYOUTS)

    @cached_property
    def labels(self) -> LabelSpace:
        """What the label images hold."""
        return LabelSpace.load(self.label_space, self._folder)

    def find(self, root: Path) -> list[Frame]:
        """Find the frames below ``root``, in order of split, city and name.

        A photograph without a label image is among them with the path where that should be, and
        a label image without its photograph likewise.

        Raises:
            StreetsegError: no photograph is where the layout says, or some would be left out or
                mixed up for their split or name.
        """
        found: dict[Path, Frame] = {}
        orphans: dict[Path, Frame] = {}
        for pair in self.pairs:
            images, labels = _match(root, pair.images), _match(root, pair.labels)
            for values, image in images.items():
                frame = self._frame(pair, values, image, _path(root, pair.labels, values))
                if image not in found or (values in labels and not found[image].label.exists()):
                    found[image] = frame
            for values in labels.keys() - images.keys():
                image = _path(root, pair.images, values)
                orphans.setdefault(image, self._frame(pair, values, image, labels[values]))
        if not found:
            synth = ", or make one with 'streetseg synth'" if self._name == "cityscapes" else ""
            raise StreetsegError(
                f"{root} holds no {self.pairs[0].images}: point data.root at a folder in the "
                f"layout of data.source={self._name}{synth}"
                if root.is_dir()
                else f"data.root = {root} is not there: point it at the frames{synth}"
            )
        used = {frame.label for frame in found.values()}
        frames = [*found.values(), *(f for f in orphans.values() if f.label not in used)]
        frames = self._split(frames)
        _refuse_namesakes(frames)
        _refuse_other_splits(frames, root)
        return sorted(
            (frame for frame in frames if frame.split in SPLITS),
            key=lambda frame: (frame.split, frame.city, natural_order(frame.name)),
        )

    def _frame(self, pair: Pair, values: Values, image: Path, label: Path) -> Frame:
        given = dict(values)
        name, prefix = given["name"], self.city_from_name
        city = given.get("city") or (name[:prefix] if prefix else "all")
        if "city" in given and not name.startswith(f"{city}_"):
            name = f"{city}_{name}"
        return Frame(name, pair.split or given.get("split", ""), city, image, label)

    def _split(self, frames: list[Frame]) -> list[Frame]:
        """Give each frame without a split one."""
        given = [frame for frame in frames if frame.split]
        if self.val_cities and len(given) == len(frames):
            raise StreetsegError(f"{self._name}: val_cities is of no use where {{split}} is given")
        cities = defaultdict(list)
        for frame in sorted(frames, key=lambda frame: natural_order(frame.name)):
            if not frame.split:
                cities[frame.city].append(frame)
        if unknown := sorted(set(self.val_cities) - cities.keys()):
            raise StreetsegError(
                f"{self._name}: val_cities names '{unknown[0]}', which is none of "
                f"{', '.join(sorted(cities))}"
            )
        for city, members in cities.items():
            held_out = len(members) if city in self.val_cities else 0
            if not self.val_cities and len(members) > 1:
                held_out = min(max(1, round(self.val_share * len(members))), len(members) - 1)
            first = len(members) - held_out
            given += [replace(frame, split="train") for frame in members[:first]]
            given += [replace(frame, split="val") for frame in members[first:]]
        return given


Values = tuple[tuple[str, str], ...]
"""What the placeholders of a pattern stood for in a path."""


def load_source(name: str) -> Source:
    """Read the source shipped under ``name``, or a YAML file of that path.

    Raises:
        StreetsegError: no such source, or a file that is not well formed.
    """
    path = find_yaml(name, LAYOUTS, Path(), f"data.source = '{name}'")
    source = validated(TypeAdapter(Source), read_yaml(path), str(path))
    source._name, source._folder = name, path.parent
    return source


def refuse_incomplete(frames: Iterable[Frame]) -> None:
    """Stop if a photograph has no label image, or the reverse.

    Raises:
        StreetsegError: naming the first and the number of the others.
    """
    for what, that in (("label", "image"), ("image", "label")):
        alone = [frame for frame in frames if not getattr(frame, what).exists()]
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise StreetsegError(
                f"{getattr(alone[0], that)} has no {what} in {getattr(alone[0], what).parent}"
                f"{more}: add it, or set prepare.on_error=skip"
            )


def _match(root: Path, pattern: str) -> dict[Values, Path]:
    """The files below ``root`` that a pattern describes, by what its placeholders stand for."""
    expression, wildcard, seen = "", "", set()
    for place, text in enumerate(PLACEHOLDER.split(pattern)):
        if place % 2 == 0:
            expression, wildcard = expression + re.escape(text), wildcard + glob.escape(text)
        else:
            known = text in seen
            expression += f"(?P={text})" if known else f"(?P<{text}>{PLACEHOLDERS[text]})"
            wildcard += "*"
            seen.add(text)
    compiled = re.compile(expression)
    found = {}
    for path in root.glob(wildcard):
        relative = path.relative_to(root)
        if not str(relative).isprintable():
            raise StreetsegError(f"{str(path)!a}: the name is not printable UTF-8: rename the file")
        name = relative.as_posix()
        if not is_hidden(name) and (match := compiled.fullmatch(name)):
            found[tuple(sorted(match.groupdict().items()))] = path
    return found


def _path(root: Path, pattern: str, values: Values) -> Path:
    given = dict(values)
    return root / PLACEHOLDER.sub(lambda match: given[match[1]], pattern)


def _refuse_other_splits(frames: Sequence[Frame], root: Path) -> None:
    """Stop if frames would be left out because their split has another name."""
    splits = {frame.split for frame in frames}
    known = {*SPLITS, *OTHER_SPLITS}
    other = sorted({f.split for f in frames if f.split not in known and f.label.exists()})
    if other:
        raise StreetsegError(
            f"{root} holds labels of the split '{other[0]}': name it train or val, or "
            "give a pair of its own 'split: train' or 'split: val'"
        )
    if not splits & {*SPLITS}:
        raise StreetsegError(f"{root} holds no frames in train or val, only {', '.join(splits)}")


def _refuse_namesakes(frames: Iterable[Frame]) -> None:
    """Stop if two frames of a city would be one: their label images are kept by name."""
    known: dict[tuple[str, str, str], Frame] = {}
    for frame in frames:
        other = known.setdefault((frame.split, frame.city, frame.name), frame)
        if other is not frame:
            raise StreetsegError(
                f"{other.image} and {frame.image} are both named '{frame.name}': tell them apart "
                "with {city} in the pattern"
            )
