"""The splits of a data set, and how frames are divided where its folders do not say it."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field, model_validator

from streetseg.config.yaml_files import Section
from streetseg.core.errors import StreetsegError, cannot_read, did_you_mean
from streetseg.data.drives import drive_of
from streetseg.images.paths import natural_order

SplitName = Literal["train", "val", "test"]

SPLITS = ("train", "val")
"""The splits that a dataset needs: one to train on, one that decides."""

TEST = "test"
"""A split that nothing chooses on. It is used if a source says so: Cityscapes publishes its test
labels as all void."""

EVALUATED = "val"
"""The split that decides: the gate, and what is registered."""

SCORED = (EVALUATED, TEST)
"""The splits that can be scored. Their label ids are kept at native size."""

USED_SPLITS = (*SPLITS, TEST)
"""The splits that a dataset may have."""

UNLISTED = "unlisted"
"""The split of frames that no list has."""

OTHER_SPLITS = (TEST, "train_extra", UNLISTED)
"""Splits that are ignored, unless a source uses them."""

MIN_FOLDS = 2

FIRST_FILE = re.compile(r".+?\.\w{3,4}(?=\s)")
"""The first column of a list of paths."""


class Divisible(Protocol):
    """What is known of a frame before it has a split."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def city(self) -> str: ...  # noqa: D102
    @property
    def image(self) -> Path: ...  # noqa: D102
    @property
    def annotation(self) -> Path: ...  # noqa: D102


AnyFrame = TypeVar("AnyFrame", bound=Divisible)


class SplitRules(Section):
    """The part of a source that divides frames whose path has no ``{split}``.

    Images of one label are always in one split.
    """

    split_files: dict[SplitName, str] = Field({})
    """Lists of frames, beside this file: a name or a path on each line. What no list has is left
    out."""
    val_cities: tuple[str, ...] = ()
    """The cities that are val."""
    test_cities: tuple[str, ...] = ()
    """The cities that are test."""
    folds: Annotated[int, Field(ge=MIN_FOLDS)] | None = None
    """The number of parts that whole cities are dealt into; ``data.fold`` says which is val."""
    split_by: Literal["end", "drive", "city"] = "end"
    """What ``val_share`` and ``test_share`` take: the end of each city, or whole drives or cities
    from the end of their list."""
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The fraction that is val."""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The fraction that is test."""

    @model_validator(mode="after")
    def _one_rule(self) -> SplitRules:
        rules = {
            "split_files": bool(self.split_files),
            "val_cities": bool(self.val_cities or self.test_cities),
            "folds": self.folds is not None,
            "split_by": self.split_by != "end" or self.test_share > 0,
        }
        stated = [name for name, given in rules.items() if given]
        if len(stated) > 1:
            raise ValueError(f"{stated[0]} and {stated[1]} both divide the frames: keep one")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share and test_share leave nothing to train on")
        return self

    @property
    def divides(self) -> bool:
        """Whether a rule other than the default is stated."""
        return bool(self.model_fields_set & SplitRules.model_fields.keys() - {"val_share"})

    @property
    def uses_test(self) -> bool:
        """Whether a rule makes frames test."""
        return bool(TEST in self.split_files or self.test_cities or self.test_share)

    def divide(
        self, frames: Sequence[AnyFrame], origin: str, folder: Path, fold: int
    ) -> list[AnyFrame]:
        """The frames with their splits; those that no list has are of the split ``unlisted``.

        ``origin`` names the source in errors; ``folder`` is where its lists are; ``fold`` is the
        number of the part that is val, from 0.

        Raises:
            StreetsegError: a list or a city is unknown, or there are too few to divide.
        """
        ordered = sorted(frames, key=lambda frame: natural_order(frame.name))
        if self.split_files:
            splits = self._listed(ordered, folder)
        elif self.folds:
            splits = _deal(ordered, self.folds, fold, origin)
        elif self.val_cities or self.test_cities:
            splits = self._by_city(ordered, origin)
        else:
            splits = self._by_share(ordered, origin)
        return [_with_split(frame, splits[frame.annotation]) for frame in ordered]

    def _listed(self, frames: Sequence[AnyFrame], folder: Path) -> dict[Path, str]:
        keys: dict[str, set[Path]] = defaultdict(set)
        for frame in frames:
            stem = frame.image.with_suffix("")
            parts = [*stem.parts[1:]]
            for start in range(len(parts)):
                keys["/".join(parts[start:])].add(frame.annotation)
            keys[frame.name].add(frame.annotation)
        splits = dict.fromkeys((frame.annotation for frame in frames), UNLISTED)
        for split, name in self.split_files.items():
            for line in _lines(folder / name):
                of_name = (
                    keys.get(name) or keys.get(str(Path(name).with_suffix("")))
                    for name in _names(line)
                )
                found = next(filter(None, of_name), set[Path]())
                if len(found) != 1:
                    problem = "is the end of several paths" if found else "is no frame of data.root"
                    raise StreetsegError(f"{folder / name}: '{line}' {problem}")
                (annotation,) = found
                if splits[annotation] not in (UNLISTED, split):
                    other = self.split_files[splits[annotation]]  # type: ignore[index]
                    raise StreetsegError(f"'{line}' is in {folder / other} and in {folder / name}")
                splits[annotation] = split
        return splits

    def _by_city(self, frames: Sequence[AnyFrame], origin: str) -> dict[Path, str]:
        cities = {frame.city for frame in frames}
        for setting in ("val_cities", "test_cities"):
            if unknown := sorted(set(getattr(self, setting)) - cities):
                known = ", ".join(sorted(cities))
                hint = did_you_mean(unknown[0], cities, "choose among those")
                raise StreetsegError(
                    f"{origin}: {setting} names '{unknown[0]}', which is none of {known}: {hint}"
                )
        chosen = dict.fromkeys(self.val_cities, EVALUATED) | dict.fromkeys(self.test_cities, TEST)
        return {frame.annotation: chosen.get(frame.city, "train") for frame in frames}

    def _by_share(self, frames: Sequence[AnyFrame], origin: str) -> dict[Path, str]:
        groups: dict[str, dict[Any, list[Path]]] = defaultdict(lambda: defaultdict(list))
        for frame in frames:
            if self.split_by == "end":
                groups[frame.city][frame.annotation].append(frame.annotation)
                continue
            unit = frame.city if self.split_by == "city" else drive_of(frame.name, frame.city)
            groups[""][unit].append(frame.annotation)
        splits: dict[Path, str] = {}
        for units in groups.values():
            if self.split_by != "end" and len(units) < len(SPLITS) + (self.test_share > 0):
                raise StreetsegError(
                    f"{origin}: split_by: {self.split_by} needs more than {len(units)}"
                )
            rest = [list(dict.fromkeys(members)) for members in units.values()]
            total = sum(map(len, rest))
            for split, share in ((TEST, self.test_share), (EVALUATED, self.val_share)):
                rest, taken = _take_from_end(rest, share * total if share else 0)
                splits |= {annotation: split for unit in taken for annotation in unit}
            splits |= {annotation: "train" for unit in rest for annotation in unit}
        return splits


def _take_from_end(
    units: list[list[Path]], wanted: float
) -> tuple[list[list[Path]], list[list[Path]]]:
    """Part units so that the end has nearly ``wanted`` members, but one unit at least and not all.

    None are taken if ``wanted`` is 0.
    """
    if not wanted:
        return units, []
    members = np.cumsum([len(unit) for unit in reversed(units)])
    nearest = int(np.abs(members - round(wanted)).argmin()) + 1
    first = len(units) - min(nearest, len(units) - 1)
    return units[:first], units[first:]


def _deal(frames: Sequence[AnyFrame], folds: int, fold: int, origin: str) -> dict[Path, str]:
    """Deal cities into ``folds`` parts of nearly equal size; part number ``fold`` is val."""
    cities: dict[str, int] = defaultdict(int)
    for frame in frames:
        cities[frame.city] += 1
    if len(cities) < folds or fold >= folds:
        raise StreetsegError(
            f"{origin}: folds: {folds} needs as many cities, and there are {len(cities)}"
            if len(cities) < folds
            else f"data.fold = {fold}: {origin} has the folds 0 to {folds - 1}"
        )
    sizes, part_of = [0] * folds, {}
    for city, size in sorted(cities.items(), key=lambda item: (-item[1], natural_order(item[0]))):
        smallest = sizes.index(min(sizes))
        part_of[city], sizes[smallest] = smallest, sizes[smallest] + size
    return {
        frame.annotation: EVALUATED if part_of[frame.city] == fold else "train" for frame in frames
    }


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise cannot_read(path, error) from None
    except UnicodeDecodeError as error:
        raise StreetsegError(f"cannot read {path}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _names(line: str) -> list[str]:
    """What a line may name: all of it, up to the end of a file's name, or up to a blank.

    Lists may have the label image after a blank, and ApolloScape has blanks in names of folders.
    """
    file = FIRST_FILE.match(line)
    names = [line, *([file[0]] if file else []), line.split()[0]]
    return [name.removeprefix("./").lstrip("/") for name in names]


def _with_split(frame: AnyFrame, split: str) -> AnyFrame:
    return dataclasses.replace(frame, split=split)  # type: ignore[type-var]
