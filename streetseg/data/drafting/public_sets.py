"""The packaged sources whose layout and label space a folder has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.core.sampling import evenly_spaced
from streetseg.data.frame_annotations import attach_pictures
from streetseg.data.label_files import read_label
from streetseg.data.listings import find_listing, read_listing
from streetseg.data.numbering import better_numberings
from streetseg.data.sources import LAYOUTS, Frame, Source, load_source
from streetseg.images.decode import read_image

SAMPLE = 16
"""Frames whose labels are read."""


def recognize(root: Path) -> list[str]:
    """The names of the packaged sources that fit the files below ``root``.

    At least half of the frames that the patterns find are complete, and the label space defines
    every label of some that are evenly spaced, of which there are two.
    """
    names = sorted(path.stem for path in LAYOUTS.glob("*.yaml"))
    return [name for name in names if _fits(name, root)]


def _fits(name: str, root: Path) -> bool:
    source = load_source(name)
    try:
        frames = source.find(root)
        complete = [frame for frame in frames if frame.image.exists() and frame.label.exists()]
        if not complete or 2 * len(complete) < len(frames):
            return False
        chosen = [complete[row] for row in evenly_spaced(len(complete), SAMPLE)]
        sample, _ = attach_pictures(chosen, root)
        return _defines(source, sample, root)
    except StreetsegError:
        return False


def _defines(source: Source, frames: Sequence[Frame], root: Path) -> bool:
    """Whether the labels are likely those of a source; StreetsegError if it does not define one."""
    space = source.file_labels
    values, occurring = np.zeros(256, bool), np.zeros(256, bool)
    for frame in frames:
        if not frame.format and space.encoding == "ids" and (at := find_listing(frame.label, root)):
            listed = read_listing(at).label_ids(space)
            if any(value != label_id for value, label_id in listed.items()):
                return False
        size = read_image(frame.image).shape[:2]
        label = read_label(frame, space, source.ids, root, (size[0], size[1]))
        occurring[label.numbering.label_ids[label.present]] = True
        if not frame.format:
            values[label.present] = True
    numbered = space.encoding == "ids" and source.ids in (None, "label") and values.any()
    if numbered and better_numberings(values, space):
        return False
    merged = source.labels.category_of[np.flatnonzero(occurring & space.known)]
    own = source.labels.name == space.name
    return len(np.unique(merged)) > 1 if own else int(occurring.sum()) > 1
