"""Label spaces: the ids in a data set's label images, and the category of each.

A label space is data: ``label_spaces/<name>.yaml``, or the user's own file.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, with_config

from streetseg.config.types import NUMBER
from streetseg.config.yaml_files import find_yaml, read_yaml, validated
from streetseg.core.errors import StreetsegError, did_you_mean

CATEGORY_NAME = re.compile(r"[\w.\- :/]{1,200}")
"""Names of categories are part of metric names; MLflow allows these characters."""

LABEL_SPACES = Path(__file__).parent / "label_spaces"

IGNORE = 255
"""Category of pixels that losses and scores ignore, such as padding and ids without a category."""


Byte = Annotated[int, Field(ge=0, le=255), NUMBER]
Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
Encoding = Literal["ids", "red", "colors"]
"""How a label image stores ids: in one channel or a palette, in the red channel, or as colours."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Category:
    """A class that models predict; its id is its position in the label space."""

    name: str
    color: tuple[Byte, Byte, Byte]
    """RGB."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Label:
    """An id in a data set's label images."""

    id: Annotated[int, Field(ge=-1, le=255), NUMBER]
    """Label images never hold a negative id: Cityscapes has -1, and does not draw it."""
    name: str
    category: str | None = None
    """The category it is merged into; None to ignore its pixels in training and scores."""
    color: tuple[Byte, Byte, Byte] = (0, 0, 0)
    train_id: int = IGNORE
    instances: bool = False
    """Whether the data set distinguishes single objects of this label."""
    ignore_in_eval: bool = False
    """Whether the official evaluation ignores pixels of this label."""
    cityscapes: Names = ()
    """The labels of Cityscapes that it may be: one name, or several if it covers several."""
    ignore_if_split: bool = False
    """Whether its pixels are ignored by a target that puts those in different categories. False:
    such a target is refused."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class LabelSpace:
    """The labels of a data set and the categories they are merged into."""

    name: str
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    categories: Annotated[tuple[Category, ...], Field(min_length=2, max_length=255)] = ()
    """Empty if the labels are only read to be mapped onto a target."""
    encoding: Encoding = "ids"

    @classmethod
    def load(cls, name: str, folder: Path = Path()) -> LabelSpace:
        """Read the packaged label space ``name``, or the YAML file ``name`` in ``folder``.

        Raises:
            StreetsegError: there is no such label space, it is invalid, or MLflow could not name a
                metric by a category.
        """
        path = find_yaml(name, LABEL_SPACES, folder, f"no label space named '{name}'")
        space = cls.from_dict(read_yaml(path), str(path))
        if space.encoding == "colors" and len(space.drawn) < len(space.labels):
            raise StreetsegError(f"{path}: labels that are drawn as colours have ids of 0 to 255")
        for category in space.names:
            metric = f"held-out/iou/{category}"
            if not CATEGORY_NAME.fullmatch(category) or posixpath.normpath(metric) != metric:
                raise StreetsegError(
                    f"{path}: the category '{category}' cannot name a metric in MLflow: use "
                    "letters, digits, _ - . : / and spaces"
                )
        return space

    @classmethod
    def from_dict(cls, table: dict[str, Any], origin: str = "label space") -> LabelSpace:
        """The inverse of :meth:`to_dict`; StreetsegError names ``origin`` and the first mistake."""
        space = validated(TypeAdapter(cls), table, origin)
        space._refuse_contradictions(origin)
        return space

    def _refuse_contradictions(self, origin: str) -> None:
        if not self.categories and not any(label.cityscapes for label in self.labels):
            raise StreetsegError(
                f"{origin} has no categories: list them, or give each label the name of a label of "
                "Cityscapes, such as 'cityscapes: road'"
            )
        unique: dict[str, list[str]] = {
            "category": self.names,
            "label id": [str(label.id) for label in self.labels],
        }
        if self.encoding == "colors":
            unique["colour"] = [str(label.color) for label in self.labels]
        for what, values in unique.items():
            if duplicates := [value for value in values if values.count(value) > 1]:
                raise StreetsegError(f"{origin}: the {what} {duplicates[0]} occurs twice")
        used = {label.category for label in self.drawn}
        for name in self.names:
            if name not in used:
                raise StreetsegError(
                    f"{origin}: no label with an id of 0 to 255 is merged into the category "
                    f"'{name}'"
                )
        for label in self.labels:
            if label.category is not None and label.category not in self.names:
                choice = (
                    f"choose one of {', '.join(self.names)}, or leave it out to ignore the label"
                )
                raise StreetsegError(
                    f"{origin}: label '{label.name}' has the unknown category '{label.category}': "
                    f"{did_you_mean(label.category, self.names, choice)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON or YAML."""
        labels = [asdict(label) for label in self.labels]
        for label in labels:
            if not label["cityscapes"]:
                del label["cityscapes"], label["ignore_if_split"]
        categories = tuple(asdict(category) for category in self.categories)
        return {
            "name": self.name,
            **({"categories": categories} if categories else {}),
            "labels": tuple(labels),
            "encoding": self.encoding,
        }

    @property
    def names(self) -> list[str]:
        """Category names in order of category id."""
        return [category.name for category in self.categories]

    def category_id(self, name: str) -> int:
        """The id of the category called ``name``."""
        return self.names.index(name)

    @cached_property
    def palette(self) -> np.ndarray:
        """RGB colour of each category: uint8[categories, 3]."""
        return np.array([category.color for category in self.categories], np.uint8)

    @cached_property
    def drawn(self) -> tuple[Label, ...]:
        """The labels that a label image can hold."""
        return tuple(label for label in self.labels if label.id >= 0)

    @cached_property
    def category_of(self) -> np.ndarray:
        """Lookup table from label id to category id: uint8[256], ``IGNORE`` where there is none."""
        table = np.full(256, IGNORE, np.uint8)
        for label in self.drawn:
            if label.category is not None:
                table[label.id] = self.category_id(label.category)
        return table

    @cached_property
    def representative_ids(self) -> np.ndarray:
        """A label id of each category: its first evaluated one, else its first; uint8[C]."""
        ids = []
        for category in self.names:
            members = [label for label in self.drawn if label.category == category]
            evaluated = [label for label in members if not label.ignore_in_eval]
            ids.append((evaluated or members)[0].id)
        return np.array(ids, np.uint8)

    @cached_property
    def known(self) -> np.ndarray:
        """Which ids a label image may hold: bool[256]."""
        known = np.zeros(256, bool)
        known[[label.id for label in self.drawn]] = True
        return known

    @cached_property
    def ignored_in_eval(self) -> np.ndarray:
        """Which label ids the official evaluation ignores: bool[256], True where undefined."""
        ignored = np.ones(256, bool)
        for label in self.drawn:
            ignored[label.id] = label.ignore_in_eval
        return ignored
