"""Ground truth that masks are scored against: the labels of a source, or files of label ids."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.data.collection import Collection
from streetseg.data.frame_annotations import (
    attach_pictures,
    refuse_incomplete,
    refuse_unusable_pictures,
)
from streetseg.data.label_files import read_label
from streetseg.data.labels import LabelSpace
from streetseg.data.numbering import Ids
from streetseg.data.prepare import refuse_improbable_ids
from streetseg.data.sources import Frame
from streetseg.data.targets import label_ids_in
from streetseg.evaluation.mask_reader import IdMasks
from streetseg.images.decode import read_image

TRUTH, INSTANCES = "_gtFine_labelIds.png", "_gtFine_instanceIds.png"


@dataclass(frozen=True)
class TrueMask:
    """The ground truth of a frame."""

    name: str
    path: Path
    keys: tuple[str, ...]
    """What the path of its prediction may begin with."""
    instances: Path | None
    """Instance ids, which need not exist."""


class Truth(Protocol):
    """The ground truth of a split."""

    labels: LabelSpace
    masks: Sequence[TrueMask]
    """Those to score."""
    others: Sequence[TrueMask]
    """Those of other splits, whose predictions are left out."""

    numberings: set[str]
    """How the files read so far are numbered or encoded."""

    def read(self) -> Iterator[np.ndarray]:
        """The label ids uint8[H, W] of each of ``masks``; ``IGNORE`` where there is no label.

        Raises:
            StreetsegError: a file is unusable; or, after the last, another numbering than the
                assumed one fits the files better.
        """


class LabelIdFiles:
    """Every ``*_gtFine_labelIds.png`` below a folder."""

    def __init__(self, folder: Path, labels: LabelSpace, ids: Ids | None) -> None:
        """Read ids by the numbering ``ids``; None: by what the files say, else as label ids.

        Raises:
            StreetsegError: there are none.
        """
        self.labels = labels
        self.others: Sequence[TrueMask] = ()
        paths = sorted(folder.rglob(f"*{TRUTH}"))
        if not paths:
            advice = "for labels in another layout, say which by --source"
            raise StreetsegError(f"{folder} holds no *{TRUTH}: {did_you_mean_path(folder, advice)}")
        self.masks: Sequence[TrueMask] = [_label_id_file(path, folder) for path in paths]
        self._files = IdMasks(folder, labels, ids, "--truth-ids {}")
        self.numberings = self._files.numberings

    def read(self) -> Iterator[np.ndarray]:
        """The label ids, as :meth:`Truth.read` says."""
        return self._files.read(mask.path for mask in self.masks)


class SourceLabels:
    """The labels of a split, found and read by the patterns of its sources."""

    def __init__(self, sources: Collection, root: Path, split: str) -> None:
        """Find the labels below ``root``; their images need not be there.

        Raises:
            StreetsegError: there are none, a frame has no label, or ids are no likely label ids.
        """
        self.labels, self._root = sources.labels, root
        self._sources = {member.name: member.source for member in sources.members}
        found = sources.find(root, images_needed=False)
        frames = [frame for frame in found if frame.split == split]
        if not frames:
            raise StreetsegError(f"{root} holds no labels of the split '{split}'")
        refuse_incomplete([frame for frame in frames if frame.image.exists()], root)
        frames, notes = attach_pictures(frames, root)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        refuse_unusable_pictures(frames)
        for name, source in self._sources.items():
            members = [frame for frame in frames if frame.source == name]
            refuse_improbable_ids(source, members, root)
        self._frames = frames
        self.masks: Sequence[TrueMask] = [_labelled(frame, root) for frame in frames]
        left_out = [frame for frame in found if frame.split != split]
        self.others: Sequence[TrueMask] = [_labelled(frame, root) for frame in left_out]
        self.numberings: set[str] = set()

    def read(self) -> Iterator[np.ndarray]:
        """The label ids of the target; StreetsegError if a file is unusable."""
        return map(self._read, self._frames)

    def _read(self, frame: Frame) -> np.ndarray:
        source = self._sources[frame.source]
        size = read_image(frame.image).shape[:2] if frame.format and frame.image.exists() else None
        label = read_label(frame, source.file_labels, source.ids, self._root, size)
        encoding = frame.format or source.file_labels.encoding
        self.numberings.add(label.numbering.name if encoding == "ids" else encoding)
        return label.onto(label_ids_in(self.labels, source.file_labels)).label_ids


def suffixes(path: Path) -> tuple[str, ...]:
    """The ends of a relative path, longest first: ``val/ulm/a`` has itself, ``ulm/a`` and ``a``."""
    return tuple("/".join(path.parts[start:]) for start in range(len(path.parts)))


def _label_id_file(path: Path, folder: Path) -> TrueMask:
    name = path.name.removesuffix(TRUTH)
    keys = suffixes(path.relative_to(folder).with_name(name))
    return TrueMask(name, path, keys, path.with_name(name + INSTANCES))


def _labelled(frame: Frame, root: Path) -> TrueMask:
    paths = (path.relative_to(root).with_suffix("") for path in (frame.image, frame.annotation))
    keys = [key for path in paths for key in suffixes(path)]
    return TrueMask(
        frame.name, frame.label, tuple(dict.fromkeys([frame.name, *keys])), frame.instances
    )
