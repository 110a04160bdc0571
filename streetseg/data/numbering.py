"""The numbering of label images: which label each of their values stands for.

Label images hold label ids, unless the source, the command, a palette or a ``label_colors.txt``
says otherwise. Values that fit another numbering better are refused, not guessed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.listings import LABEL_COLORS, find_listing, read_listing
from streetseg.images.headers import png_palette

Ids = Literal["label", "train", "category"]
"""Label ids, their ``train_id``, or the ids of the categories, which this product's masks hold."""
MIN_RENUMBERED, MIN_RARE = 8, 3
"""Ids, and ids that the official evaluation ignores, that are evidence for another numbering."""


@dataclass(frozen=True, eq=False)
class Numbering:
    """The meaning of the values of a label image."""

    name: str
    """One of :data:`Ids`, or the path of a ``label_colors.txt``."""
    defined: np.ndarray
    """Which values may occur: bool[256]."""
    label_ids: np.ndarray
    """The label id of each value: uint8[256], ``IGNORE`` for a pixel without a label."""
    colors: Mapping[int, tuple[int, int, int]]
    """The RGB colours by which a palette shows this numbering."""

    @classmethod
    def of(
        cls,
        name: str,
        label_ids: Mapping[int, int],
        colors: Mapping[int, tuple[int, int, int]] | None = None,
    ) -> Numbering:
        """The numbering in which the values stand for ``label_ids``; the others are undefined."""
        defined, table = np.zeros(256, bool), np.full(256, IGNORE, np.uint8)
        for value, label_id in label_ids.items():
            defined[value], table[value] = True, label_id
        return cls(name, defined, table, colors or {})

    def shown_by(self, palette: np.ndarray) -> bool:
        """Whether a palette uint8[n, 3] gives each value the colour of its label or category."""
        values = [*self.colors]
        if len({*self.colors.values()}) < 2 or max(values) >= len(palette):
            return False
        return bool((palette[values] == [*self.colors.values()]).all())

    def onto(self, target_ids: np.ndarray) -> Numbering:
        """The same values, standing for the labels of a target: ``target_ids`` uint8[256]."""
        return replace(
            self, name=f"{self.name} of the target", label_ids=target_ids[self.label_ids]
        )

    def categories(self, labels: LabelSpace) -> np.ndarray:
        """The category of each value: uint8[256], ``IGNORE`` where there is none."""
        return labels.category_of[self.label_ids]


@lru_cache(maxsize=32)
def numbering(labels: LabelSpace, ids: Ids) -> Numbering:
    """A numbering of a label space; a StreetsegError if it has no train ids."""
    if ids == "category":
        representatives = enumerate(labels.representative_ids.tolist())
        colors = {number: category.color for number, category in enumerate(labels.categories)}
        return Numbering.of(ids, {IGNORE: IGNORE, **dict(representatives)}, colors)
    if ids == "train":
        trained = [label for label in labels.drawn if 0 <= label.train_id < IGNORE][::-1]
        if not trained:
            raise StreetsegError(
                f"the label space '{labels.name}' has no train ids: give its labels a train_id"
            )
        return Numbering.of(
            ids,
            {IGNORE: IGNORE, **{label.train_id: label.id for label in trained}},
            {label.train_id: label.color for label in trained},
        )
    label_ids = {label.id: label.id for label in labels.drawn}
    return Numbering.of(ids, label_ids, {label.id: label.color for label in labels.drawn})


def recognize(data: bytes, path: Path, root: Path, labels: LabelSpace) -> Numbering | None:
    """The numbering that is written beside or in a label image; None if nothing says it.

    A listing such as ``label_colors.txt`` counts in the folders from that of the image up to
    ``root``, and a palette if it gives each value the colour of its label, train id or category.

    Raises:
        StreetsegError: a listing is unusable or names a label that is not defined.
    """
    return explained(data, find_listing(path, root), labels)


def explained(data: bytes, listing: Path | None, labels: LabelSpace) -> Numbering | None:
    """Like :func:`recognize` with the listing of a label image, None if it has none."""
    if listing:
        return _listed_numbering(listing, listing.stat().st_mtime_ns, labels)
    return _shown_by_palette(data, labels)


def _shown_by_palette(data: bytes, labels: LabelSpace) -> Numbering | None:
    palette = png_palette(data)
    if palette is None:
        return None
    numberings = [*other_numberings(labels), numbering(labels, "label")]
    return next((each for each in numberings if each.shown_by(palette)), None)


def warn_of_palette(data: bytes, path: Path, labels: LabelSpace, ids: Ids, setting: str) -> bool:
    """Warn on standard error if the palette of a label image shows other ids than ``ids``.

    ``setting`` is what states them, such as ``--ids {}``. Returns whether there was a warning.
    """
    shown, palette = _shown_by_palette(data, labels), png_palette(data)
    if shown is None or palette is None or numbering(labels, ids).shown_by(palette):
        return False
    print(
        f"warning: {path} has the palette of {shown.name} ids, and is read as {ids} ids, as "
        f"{setting.format(ids)} says",
        file=sys.stderr,
    )
    return True


@lru_cache(maxsize=8)
def _listed_numbering(path: Path, modified_ns: int, labels: LabelSpace) -> Numbering:
    """:func:`listed_numbering`, read once for all label images of an export."""
    return listed_numbering(path, labels)


def listed_numbering(path: Path, labels: LabelSpace) -> Numbering:
    """The numbering of an export of a label tool, by the labels that it lists in a file.

    Case, spaces and punctuation of names do not matter.

    Raises:
        StreetsegError: the file cannot be read, or as :meth:`Listing.label_ids`.
    """
    return Numbering.of(str(path), read_listing(path).label_ids(labels))


@lru_cache(maxsize=32)
def other_numberings(labels: LabelSpace) -> tuple[Numbering, ...]:
    """The numberings by category and train id whose meaning differs from that of label ids.

    Where both are the same, as in ``cityscapes-19``, it is called by train ids.
    """
    candidates = [numbering(labels, "category")] if labels.categories else []
    if any(0 <= label.train_id < IGNORE for label in labels.drawn):
        by_train = numbering(labels, "train")
        candidates = [c for c in candidates if (c.label_ids != by_train.label_ids).any()]
        candidates.append(by_train)
    return tuple(
        each
        for each in candidates
        if not labels.known[each.defined].all()
        or (each.categories(labels) != labels.category_of)[each.defined].any()
    )


def explained_otherwise(values: np.ndarray, labels: LabelSpace) -> list[Numbering]:
    """The other numberings in which all ``values``, bool[256] of those that occur, are defined."""
    return [each for each in other_numberings(labels) if each.defined[values].all()]


def better_numberings(values: np.ndarray, labels: LabelSpace) -> list[Ids]:
    """The numberings that fit ``values``, bool[256] of those that occur, better than label ids.

    Such a numbering defines all of them and shows more categories. As train ids go up to 18 in
    Cityscapes, where honest label ids of few labels fit too, they are better only if an id is
    undefined, or is one that the official evaluation ignores.
    """
    doubtful = ~labels.known | _rarely_drawn(labels)
    shown = _count_categories(labels.category_of[values])
    return [
        each.name  # type: ignore[misc]
        for each in explained_otherwise(values, labels)
        if _count_categories(each.categories(labels)[values]) > shown
        and (each.name == "category" or doubtful[values].any())
    ]


def refuse_improbable(
    values: np.ndarray, labels: LabelSpace, masks: str, setting: str, min_ids: int = 1
) -> None:
    """Raise StreetsegError if ``values``, bool[256] of those that occur, are no likely label ids.

    Ids that may be label ids or others get a warning on standard error, and so do improbable ones
    if they are fewer than ``min_ids``, which are no evidence.

    ``masks`` names the label images; ``setting`` states a numbering, such as ``--ids {}``.
    """
    better = better_numberings(values, labels)
    if better and np.count_nonzero(values) >= min_ids:
        raise StreetsegError(
            f"{masks} hold the ids {_ranges(values)}, more likely {better[0]} ids than label ids "
            f"of '{labels.name}': say which by {setting.format(better[0])} or "
            f"{setting.format('label')}; an export of a label tool needs its {LABEL_COLORS} beside "
            "it"
        )
    if missing := _missing_if_renumbered(values, labels):
        raise StreetsegError(
            f"{masks} hold the ids {_ranges(values)}, which are no likely label ids of "
            f"'{labels.name}': they show {', '.join(missing)} nowhere; an export of a label tool "
            f"needs its {LABEL_COLORS} beside it; else state {setting.format('label')}"
        )
    if others := _read_otherwise(values, labels):
        print(
            f"warning: {masks} hold the ids {_ranges(values)}, which are read as label ids of "
            f"'{labels.name}' and may be {' or '.join(others)} ids: say which by "
            f"{setting.format('label')} or {setting.format(others[0])}",
            file=sys.stderr,
        )


def _rarely_drawn(labels: LabelSpace) -> np.ndarray:
    """Which ids are defined, but ignored by the official evaluation: bool[256]."""
    ignored = labels.ignored_in_eval & labels.known
    ignored[labels.representative_ids] = False
    return ignored


def settled(values: np.ndarray, labels: LabelSpace) -> bool:
    """Whether ``values``, bool[256], stay likely label ids whatever other ids there are."""
    return not (explained_otherwise(values, labels) or _mostly_missing(values, labels))


def _mostly_missing(values: np.ndarray, labels: LabelSpace, fraction: float = 0.5) -> list[str]:
    """The scored categories that ``values``, bool[256], do not show; none if a lower fraction."""
    scored = dict.fromkeys(labels.category_of[labels.known & ~labels.ignored_in_eval].tolist())
    scored.pop(IGNORE, None)
    missing = [number for number in scored if number not in labels.category_of[values]]
    few = len(missing) < fraction * len(scored)
    return [] if few else [labels.names[number] for number in missing]


def _missing_if_renumbered(values: np.ndarray, labels: LabelSpace) -> list[str]:
    """The scored categories that ``values``, bool[256], do not show, if these count from 0.

    So an export of a label tool does: its ids show many labels that are not scored, but at most
    half of the scored categories, or not all of them if no id is left out. Empty for other ids.
    """
    rare = np.count_nonzero(values & _rarely_drawn(labels))
    improbable = np.count_nonzero(values) >= MIN_RENUMBERED and rare >= MIN_RARE
    counted = bool(values[: np.count_nonzero(values)].all())
    return _mostly_missing(values, labels, 0 if counted else 0.5) if improbable else []


def _read_otherwise(values: np.ndarray, labels: LabelSpace) -> list[str]:
    """The numberings in which ``values``, bool[256], show other categories than as label ids.

    None if they show all categories as label ids, as in a label space without void.
    """
    shown = labels.category_of[values]
    if _count_categories(shown) == len(labels.categories):
        return []
    explained = explained_otherwise(values, labels)
    return [each.name for each in explained if (each.categories(labels)[values] != shown).any()]


def _count_categories(categories: np.ndarray) -> int:
    return len(np.setdiff1d(categories, [IGNORE]))


def _ranges(values: np.ndarray) -> str:
    """The ids of a table bool[256] as text, such as ``0-6, 8``."""
    ids = np.flatnonzero(values)
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
