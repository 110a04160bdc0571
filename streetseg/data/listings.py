"""Files in which a label tool lists its labels beside the label images that it exports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from streetseg.core.errors import StreetsegError, cannot_read
from streetseg.data.label_names import BACKGROUND, label_names, name_key
from streetseg.data.labels import IGNORE, LabelSpace

LABEL_COLORS, LABEL_MAP = "label_colors.txt", "labelmap.txt"
LISTINGS = (LABEL_COLORS, LABEL_MAP, "label_names.txt", "class_names.txt")
"""Datumaro's and CVAT's of Cityscapes, CamVid and KITTI; of masks in VOC's layout ("Segmentation
mask 1.1"); labelme's, without colours. Files of the last three names may be something else."""
FIRST_OF_LABELME = ("_background_", "__ignore__")
"""With which labelme's begin."""

COLORED = re.compile(r"\s*(?:(?P<color>\d+\s+\d+\s+\d+)\s+)?(?P<name>.*\S)\s*")
MAPPED = re.compile(r"\s*(?P<name>.+?):(?P<color>\d+,\s*\d+,\s*\d+)?:[^:]*:[^:]*")
"""``name:R,G,B:parts:actions``."""
IGNORED = "ignore"
"""labelme's ``__ignore__``, the first line, is no value of a label image."""

KITTI_FOLDERS = ("semantic", "semantic_rgb")
"""Of label images in KITTI's layout."""

Color = tuple[int, int, int]
BLACK: Color = (0, 0, 0)
NOTHING = ("void", "none", "ignore", "other", "rest")
"""Further names of black labels that may be what nobody annotated."""


@dataclass(frozen=True)
class Listing:
    """The labels of an export, in its order."""

    path: Path
    entries: tuple[tuple[str, Color | None], ...]
    """Name and RGB colour of each label."""

    @property
    def begins_with_background(self) -> bool:
        """Whether the first entry is what nobody annotated, which has the id 0 then."""
        return bool(self.entries) and _is_background(*self.entries[0])

    def label_ids(self, labels: LabelSpace) -> dict[int, int]:
        """The label id of each value of a label image, ``IGNORE`` for none.

        Values count the entries, from 0 if the first is the background. Otherwise they begin at 1,
        and 0 is what nobody annotated.

        Raises:
            StreetsegError: labels are undefined, or 0 is both a label and the background.
        """
        if any(_is_background(*each) for each in self.entries) and not self.begins_with_background:
            raise StreetsegError(
                f"{self.path} lists the background after '{self.entries[0][0]}', so that 0 means "
                "both: put the background first in the project, and export again"
            )
        self._refuse_black_label()
        first = 0 if self.begins_with_background else 1
        ids = {0: label_names(labels).blank}
        ids |= dict(enumerate(self._ids(labels)[: 256 - first], first))
        return ids

    def colors(self, labels: LabelSpace) -> dict[Color, int]:
        """The label id of each colour.

        Without colours in the listing those of PASCAL VOC count, which Datumaro gives to values.

        Raises:
            StreetsegError: labels are undefined, or two that are told apart have one colour.
        """
        colored = [color for _, color in self.entries]
        if not colored or None in colored:
            return {voc_color(value): each for value, each in self.label_ids(labels).items()}
        self._refuse_black_label()
        ids: dict[Color, int] = {}
        for (name, color), label_id in zip(self.entries, self._ids(labels), strict=True):
            assert color is not None
            if ids.setdefault(color, label_id) != label_id:
                raise StreetsegError(
                    f"{self.path} gives the colour {color} of '{name}' to another label too: give "
                    "each its own in the project, and export again"
                )
        return {BLACK: label_names(labels).blank, **ids}

    def _refuse_black_label(self) -> None:
        """Refuse a label that is told apart from what nobody annotated neither by id nor colour."""
        black = [name_key(name) for name, color in self.entries if color == BLACK]
        if black and not {*black} & {*BACKGROUND, *NOTHING}:
            raise StreetsegError(
                f"{self.path} gives black, which is also what nobody annotated, to '{black[0]}': "
                "give the labels colours in the project, or a background, and export again"
            )

    def _ids(self, labels: LabelSpace) -> list[int]:
        names, found = label_names(labels), []
        undefined = []
        for name, color in self.entries:
            label_id = names.find(name)
            if label_id is None and _is_background(name, color):
                label_id = names.blank
            elif label_id is None:
                undefined.append(f"'{name}'")
            found.append(label_id)
        if undefined:
            raise StreetsegError(
                f"{self.path} lists {', '.join(undefined)}, which the label space '{labels.name}' "
                f"does not define: rename {'it' if len(undefined) == 1 else 'them'} there, use a "
                "label space that defines it, or state the numbering as label ids"
            )
        return [IGNORE if label is None or label < 0 else label for label in found]


def voc_color(value: int) -> Color:
    """The RGB colour of a value in PASCAL VOC: its bits in turn, from the highest of each channel.

    Source: the development kit of PASCAL VOC 2012, VOClabelcolormap.m.
    """
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (value >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


def refuse_without_background(listing: Listing, label_image: Path) -> None:
    """Raise StreetsegError for an export in KITTI's layout whose first label is no background.

    Such exports count from 0, which is also what nobody annotated.
    """
    folders = label_image.absolute().relative_to(listing.path.parent).parts[:-1]
    if {*folders} & {*KITTI_FOLDERS} and not listing.begins_with_background:
        first = f"'{listing.entries[0][0]}'" if listing.entries else "its first label"
        raise StreetsegError(
            f"{listing.path} has no background, so that masks in KITTI's layout give {first} to "
            "what nobody annotated: put a label 'background' first in the project, and export "
            "again, or export 'CVAT for images 1.1'"
        )


def find_listing(path: Path, root: Path) -> Path | None:
    """The nearest listing in the folders from that of a file up to ``root``."""
    top = root.absolute()
    for folder in path.absolute().parents:
        for name in LISTINGS:
            if (listing := folder / name).is_file() and _is_listing(listing):
                return listing
        if folder == top:
            break
    return None


def read_listing(path: Path) -> Listing:
    """The labels that a file lists; StreetsegError if it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise cannot_read(path, error) from None
    pattern = MAPPED if path.name == LABEL_MAP else COLORED
    matches = [pattern.fullmatch(line) for line in lines if not line.lstrip().startswith("#")]
    entries = [(match["name"], _color(match["color"])) for match in matches if match]
    if entries and name_key(entries[0][0]) == IGNORED and entries[0][1] is None:
        del entries[0]
    return Listing(path, tuple(entries))


def _is_listing(path: Path) -> bool:
    if path.name == LABEL_COLORS:
        return True
    if path.name == LABEL_MAP:
        return bool(read_listing(path).entries)
    with path.open(errors="replace") as file:
        return file.readline().strip() in FIRST_OF_LABELME


def _color(text: str | None) -> Color | None:
    if not text:
        return None
    red, green, blue = (int(number) for number in re.split(r"[\s,]+", text))
    return red, green, blue


def _is_background(name: str, color: Color | None) -> bool:
    return name_key(name) == BACKGROUND[0] or color == BLACK
