"""Files in folders of images: which count, in what order, and where their masks go."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Of images."""


def pictures_for(origin: Storage, target: Storage) -> dict[str, int]:
    """Bytes of each image of a place whose masks go to another, by its path.

    Raises:
        StreetsegError: there are none, the masks would lie among them, or a place cannot be
            reached.
    """
    if origin.overlaps(target):
        raise StreetsegError(
            f"masks in {target.url} would lie among the images of {origin.url}: name a "
            "destination outside"
        )
    pictures = {path: size for path, size in origin.files().items() if is_picture(path)}
    if not pictures:
        raise StreetsegError(f"{origin.url} holds no images ({', '.join(SUFFIXES)})")
    return pictures


def is_picture(path: str) -> bool:
    """Whether a path has the suffix of an image and is not hidden."""
    return path.lower().endswith(SUFFIXES) and not is_hidden(path)


def is_hidden(path: str) -> bool:
    """Whether a part of a path is hidden, or what macOS leaves in archives."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts)


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts frame_9 before frame_10."""
    return tuple(
        (0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name)
    )


def shown(path: str) -> str:
    r"""A path, or what is said of it, that can be printed: what is no UTF-8 becomes ``\udcff``."""
    return path.encode("utf-8", "backslashreplace").decode()


def mask_name(path: str) -> str:
    """Where the mask of an image goes; the suffix stays, so that a.png and a.jpg do not meet."""
    return f"{path}_mask.png"
