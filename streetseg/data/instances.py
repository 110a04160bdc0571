"""Instance ids, numbered as in Cityscapes: label id times 1000 plus a number for each object.

Ids below 1000 are label ids of pixels that are of no single object, such as those of a crowd.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_instances, read_image

FIRST_INSTANCE = 1000
"""Larger ids are of single objects."""


def read_instances(path: Path, size: tuple[int, ...], labels: LabelSpace) -> np.ndarray:
    """The instance ids uint16[H, W] in a file.

    Raises:
        StreetsegError: the file is unusable, is not of ``size`` (height, width), or holds an object
            of an undefined label.
    """
    ids = read_image(path, decode_instances)
    if ids.shape != size:
        raise StreetsegError(f"{path} is of another size than the label ids beside it")
    objects = ids[ids > FIRST_INSTANCE]
    unknown = np.setdiff1d(objects // FIRST_INSTANCE, [label.id for label in labels.labels])
    if unknown.size:
        raise StreetsegError(
            f"{path} holds an object of label {unknown[0]}, which the label space '{labels.name}' "
            "does not define"
        )
    return ids


def all_exist(paths: Iterable[Path]) -> bool:
    """Whether files of instance ids exist; a StreetsegError if only some of them do."""
    paths = list(paths)
    missing = [path for path in paths if not path.exists()]
    if missing and len(missing) < len(paths):
        raise StreetsegError(
            f"there is no {missing[0]}, where other frames have instance ids: the iIoU needs those "
            "of every frame, so add it or remove the others"
        )
    return not missing
