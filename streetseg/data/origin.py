"""Whether a prepared dataset was made of the source that the settings name.

What is not on this machine cannot be compared: on a cluster neither the frames nor a source of the
user's own is there, and the data version says which data it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from streetseg.config.params import Params
from streetseg.config.yaml_files import is_yaml
from streetseg.core.errors import StreetsegError
from streetseg.core.sampling import evenly_spaced
from streetseg.data.annotations.formats import FORMATS
from streetseg.data.collection import Collection, load_sources
from streetseg.data.dataset import DESCRIPTION, PreparedDataset
from streetseg.data.frame_annotations import attach_pictures, file_hash, read_picture
from streetseg.data.sources import Frame

SAMPLE, MAX_NEWER, MAX_LABELS = 8, 50, 500
"""Frames that are compared: evenly spaced ones, ones changed after preparation, and evenly spaced
ones by their label alone, which is small."""


def open_prepared(params: Params, same_size: bool = True) -> PreparedDataset:
    """Open the prepared dataset, and check that it was made of the source in the settings.

    Compared are the file, ``name:``, patterns and label space of the source, and ``prepare.size``
    and ``fit`` unless ``same_size`` is False. If frames are in ``data.root``, some of them are
    compared by their hashes; a warning tells of frames that came, went or changed since, or that
    nothing could be compared.

    Raises:
        StreetsegError: there is no dataset, or it was made of another source or at another size.
    """
    dataset = PreparedDataset(params.data.prepared)
    named = [each.source for each in params.data.sources] or [params.data.source]
    source = "+".join(Path(name).name for name in named)
    here, wanted = (_size(each.size, each.fit) for each in (dataset, params.prepare))
    if dataset.source != source or (same_size and here != wanted):
        raise StreetsegError(
            f"{dataset.path} holds frames of {dataset.source} of {here}, but data.source and "
            f"prepare.size ask for {source} of {wanted}: run "
            "'streetseg prepare' with the same settings, or name another data.prepared"
        )
    files = [Path(name) for name in named if is_yaml(name)]
    if missing := [path for path in files if not path.exists()]:
        _tell(_not_compared(dataset, f"{missing[0]} is not on this machine"))
        return dataset
    layout = load_sources(params.data)
    if difference := _definition_difference(dataset, layout, params):
        raise _other_source(dataset, difference)
    if params.data.root.is_dir():
        _compare_frames(dataset, layout, params.data.root)
    else:
        _tell(_not_compared(dataset, f"data.root = {params.data.root} is not on this machine"))
    return dataset


def _size(size: tuple[int, int], fit: str) -> str:
    return f"{list(size)}{'' if fit == 'stretch' else f' (prepare.fit={fit})'}"


def _definition_difference(dataset: PreparedDataset, layout: Collection, params: Params) -> str:
    name = layout.stated_name
    if name and dataset.name and name != dataset.name:
        return f"its source is called '{dataset.name}', that of data.source '{name}'"
    if layout.labels.to_dict() != dataset.labels.to_dict():
        return f"its label space is not that of {layout.file} as it is now"
    if dataset.source_hash and dataset.source_hash != layout.fingerprint:
        return f"patterns or splits in {layout.file} are not those it was made with"
    return ""


def _compare_frames(dataset: PreparedDataset, layout: Collection, root: Path) -> None:
    """Refuse a dataset of another folder's frames, and warn if those of ``root`` have changed."""
    try:
        frames = layout.find(root)
    except StreetsegError as error:  # a folder without the frames, as in a clone
        _tell(_not_compared(dataset, str(error)))
        return
    here = {frame.image.relative_to(root).as_posix(): frame for frame in frames}
    changes = _Changes(here, dataset.label_files, root)
    index = dataset.index[dataset.index["image"].isin(here.keys())]
    prepared = {*dataset.index["image"], *dataset.skipped["image"]}
    sample = index.iloc[evenly_spaced(len(index), SAMPLE)]
    newer = index[_newer(index, root, (dataset.path / DESCRIPTION).stat().st_mtime)]
    newer = newer.iloc[evenly_spaced(len(newer), MAX_NEWER)]
    changed_in_sample = changes.among(sample)
    labels = changes.of_labels(index.iloc[evenly_spaced(len(index), MAX_LABELS)])
    changed = list(dict.fromkeys([*changed_in_sample, *changes.among(newer), *labels]))
    counts = {
        "changed": len(changed),
        "added": len(here.keys() - prepared),
        "removed": len(prepared - here.keys()),
    }
    if not any(counts.values()):
        return
    recorded_elsewhere = dataset.name not in ("", layout.name_in(root))
    if recorded_elsewhere or not len(index) or len(changed_in_sample) == len(sample):
        of = f" of {dataset.name}" if dataset.name else ""
        raise _other_source(dataset, f"it was made of other frames{of} than those in {root}")
    told = ", ".join(f"{count} frames {what}" for what, count in counts.items() if count)
    first = f" (such as {changed[0]})" if changed else ""
    _tell(
        f"warning: {root} is not as it was when {dataset.path} was made: at least {told}{first}: "
        "'streetseg prepare' takes that over"
    )


def _not_compared(dataset: PreparedDataset, why: str) -> str:
    return f"{dataset.path}, of {dataset.origin}, is taken as it is: {why}"


def _tell(line: str) -> None:
    """Print a line on standard error, in one process of a training."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)


def _other_source(dataset: PreparedDataset, difference: str) -> StreetsegError:
    return StreetsegError(
        f"{dataset.path} was made of another source than the settings name: {difference}: run "
        "'streetseg prepare' again, or name its data.source and data.root"
    )


def _newer(index: pd.DataFrame, root: Path, than: float) -> list[bool]:
    return [
        any((root / path).stat().st_mtime > than for path in paths if (root / path).exists())
        for paths in index[["image", "label"]].to_numpy()
    ]


class _Changes:
    """Which files are not as they were when a dataset was made."""

    def __init__(
        self, frames: Mapping[str, Frame], label_files: Mapping[str, str], root: Path
    ) -> None:
        """``frames`` by the path of their image, and the hashes of label files of many pictures."""
        self._frames, self._label_files, self._root = frames, label_files, root
        self._hash = cache(self._read_hash)
        self._pictures = cache(self._read_pictures)

    def among(self, index: pd.DataFrame) -> list[str]:
        """The image or label of each frame whose hash is not that in the index."""
        changed = []
        for image, image_hash, label, label_hash in index[
            ["image", "image_hash", "label", "label_hash"]
        ].to_numpy():
            if self._hash(image) != image_hash:
                changed.append(image)
            elif not self._same_label(image, label, label_hash):
                changed.append(label)
        return changed

    def of_labels(self, index: pd.DataFrame) -> list[str]:
        """The label of each frame whose hash is not that in the index."""
        rows = index[["image", "label", "label_hash"]].to_numpy()
        return [row[1] for row in rows if not self._same_label(*row)]

    def _same_label(self, image: str, label: str, label_hash: str) -> bool:
        frame = self._frames[image]
        if not frame.format or not FORMATS[frame.format].many:
            return self._hash(label) == label_hash
        if self._hash(label) == self._label_files.get(label):
            return True
        return self._pictures(label).get(image) == label_hash

    def _read_hash(self, path: str) -> str:
        return file_hash(self._root / path) if (self._root / path).is_file() else ""

    def _read_pictures(self, label: str) -> dict[str, str]:
        """The hash of each picture in a label file, by its image; empty if it cannot be read."""
        members = [frame for frame in self._frames.values() if frame.label == self._root / label]
        try:
            attached, _ = attach_pictures(members, self._root)
        except StreetsegError:
            return {}
        return {
            frame.image.relative_to(self._root).as_posix(): read_picture(frame)[1]
            for frame in attached
            if frame.picture and not frame.picture.error
        }
