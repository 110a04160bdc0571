"""The files of a folder in groups that differ only in splits, cities and names."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np

from streetseg.data.annotations.formats import IMAGES
from streetseg.images.paths import is_hidden, natural_order

Role = Literal["image", "label", "neither", ""]

SPLIT_OF = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""The split that a folder's name means."""

LABEL_WORDS = {"gt", "seg", "ann", "anno", "class", "id", "ids", "lbl", "l"}
LABEL_PARTS = ("label", "mask", "annot", "segm", "semantic", "truth", "polygon", "color", "colour")
IMAGE_WORDS = {"rgb", "img", "imgs"}
IMAGE_PARTS = ("image", "jpeg", "photo", "picture", "stills")
CAMERA_WORDS = {"camera", "cam", "raw", "left", "frame", "frames"}
OTHER_WORDS = {"instance", "instances", "object", "objects", "panoptic", "depth", "disparity"}
"""Words in the names of folders and files of label images, of images (the second kind is also said
of label images, as in ``label/camera_front``), and of neither."""

LOSSY = (".jpg", ".jpeg", ".webp")
FEW, MAX_PIXELS = 64, 200_000
"""Colours of a label image at most, in this many of its pixels, where no name tells its role."""

SPLIT_FOLDER = re.compile(
    rf"(?P<before>(?:.*[_-])?)(?P<word>{'|'.join(sorted(SPLIT_OF, key=len, reverse=True))})"
    r"(?P<after>(?:[_-].*)?|\d+|annot|labels?|masks?|gt|images?)",
    re.IGNORECASE,
)
TOKEN = re.compile(r"[_\-.]?[^_\-.]+")


@dataclass(eq=False)
class Group:
    """Files of one suffix whose paths differ only in free folders, splits and names."""

    role: Role
    folders: tuple[str, ...]
    """The folders of a file, as an example."""
    middle: str
    """What all names have in common, such as ``_gtFine_labelIds``."""
    suffix: str
    files: list[File] = field(default_factory=list)

    @property
    def words(self) -> set[str]:
        """The words of its folders and names."""
        return {word for part in (*self.folders, self.middle) for word in _words(part)}

    def varies(self, position: int) -> bool:
        """Whether the folder at a position differs."""
        return len({file.folders[position] for file in self.files}) > 1


@dataclass(frozen=True)
class File:
    """A file as the parts of its path."""

    path: str
    """Below the root."""
    folders: tuple[str, ...]
    before: str
    """The name before the middle of its group."""
    after: str
    """The name behind it, without suffix."""


def list_files(root: Path) -> list[str]:
    """The paths of all files below ``root`` in natural order, without hidden ones."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_hidden(name)]
        below = Path(folder).relative_to(root)
        found += [(below / name).as_posix() for name in names if not is_hidden(name)]
    return sorted(found, key=natural_order)


def group_files(paths: Iterable[str], root: Path, role: Role = "") -> list[Group]:
    """Files in groups; the role of images is read from their names, or else from a picture."""
    groups: dict[tuple[object, ...], Group] = {}
    for path in paths:
        pure = PurePosixPath(path)
        folders = pure.parts[:-1]
        before, middle, after = _split_name(pure.stem)
        key = (_kinds(folders), middle, bool(after), pure.suffix)
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(role, folders, middle, pure.suffix)
        group.files.append(File(path, folders, before, after))
    told = []
    for group in groups.values():
        group.role = group.role or _named_role(group)
        told += [group] if group.role else _by_content(group, root)
    return told


def image_files(paths: Iterable[str]) -> list[str]:
    """The paths that have the suffix of an image."""
    return [path for path in paths if path.lower().endswith(IMAGES)]


def split_word(folder: str) -> tuple[str, str, str] | None:
    """A folder's name before, in and behind the word of a split; None if it has none."""
    match = SPLIT_FOLDER.fullmatch(folder)
    return (match["before"], match["word"], match["after"]) if match else None


def by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Paths by the folder that they are in."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[path.rpartition("/")[0]].append(path)
    return folders


def _kinds(folders: Iterable[str]) -> tuple[object, ...]:
    return tuple(_kind(folder) for folder in folders)


def _kind(folder: str) -> object:
    """What must be equal in the folders of a group: None if it is free."""
    if split := split_word(folder):
        return split[0], split[2]
    return folder if role_of(_words(folder)) else None


def _split_name(stem: str) -> tuple[str, str, str]:
    """A name before, in and behind the words that tell its role, as ``_label_``."""
    tokens = TOKEN.findall(stem)
    if "".join(tokens) != stem:
        return stem, "", ""
    roles = [bool(role_of(_words(token))) for token in tokens]
    if not any(roles):
        return stem, "", ""
    first = last = len(roles) - 1 - roles[::-1].index(True)
    while first > 1 and roles[first - 1]:
        first -= 1
    while last + 1 < len(tokens) and not tokens[last + 1].strip("_-.").isdigit():
        last += 1
    before, middle = "".join(tokens[:first]), "".join(tokens[first : last + 1])
    after = "".join(tokens[last + 1 :])
    if after and not before and after[0] in "_-.":
        middle, after = middle + after[0], after[1:]
        return after, middle, ""  # as label_0001: told from 0001_label by the end of the middle
    if after and after[0] in "_-.":
        middle, after = middle + after[0], after[1:]
    return (before, middle, after) if before else (stem, "", "")


def role_of(words: Iterable[str], cameras: bool = True) -> Role:
    """What words say of a file; labels win, as in ``gt_image``. ``cameras`` speak of images."""
    found = [*words]
    if any(word in OTHER_WORDS for word in found):
        return "neither"
    if any(word in LABEL_WORDS or any(part in word for part in LABEL_PARTS) for word in found):
        return "label"
    if any(word in IMAGE_WORDS or any(part in word for part in IMAGE_PARTS) for word in found):
        return "image"
    return "image" if cameras and any(word in CAMERA_WORDS for word in found) else ""


def _words(text: str) -> Iterator[str]:
    for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text):
        yield word.lower()


def _named_role(group: Group) -> Role:
    """What the names of a group's files and folders, or a lossy format, say of it."""
    if group.suffix.lower() in LOSSY:
        return "image"
    named = role_of(_words(group.middle))
    if named in ("label", "neither"):
        return named
    for cameras in (False, True):
        folders = [role_of(_words(folder), cameras) for folder in reversed(group.folders)]
        told: Role = next((each for each in folders if each), named)
        if told:
            return told
    return ""


def _by_content(group: Group, root: Path) -> list[Group]:
    """A group that no name explains, parted by what the first file of each folder looks like."""
    roles: dict[tuple[str, ...], Role] = {}
    parts: dict[Role, Group] = {}
    for file in group.files:
        if file.folders not in roles:
            roles[file.folders] = _role_of_pixels(root / file.path)
        role = roles[file.folders]
        part = parts.setdefault(role, Group(role, file.folders, group.middle, group.suffix))
        part.files.append(file)
    return [*parts.values()]


def _role_of_pixels(path: Path) -> Role:
    """Few colours are labels, many an image."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return "neither"
    flat = pixels.reshape(-1, pixels.shape[2] if pixels.ndim == 3 else 1)
    return (
        "label" if len(np.unique(flat[:: 1 + len(flat) // MAX_PIXELS], axis=0)) <= FEW else "image"
    )
