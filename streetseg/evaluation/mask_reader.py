"""Id masks of a folder, read as label ids whatever their numbering."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.label_files import ids_in
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.numbering import (
    Ids,
    Numbering,
    numbering,
    recognize,
    refuse_improbable,
    warn_of_palette,
)
from streetseg.images.decode import decode_ids, read_image


class IdMasks:
    """Reads the masks of a folder.

    Attributes:
        numberings: of the masks read so far.
    """

    def __init__(
        self,
        folder: Path,
        labels: LabelSpace,
        ids: Ids | None,
        setting: str,
        predicted: bool = False,
    ) -> None:
        """Read by the numbering ``ids``, or by what a mask says; ``setting`` is ``--ids {}``."""
        self._folder, self._root = folder, _root_of(folder)
        self._labels, self._ids, self._setting, self._predicted = labels, ids, setting, predicted
        self.numberings: set[str] = set()
        self._assumed = np.zeros(256, bool)
        self._warned = False

    def read(self, paths: Iterable[Path]) -> Iterator[np.ndarray]:
        """The label ids uint8[H, W] of each file; ``IGNORE`` where it has no label.

        Raises:
            StreetsegError: a file is unusable, or holds an undefined id. After the last file: ids
                were taken for label ids, but another numbering fits all of them better.
        """
        for path in paths:
            yield read_image(path, partial(self._decode, path=path))
        self._refuse_improbable()

    def _refuse_improbable(self) -> None:
        """Ground truth without any category gets a warning: it gives no score, so no wrong one."""
        kind = "predictions" if self._predicted else "label images"
        masks = f"the {kind} in {self._folder}"
        has_category = (self._labels.category_of[self._assumed] != IGNORE).any()
        min_ids = 1 if self._predicted or has_category else len(self._assumed) + 1
        refuse_improbable(self._assumed, self._labels, masks, self._setting, min_ids)

    def _decode(self, data: bytes, path: Path) -> np.ndarray:
        values = decode_ids(data)
        present = ids_in(values)
        meaning = self._numbering_of(data, path, present)
        self.numberings.add(meaning.name)
        table = meaning.label_ids
        if self._predicted and meaning.name != "label":
            table = np.where(table == IGNORE, _void_id(self._labels), table)
        if not meaning.defined[present].all():
            raise StreetsegError(
                self._problem(present[~meaning.defined[present]][0], meaning, path)
            )
        return values if meaning.name == "label" else cv2.LUT(values, table)

    def _numbering_of(self, data: bytes, path: Path, present: np.ndarray) -> Numbering:
        if self._ids:
            self._warned = self._warned or warn_of_palette(
                data, path, self._labels, self._ids, self._setting
            )
            return numbering(self._labels, self._ids)
        if stated := recognize(data, path, self._root, self._labels):
            return stated
        self._assumed[present] = True
        return numbering(self._labels, "label")

    def _problem(self, value: int, meaning: Numbering, path: Path) -> str:
        what = "id" if meaning.name == "label" else f"{meaning.name} id"
        hint = "masks must hold label ids"
        if not self._ids:
            others = " or ".join(map(self._setting.format, ("train", "category")))
            hint += f", unless {others} says otherwise"
        return (
            f"{path} holds {what} {value}, which the label space '{self._labels.name}' does not "
            f"define: {hint}"
        )


def _root_of(folder: Path) -> Path:
    """Where the export that a folder belongs to has its ``label_colors.txt``."""
    parents = (folder.absolute(), *folder.absolute().parents)
    return next((path.parent for path in parents if path.name == "gtFine"), folder)


def _void_id(labels: LabelSpace) -> int:
    """A label id of the category that the official evaluation ignores; ``IGNORE`` without one."""
    ids = [int(number) for number in labels.representative_ids if labels.ignored_in_eval[number]]
    return ids[0] if ids else IGNORE
