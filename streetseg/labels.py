"""Label spaces: which ids a data set draws, and which category each becomes.

A label space is data (``label_spaces/<name>.yaml``); this module only reads it and turns it
into the lookup tables that the rest of the library indexes with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from streetseg.errors import StreetsegError

LABEL_SPACES = Path(__file__).parent / "label_spaces"

IGNORE = 255
"""Value of a category pixel that no loss and no score looks at (padding, unknown ids)."""


@dataclass(frozen=True)
class Category:
    """A class that models predict. Its id is its position in the label space."""

    name: str
    color: tuple[int, int, int]
    """RGB, 0..255."""


@dataclass(frozen=True)
class Label:
    """An id as drawn in a data set's label pictures."""

    id: int
    name: str
    category: str
    color: tuple[int, int, int]
    train_id: int = IGNORE
    instances: bool = False
    """Whether single objects of this label are told apart in the data set."""
    ignore_in_eval: bool = False
    """Whether the official evaluation skips pixels of this label."""


@dataclass(frozen=True)
class LabelSpace:
    """The labels of a data set and the categories they are merged into."""

    name: str
    categories: tuple[Category, ...]
    labels: tuple[Label, ...]

    @classmethod
    def load(cls, name: str) -> LabelSpace:
        """Read the label space shipped under ``name``.

        Raises:
            StreetsegError: no label space has this name.
        """
        path = LABEL_SPACES / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in LABEL_SPACES.glob("*.yaml")))
            raise StreetsegError(f"no label space named '{name}': choose one of {known}")
        return cls.from_dict(yaml.safe_load(path.read_text()))

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> LabelSpace:
        """Build a label space from the plain data that :meth:`to_dict` writes."""
        return cls(
            name=table["name"],
            categories=tuple(Category(c["name"], tuple(c["color"])) for c in table["categories"]),
            labels=tuple(
                Label(**{**label, "color": tuple(label["color"])}) for label in table["labels"]
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON or YAML."""
        return asdict(self)

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
    def category_of(self) -> np.ndarray:
        """Lookup table from drawn id to category id: uint8[256], ``IGNORE`` where undefined.

        A negative id is found at its value modulo 256, as an unsigned byte stores it.
        """
        table = np.full(256, IGNORE, np.uint8)
        for label in self.labels:
            table[label.id % 256] = self.category_id(label.category)
        return table

    @cached_property
    def ignored_in_eval(self) -> np.ndarray:
        """Which drawn ids the official evaluation skips: bool[256], True where undefined."""
        ignored = np.ones(256, bool)
        for label in self.labels:
            ignored[label.id % 256] = label.ignore_in_eval
        return ignored
