"""Label files of annotation tools in a folder: their format, their images and their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.data.annotations.files import json_kind, read_bytes
from streetseg.data.annotations.formats import FORMATS, UNREADABLE, FormatName, regions_export
from streetseg.data.annotations.match import UPLOADED
from streetseg.data.drafting.tree import SPLIT_OF, Group, by_folder, split_word
from streetseg.data.frame_annotations import read_picture
from streetseg.data.label_names import GROUP, name_key
from streetseg.data.sources import Frame, Pair
from streetseg.data.splits import SPLITS, TEST

FORMAT_OF: dict[str, FormatName] = {
    "COCO": "coco",
    "Cityscapes polygons": "cityscapes",
    "labelme": "labelme",
    "Supervisely": "supervisely",
    "Label Studio": "label-studio",
}
"""The format of a kind of JSON file."""

XML_ROOT = re.compile(rb"<(\w+)[\s>]")
CVAT_XML, OBJECTS_XML = b"annotations", b"annotation"
"""The roots of the XML of CVAT, and of LabelMe and PASCAL VOC."""
YOLO_LINE = re.compile(r"\d+( -?[\d.eE+-]+){4,}")
PEEKED = 4096
"""Bytes of an XML file in which its root is looked for."""
MAX_TRIED = 20
"""Files of a folder that are opened to find out their format."""


@dataclass(frozen=True)
class Found:
    """Label files of one format."""

    format: FormatName
    paths: list[str]
    """Below the root."""


def find_exports(paths: Iterable[str], root: Path) -> list[Found]:
    """The label files of annotation tools, those with many pictures first.

    Where a file holds one picture, the others of its folder are taken to be like it.
    """
    found: dict[FormatName, list[str]] = defaultdict(list)
    candidates = [path for path in paths if path.lower().endswith((".json", ".xml"))]
    for members in by_folder(candidates).values():
        single, tried = None, 0
        for path in members:
            format = single
            if single is None and tried < MAX_TRIED:
                tried, format = tried + 1, _format_of(root / path)
            if format:
                found[format].append(path)
                single = None if FORMATS[format].many else format
    order = sorted(found, key=lambda name: not FORMATS[name].many)
    return [Found(name, found[name]) for name in order]


def refuse_regions(paths: Sequence[str], root: Path) -> None:
    """Raise StreetsegError for brush regions of Label Studio, which look like label images."""
    for folder in by_folder(path for path in paths if path.lower().endswith(".png")):
        if problem := regions_export(root / folder):
            raise StreetsegError(f"{root / folder}: {problem}")


def refuse_unreadable(paths: Sequence[str], root: Path) -> None:
    """Raise StreetsegError for an export that cannot be read, and say which can."""
    for folder, members in by_folder(paths).items():
        if any(path.endswith(".npy") for path in members):
            raise StreetsegError(f"{root / folder} holds labels in .npy, {UNREADABLE['.npy']}")
        texts = [root / path for path in members if path.endswith(".txt")][:MAX_TRIED]
        if any(_is_yolo(path) for path in texts):
            raise StreetsegError(f"{root / folder} holds labels in .txt, {UNREADABLE['.txt']}")
        files = [root / path for path in members if path.lower().endswith(".xml")][:MAX_TRIED]
        if old := next((path for path in files if _xml_root(path) == OBJECTS_XML), None):
            raise StreetsegError(f"{old} is XML of LabelMe or PASCAL VOC, {UNREADABLE['.xml']}")


def pairs_of_files(found: Found, images: Sequence[Group], root: Path) -> list[Pair]:
    """A pair for each folder of images that a file of many pictures names.

    Raises:
        StreetsegError: a file cannot be read.
    """
    words = {path: _split_in(path) for path in found.paths}
    splits = _stated({word for word in words.values() if word})
    pairs = []
    for path, word in words.items():
        export = FORMATS[found.format].read(read_bytes(root / path), root / path)
        names = [picture.name for picture in export.pictures]
        split = splits.get(word or "")
        pairs += [
            Pair(images=pattern, labels=path, format=found.format, split=split)
            for pattern in _images_named(names, images, word) or [_elsewhere(names)]
        ]
    return pairs


def _stated(words: set[str]) -> dict[str, str]:
    """The split of each word: none is stated without val, so that a rule divides train."""
    splits = {word: SPLIT_OF[word.lower()] for word in words}
    if {*SPLITS} <= {*splits.values()}:
        return splits
    return {word: split for word, split in splits.items() if split == TEST and len(words) > 1}


def names_in(frames: Sequence[Frame]) -> list[str]:
    """The labels of all shapes, in the order in which they occur; of groups, what they are of."""
    names: dict[str, None] = {}
    for frame in track(frames, total=len(frames), description="labels", transient=True):
        picture, _ = read_picture(frame)
        names |= {shape.label: None for shape in picture.shapes}
    grouped = any(frame.format and FORMATS[frame.format].groups for frame in frames)
    keys = {name_key(name) for name in names}
    return [
        name
        for name in names
        if not (grouped and name_key(name).endswith(GROUP))
        or name_key(name).removesuffix(GROUP) not in keys
    ]


def _images_named(names: Sequence[str], images: Sequence[Group], word: str | None) -> list[str]:
    """The patterns of the folders in which images of these names are."""
    files = [PurePosixPath(name.replace("\\", "/")).stem for name in names]
    stems = {*files, *(UPLOADED.sub("", stem, count=1) for stem in files)}
    patterns: dict[str, None] = {}
    for group in images:
        found = [file for file in group.files if PurePosixPath(file.path).stem in stems]
        inside = [file for file in found if word and word in _words_of(file.folders)]
        for folder in dict.fromkeys(file.folders for file in inside or found):
            patterns["/".join([*folder, f"{{name}}{group.suffix}"])] = None
    return [*patterns]


def _words_of(folders: Sequence[str]) -> set[str]:
    return {split[1] for folder in folders if (split := split_word(folder))}


def _elsewhere(names: Sequence[str]) -> str:
    """Where images are expected that are not there."""
    suffixes = [PurePosixPath(name).suffix for name in names]
    return f"images/{{name}}{next(filter(None, suffixes), '.png')}"


def _split_in(path: str) -> str | None:
    """The word of a split in the path of a label file."""
    pure = PurePosixPath(path)
    for part in (pure.stem, *reversed(pure.parts[:-1])):
        if split := split_word(part):
            return split[1]
    return None


def _format_of(path: Path) -> FormatName | None:
    if path.suffix.lower() == ".xml":
        return "cvat" if _xml_root(path) == CVAT_XML else None
    try:
        return FORMAT_OF.get(json_kind(read_bytes(path)))
    except ValueError:
        return None


def _xml_root(path: Path) -> bytes:
    with path.open("rb") as file:
        match = XML_ROOT.search(file.read(PEEKED))
    return match[1] if match else b""


def _is_yolo(path: Path) -> bool:
    lines = path.read_text(errors="replace").splitlines()
    return bool(lines) and all(YOLO_LINE.fullmatch(line.strip()) for line in lines)
