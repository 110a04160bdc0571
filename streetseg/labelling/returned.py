"""What came back from an annotation tool: which picture is which frame, and which are finished."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.data.annotations import colour_masks
from streetseg.data.annotations.files import LABEL_STUDIO, json_kind, read_bytes
from streetseg.data.annotations.formats import FORMATS, Format, FormatName
from streetseg.data.annotations.match import UPLOADED
from streetseg.data.annotations.shapes import Picture
from streetseg.images.paths import is_hidden, is_image
from streetseg.labelling.prelabels import MANIFEST, PrelabelledFrame

KINDS: dict[str, FormatName] = {
    "COCO": "coco",
    "Cityscapes polygons": "cityscapes",
    "labelme": "labelme",
    "Supervisely": "supervisely",
    LABEL_STUDIO: "label-studio",
}
Kind = FormatName | Literal["masks"]
MASKS = Format("colour_masks", "pycocotools", many=True)
"""Of exports alone: a source reads colour masks by the colours of its labels."""
ENDING = re.compile(r"_(leftImg8bit|gtFine_polygons)$")
"""What Cityscapes writes after names."""

Reason = Literal["missing", "untouched", "skipped", "conflicting", "empty", "half labelled"]


@dataclass(frozen=True)
class Returned:
    """The label files of an export."""

    format: Kind
    files: dict[str, str]
    """SHA-256 of each label file and mask, by its path below the export."""
    pictures: dict[str, Picture]
    """The finished picture of a frame, by the frame's name."""
    left_out: dict[str, Reason]
    """Why a frame has none, by its name."""
    matched: Counter[str]
    """How many pictures were recognized by the bytes of their image, and how many by name."""
    notes: tuple[str, ...]
    """What the export has lost, each in one line."""


def format_of(kind: Kind) -> Format:
    """How label files of a kind are read and drawn."""
    return MASKS if kind == "masks" else FORMATS[kind]


def read_returned(export: Path, frames: Sequence[PrelabelledFrame]) -> Returned:
    """Read an export, a file or a folder, and find the frame of each picture.

    A picture is the frame whose bytes its image in the export has, else the frame of its name.

    Raises:
        StreetsegError: there are no label files, or of two formats; one is unusable; or a picture
            is no frame.
    """
    if not export.exists():
        hint = did_you_mean_path(export, "name the label file or folder of the tool")
        raise StreetsegError(f"{export} does not exist: {hint}")
    root, paths = (export, [*_files(export)]) if export.is_dir() else (export.parent, [export])
    read = [(path, format) for path in paths if (format := _format(path))]
    formats = dict.fromkeys(format for _, format in read)
    if len(formats) != 1:
        names = " and ".join(formats)
        raise StreetsegError(
            f"{export} holds label files of {names}: name the one that counts"
            if names
            else f"{export} holds no label file that can be read (XML of CVAT for images 1.1, JSON "
            "of COCO, Label Studio, labelme, Supervisely or Cityscapes, masks with labelmap.txt or "
            "label_colors.txt): unpack the export, and name its folder"
        )
    (format,) = formats
    finder = _FrameFinder(root if export.is_dir() else None, frames)
    of_frame: dict[str, list[Picture]] = defaultdict(list)
    notes, files = list[str](), dict[str, str]()
    for path, _ in read:
        data = read_bytes(path)
        files[path.relative_to(root).as_posix()] = _sha256(path)
        content = format_of(format).read(data, path)
        notes += content.notes
        for picture in content.pictures:
            if mask := picture.segments:
                files[mask.relative_to(root).as_posix()] = _sha256(mask)
            of_frame[finder.find(picture, path).name].append(picture)
    pictures, left_out = dict[str, Picture](), dict[str, Reason]()
    for frame in frames:
        chosen = _choose(of_frame[frame.name], frame)
        if isinstance(chosen, Picture):
            pictures[frame.name] = chosen
        else:
            left_out[frame.name] = chosen
    return Returned(format, files, pictures, left_out, finder.matched, tuple(notes))


def _choose(pictures: Sequence[Picture], frame: PrelabelledFrame) -> Picture | Reason:
    """The picture that counts, or why there is none."""
    if not pictures:
        return "missing"
    for picture in pictures:
        if picture.error and not picture.unfinished:
            raise StreetsegError(f"{frame.name} {picture.error}")
    drawn = {
        (each.content_hash, each.segments and _sha256(each.segments)): each
        for each in pictures
        if each.shapes
    }
    if len(drawn) > 1 or any(each.unfinished == "conflicting" for each in pictures):
        return "conflicting"
    if drawn:
        return next(iter(drawn.values()))
    if all(each.unfinished for each in pictures):
        return "skipped" if any(each.unfinished == "skipped" for each in pictures) else "untouched"
    return "empty"


class _FrameFinder:
    """Finds the frame of a picture."""

    def __init__(self, root: Path | None, frames: Sequence[PrelabelledFrame]) -> None:
        self.matched: Counter[str] = Counter()
        self._by_name = {frame.name: frame for frame in frames}
        hashes = Counter(frame.sha256 for frame in frames)
        self._by_hash = {each.sha256: each for each in frames if hashes[each.sha256] == 1}
        self._images: dict[str, list[Path]] = defaultdict(list)
        for path in _files(root) if root else ():
            if is_image(path.name):
                self._images[path.stem].append(path)

    def find(self, picture: Picture, path: Path) -> PrelabelledFrame:
        """The frame of a picture in a label file; StreetsegError if it is none."""
        stem = PurePosixPath(picture.name.replace("\\", "/")).stem
        plain = ENDING.sub("", stem)
        stems = dict.fromkeys((stem, plain, f"{plain}_leftImg8bit"))
        images = [image for each in stems for image in self._images.get(each, [])]
        by_hash = {
            frame.name: frame for image in images if (frame := self._by_hash.get(_sha256(image)))
        }
        if len(by_hash) == 1:
            self.matched["sha256"] += 1
            return next(iter(by_hash.values()))
        for name in (*stems, UPLOADED.sub("", stem, count=1)):
            if name in self._by_name:
                self.matched["name"] += 1
                return self._by_name[name]
        raise StreetsegError(
            f"{path} has '{picture.name}', which is none of the {len(self._by_name)} frames of the "
            "pre-labels, by the bytes of an image beside it or by name: name another --prelabels, "
            "give the picture its old name, or export it with images"
        )


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not is_hidden(path.relative_to(folder).as_posix()):
            yield path


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _format(path: Path) -> Kind | None:
    """The format of a label file by its name and content; None for another file."""
    if path.name in colour_masks.NAMES:
        return "masks"
    match path.suffix.lower():
        case ".xml" if b"<annotation" in read_bytes(path):
            return "cvat"
        case ".json" if path.name != MANIFEST:
            try:
                return KINDS.get(json_kind(read_bytes(path)))
            except ValueError:
                raise StreetsegError(f"{path} is not valid JSON: export or copy it again") from None
    return None
