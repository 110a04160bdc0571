"""Image files in folders: their suffixes, their order, and the paths of their masks."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.core.storage import Storage
from streetseg.images.errors import BadImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def list_images(source: Storage, destination: Storage) -> dict[str, int]:
    """The size in bytes of each image of ``source``, by its path below it.

    Raises:
        StreetsegError: no images, ``destination`` overlaps, or the source cannot be listed.
    """
    if source.overlaps(destination):
        raise StreetsegError(
            f"{destination.url} would lie among the images of {source.url}: name a destination "
            "outside"
        )
    images = {path: size for path, size in source.files().items() if is_image(path)}
    if not images:
        message, hint = f"{source.url} holds no images", did_you_mean_path(source.url, "")
        raise StreetsegError(f"{message}: {hint}" if hint else f"{message} ({', '.join(SUFFIXES)})")
    return images


def is_image(path: str) -> bool:
    """Whether a path has the suffix of an image and is not hidden."""
    return path.lower().endswith(SUFFIXES) and not is_hidden(path)


def is_hidden(path: str) -> bool:
    """Whether a part of a path is hidden, or is what macOS leaves in archives."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts)


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key that puts frame_9 before frame_10."""
    return tuple(
        (0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name)
    )


def printable(text: str) -> str:
    r"""Text that may hold a file name, with bytes that are no UTF-8 written as ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()


def require_printable(path: str) -> None:
    """Refuse a path that no table and no other tool could tell.

    Raises:
        BadImageError: it is not printable UTF-8.
    """
    if not path.isprintable():
        raise BadImageError("has a name that is not printable UTF-8: rename the file")


def mask_name(path: str) -> str:
    """The path of an image's mask. The suffix stays, so that a.png and a.jpg do not collide."""
    return f"{path}_mask.png"
