"""Data sets as published: finding the frames and their label images on disk.

A source is data: ``layouts/<name>.yaml``, or the user's own file.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr, TypeAdapter, model_validator

from streetseg.config.yaml_files import Section, find_yaml, read_yaml, validated
from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.data.annotations.formats import FORMATS, FormatName, unreadable
from streetseg.data.annotations.shapes import Picture
from streetseg.data.drives import NO_CITY
from streetseg.data.joined_files import join_label_files
from streetseg.data.labels import LabelSpace
from streetseg.data.numbering import Ids, numbering
from streetseg.data.path_patterns import PLACEHOLDER, PLACEHOLDERS, Values, fill, match
from streetseg.data.splits import OTHER_SPLITS, SPLITS, TEST, USED_SPLITS, SplitName, SplitRules
from streetseg.data.targets import AUTO, label_ids_in, target_space, without_cityscapes
from streetseg.images.paths import natural_order

LAYOUTS = Path(__file__).parent / "layouts"

DRAWN = ("cityscapes", "cityscapes-19")
"""Sources in whose layout 'streetseg synth' draws scenes."""

PROVENANCE = "provenance.json"
"""What an import of labels tells of its frames."""


@dataclass(frozen=True)
class Frame:
    """An image and its label file; one of the two may be missing on disk."""

    name: str
    """Unique in the data set, as ``aachen_000000_000019``."""
    split: str
    city: str
    image: Path
    label: Path
    condition: str = ""
    """The weather or light that the data set states, such as ``night``."""
    source: str = ""
    """The name of its source, where there are several."""
    format: FormatName | None = None
    """Of the label file; None for an image."""
    picture: Picture | None = field(default=None, compare=False, repr=False)
    """Its part of a label file that holds many pictures, once that is read."""
    instances: Path | None = None
    """Instance ids of the label image, which need not exist; None if the source has none."""

    @property
    def lists_images(self) -> bool:
        """Whether its label file holds many pictures."""
        return bool(self.format and FORMATS[self.format].many)

    @property
    def annotation(self) -> Path:
        """What frames share that show one scene: the label file, or else the image itself."""
        return self.image if self.lists_images else self.label


class Pair(Section):
    """Path patterns of images and their labels.

    ``{split}``, ``{condition}``, ``{city}`` and ``{name}`` say what a frame is; ``{number}`` is a
    second part of its name. ``{variant}``, in ``images`` alone, is the part that distinguishes
    several images of one label.
    """

    images: str
    labels: str
    format: FormatName | None = None
    """Of label files that are no images. Some hold many pictures and need no ``{name}``."""
    instances: str | None = None
    """Images of instance ids, as in Cityscapes: label id * 1000 + number. They may be missing."""
    split: SplitName | None = None
    condition: str = ""

    @property
    def needs_no_image(self) -> bool:
        """Whether labels may lack images: a set with ``{variant}`` has some frames of another."""
        return bool(self.format and FORMATS[self.format].many) or "{variant}" in self.images

    @model_validator(mode="after")
    def _check_placeholders(self) -> Pair:
        in_images = {*PLACEHOLDER.findall(self.images)}
        in_labels = {*PLACEHOLDER.findall(self.labels)}
        if unknown := sorted((in_images | in_labels) - PLACEHOLDERS.keys()):
            *others, last = (f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
            raise ValueError(f"{{{unknown[0]}}} is none of {', '.join(others)} and {last}")
        if problem := unreadable(self.labels, self.format):
            raise ValueError(problem)
        if self.format and FORMATS[self.format].many:
            if "name" not in in_images or not in_labels <= in_images - {"variant"}:
                raise ValueError("images need {name}, and all placeholders of labels")
        elif in_images - {"variant"} != in_labels or "name" not in in_images:
            raise ValueError(
                "images and labels need the same placeholders, {name} among them; {variant} may be "
                "in images alone"
            )
        if self.instances and set(PLACEHOLDER.findall(self.instances)) != in_labels:
            raise ValueError("instances needs the same placeholders as labels")
        patterns = (self.images, self.labels, self.instances or "")
        if any(Path(pattern).is_absolute() for pattern in patterns):
            raise ValueError("images, labels and instances are paths below data.root")
        return self


class Source(SplitRules):
    """The layout of a data set on disk."""

    name: str | None = None
    """What the data is called in runs, model cards and pages; by default its folder's name."""
    label_space: str
    """The name of a packaged label space, or a YAML file beside this one."""
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]
    """An image belongs to the first pair whose label image exists."""
    licence: str | None = None
    """Permitted use of the published data."""
    ids: Ids | None = None
    """The numbering of the label images. None: label ids, unless a palette or a
    ``label_colors.txt`` says otherwise."""
    places: bool = True
    """Whether cities are real places, so that none should be in two splits."""
    joins_splits: bool = False
    """Whether frames of a drive or city that an earlier source of ``data.sources`` has join its
    split, as frames of a fleet that were labelled later. What ``provenance.json`` beside this file
    says of their origin counts too."""
    city_from_name: Annotated[int, Field(ge=0)] = 0
    """Without ``{city}``: the number of leading characters of the name that serve as city, to bound
    the size of shards."""
    _name: str = PrivateAttr("")
    _folder: Path = PrivateAttr(LAYOUTS)
    _target: str = PrivateAttr(AUTO)
    _fold: int = PrivateAttr(0)

    @cached_property
    def labels(self) -> LabelSpace:
        """The label space of the prepared data: that of the label images, or the target.

        Raises:
            StreetsegError: one of the two is missing or invalid, or they do not fit together.
        """
        target = target_space(self.file_labels, self._target)
        if target.labels != self.file_labels.labels:
            drawn = [label.id for label in self.file_labels.drawn]
            renumbered = (label_ids_in(target, self.file_labels)[drawn] != drawn).any()
            if renumbered and any(pair.instances for pair in self.pairs):
                raise StreetsegError(
                    f"{self._name}: the instance ids of '{self.file_labels.name}' are numbered by "
                    f"other labels than those of '{target.name}': leave instances out"
                )
        return target

    @cached_property
    def file_labels(self) -> LabelSpace:
        """The label space of the label images.

        Raises:
            StreetsegError: it is missing or invalid, or cannot be numbered by ``ids``.
        """
        labels = LabelSpace.load(self.label_space, self._folder)
        if self.ids and all(pair.format for pair in self.pairs):
            raise StreetsegError(
                f"{self._name}: ids has no effect on files with a format, whose labels have names"
            )
        if self.ids and labels.encoding != "ids":
            raise StreetsegError(
                f"{self._name}: ids has no effect on the label space '{labels.name}', whose label "
                f"images have the encoding {labels.encoding}"
            )
        if self.ids:
            numbering(labels, self.ids)
        return labels

    def reading(self, labels: LabelSpace) -> Source:
        """A copy whose label images are of another label space."""
        copy = self.model_copy()
        copy.__dict__["file_labels"] = labels
        copy.__dict__.pop("labels", None)
        return copy

    @property
    def lists(self) -> list[Path]:
        """The files that say which frame is in which split."""
        lists = [self._folder / name for name in self.split_files.values()]
        return lists + ([self.provenance] if self.joins_splits and self.provenance.exists() else [])

    @property
    def provenance(self) -> Path:
        """The file that may tell the origin of its frames."""
        return self._folder / PROVENANCE

    @property
    def file(self) -> str:
        """The name of a packaged source, or of the file of another."""
        return Path(self._name).name

    def name_in(self, root: Path) -> str:
        """What the data in ``root`` is called: ``name:``, else the name of the folder."""
        return self.name or root.absolute().name

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the patterns, the rules of the splits and the label space.

        Defaults are left out, so that a setting that a release adds does not change it.
        """
        rules = self.model_dump(
            mode="json", exclude={"name", "licence", "label_space"}, exclude_defaults=True
        )
        if self.folds:
            rules["fold"] = self._fold
        mapped = self.labels != without_cityscapes(self.file_labels)
        spaces = [self.labels, self.file_labels] if mapped else [self.labels]
        dumped = [
            TypeAdapter(LabelSpace).dump_python(space, mode="json", exclude_defaults=True)
            for space in spaces
        ]
        return hashlib.sha256(json.dumps([rules, *dumped], sort_keys=True).encode()).hexdigest()

    def find(self, root: Path) -> list[Frame]:
        """The frames of the splits in use below ``root``, sorted by split, city and name.

        A frame that lacks its image or label image is included, with the path of the missing file.

        Raises:
            StreetsegError: as :meth:`find_with_unused`.
        """
        frames, _ = self.find_with_unused(root)
        return frames

    def find_with_unused(
        self, root: Path, images_needed: bool = True
    ) -> tuple[list[Frame], Counter[str]]:
        """Like :meth:`find`, even of labels alone, and how many frames each unused split has.

        Raises:
            StreetsegError: no image matches, a split is unknown, or two frames have the same name.
        """
        by_image: dict[Path, Frame] = {}
        without_image: dict[Path, Frame] = {}
        listing: dict[Path, list[Frame]] = defaultdict(list)
        for pair in self.pairs:
            images, labels = match(root, pair.images), match(root, pair.labels)
            label_files = set(labels.values())
            for values, image in images.items():
                frame = self._frame(root, pair, values, image)
                labelled = image in by_image and by_image[image].label.exists()
                if image not in by_image or (frame.label in label_files and not labelled):
                    by_image[image] = frame
                if (
                    frame.lists_images
                    and frame.label in label_files
                    and by_image[image].lists_images
                ):
                    listing[image].append(frame)
            if pair.needs_no_image:
                continue
            for values in labels.keys() - images.keys():
                image = fill(root, pair.images, values)
                without_image.setdefault(image, self._frame(root, pair, values, image))
        if not by_image and (images_needed or not without_image):
            synth = ", or make one with 'streetseg synth'" if self._name in DRAWN else ""
            raise StreetsegError(
                f"{root} holds no {self.pairs[0].images}: point data.root at a folder in the "
                f"layout of data.source={self._name}{synth}"
                if root.is_dir()
                else f"data.root = {root} does not exist: "
                f"{did_you_mean_path(root, f'point it at the frames{synth}')}"
            )
        by_image |= join_label_files(listing, root)
        imaged = {frame.label for frame in by_image.values()}
        orphans = [frame for frame in without_image.values() if frame.label not in imaged]
        frames = self._split([*by_image.values(), *orphans])
        splits = USED_SPLITS if self._uses_test else SPLITS
        _refuse_other_splits(frames, root, splits)
        frames = _with_unique_names(frames, splits)
        used = [frame for frame in frames if frame.split in splits]
        _refuse_duplicate_names(used)
        unused = Counter(sorted(f.split for f in frames if f.split not in splits))
        used.sort(key=lambda frame: (frame.split, frame.city, natural_order(frame.name)))
        return used, unused

    @property
    def _uses_test(self) -> bool:
        return self.uses_test or any(pair.split == TEST for pair in self.pairs)

    def _frame(self, root: Path, pair: Pair, values: Values, image: Path) -> Frame:
        placeholders = dict(values)
        name, prefix = placeholders["name"], self.city_from_name
        city = placeholders.get("city") or (name[:prefix] if prefix else NO_CITY)
        if "city" in placeholders and not name.startswith(f"{city}_"):
            name = f"{city}_{name}"
        for part in ("number", "variant"):
            name += f"_{placeholders[part]}" if part in placeholders else ""
        split = pair.split or placeholders.get("split", "")
        condition = placeholders.get("condition", pair.condition)
        label = fill(root, pair.labels, values)
        instances = fill(root, pair.instances, values) if pair.instances else None
        return Frame(
            name, split, city, image, label, condition, format=pair.format, instances=instances
        )

    def _split(self, frames: list[Frame]) -> list[Frame]:
        assigned = [frame for frame in frames if frame.split]
        if self.divides and len(assigned) == len(frames):
            (rule, *_) = self.model_fields_set & SplitRules.model_fields.keys() - {"val_share"}
            raise StreetsegError(f"{self._name}: {rule} has no effect where {{split}} is given")
        rest = [frame for frame in frames if not frame.split]
        return assigned + self.divide(rest, self._name, self._folder, self._fold)


def load_source(name: str, target: str = AUTO, fold: int = 0) -> Source:
    """Read a packaged source, or a YAML file, whose labels become those of a target.

    ``target`` is as in :func:`streetseg.data.targets.target_space`; ``fold`` is the number of the
    part that is val, from 0, where a source has ``folds``. Raises StreetsegError if the
    source is missing or invalid.
    """
    path = find_yaml(name, LAYOUTS, Path(), f"data.source = '{name}'")
    source = validated(TypeAdapter(Source), read_yaml(path), str(path))
    source._name, source._folder, source._target, source._fold = name, path.parent, target, fold
    return source


def _with_unique_names(frames: Sequence[Frame], splits: Sequence[str]) -> list[Frame]:
    """Begin names by the split, as ``train_000000``, in cities of which two splits share a name."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for frame in frames:
        if frame.split in splits:
            found[frame.city, frame.name].add(frame.split)
    cities = {city for (city, _), of_name in found.items() if len(of_name) > 1}
    return [
        replace(frame, name=f"{frame.split}_{frame.name}") if frame.city in cities else frame
        for frame in frames
    ]


def _refuse_other_splits(frames: Sequence[Frame], root: Path, used: Sequence[str]) -> None:
    """Refuse labels in a split that would silently be ignored."""
    splits = {frame.split for frame in frames}
    unknown = splits - {*SPLITS, *OTHER_SPLITS}
    if labelled := sorted({f.split for f in frames if f.split in unknown and f.label.exists()}):
        raise StreetsegError(
            f"{root} holds labels of the split '{labelled[0]}': name it train or val, or give its "
            "files a pair with 'split: train' or 'split: val'"
        )
    if not splits & {*used}:
        raise StreetsegError(f"{root} holds no frames in train or val, only {', '.join(splits)}")


def _refuse_duplicate_names(frames: Iterable[Frame]) -> None:
    """Refuse two frames with one name: nothing could tell them apart."""
    by_name: dict[str, Frame] = {}
    for frame in frames:
        other = by_name.setdefault(frame.name, frame)
        if other is not frame:
            part = "{variant}" if other.annotation == frame.annotation else "{city}"
            raise StreetsegError(
                f"{other.image} and {frame.image} are both named '{frame.name}': write {part} in "
                f"the pattern of images{'' if part == '{variant}' else ' and labels'} for the part "
                "of the path that distinguishes them"
            )
