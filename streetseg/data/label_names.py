"""Labels by name: label tools export names, and write them in their own way."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE, LabelSpace

BACKGROUND = ("background", "unlabeled", "unlabelled")
"""Names of the label of pixels that nobody annotated, in the order in which one is chosen."""

GROUP = "group"
"""Ends the label of several objects at once in Cityscapes and IDD, as in ``cargroup``."""


class LabelNames:
    """The labels of a label space by name; case, spaces and punctuation do not matter."""

    def __init__(self, labels: LabelSpace) -> None:
        """Index the names of ``labels``."""
        self._space = labels.name
        self._exact: dict[str, set[int]] = defaultdict(set)
        self._alike: dict[str, set[int]] = defaultdict(set)
        for label in labels.labels:
            self._exact[label.name].add(label.id)
            self._alike[name_key(label.name)].add(label.id)

    @property
    def blank(self) -> int:
        """The id of what nobody annotated; ``IGNORE`` if no label is called so."""
        ids = [self.find(name) for name in BACKGROUND if name in self._alike]
        return ids[0] if ids and ids[0] is not None and ids[0] >= 0 else IGNORE

    def find(self, name: str, groups: bool = False) -> int | None:
        """The id of a label, negative if it is never drawn; None if no label is called so.

        With ``groups``, ``cargroup`` is ``car`` where it is no label itself.

        Raises:
            StreetsegError: several labels are called so.
        """
        ids = self._exact.get(name)
        if not ids:
            key = name_key(name)
            ids = self._alike.get(key)
            if not ids and groups and key.endswith(GROUP):
                ids = self._alike.get(key.removesuffix(GROUP))
        if not ids:
            return None
        if len(ids) > 1:
            raise StreetsegError(
                f"the label space '{self._space}' has several labels called '{name}': give each "
                "its own name"
            )
        return next(iter(ids))


def unlabelled_id(labels: LabelSpace) -> int:
    """The label id for pixels that nobody annotated, as a label image has it.

    It is that of :attr:`LabelNames.blank`, else of a label that training ignores; ``IGNORE`` if
    there is none.
    """
    blank = LabelNames(labels).blank
    if blank != IGNORE or labels.known[IGNORE]:
        return blank
    return next((label.id for label in labels.drawn if label.category is None), IGNORE)


@lru_cache(maxsize=8)
def label_names(labels: LabelSpace) -> LabelNames:
    """The labels of a label space by name."""
    return LabelNames(labels)


def name_key(name: str) -> str:
    """A name without case, spaces and punctuation."""
    return re.sub(r"[\W_]", "", name).lower()
