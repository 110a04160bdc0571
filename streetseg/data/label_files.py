"""The label file of a frame: read and decoded, or drawn, to values that a numbering explains.

Worker processes import this module, so it imports little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import xxhash

from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.files import read_bytes
from streetseg.data.annotations.formats import FORMATS
from streetseg.data.frame_annotations import read_picture
from streetseg.data.label_names import label_names
from streetseg.data.labels import LabelSpace
from streetseg.data.listings import (
    LABEL_COLORS,
    LABEL_MAP,
    find_listing,
    read_listing,
    refuse_without_background,
)
from streetseg.data.numbering import Ids, Numbering, explained, numbering
from streetseg.data.sources import Frame
from streetseg.images.decode import decode_deep_red, decode_ids, decode_image, refuse_lossy
from streetseg.images.errors import BadImageError
from streetseg.images.headers import (
    PNG_GRAY,
    PNG_PALETTE,
    PNG_RGB,
    PNG_RGBA,
    image_format,
    png_color_type,
    png_depth,
)

COLORED = {LABEL_COLORS: (PNG_RGB, PNG_RGBA), LABEL_MAP: (PNG_RGB, PNG_RGBA, PNG_PALETTE)}
"""The colour types whose colours a listing explains; of others it numbers the values."""


class UndefinedLabelsError(StreetsegError):
    """A label file holds ids or names that its label space does not define."""


@dataclass(frozen=True, eq=False)
class FrameLabel:
    """The label of each pixel of a frame."""

    values: np.ndarray
    """uint8[H, W]."""
    numbering: Numbering
    """What the values stand for; all that occur are defined."""
    present: np.ndarray
    """The sorted values that occur."""
    content_hash: str
    """xxHash of the file, or of the frame's part of it."""
    png: bytes | None = None
    """The file, if it is an image of label ids as it is."""
    shapes: dict[str, int] = field(default_factory=dict)
    """Counts of :mod:`streetseg.data.annotations.draw`; empty for an image."""

    @property
    def label_ids(self) -> np.ndarray:
        """The label id of each pixel: uint8[H, W], ``IGNORE`` where it has none."""
        return cv2.LUT(self.values, self.numbering.label_ids)

    def onto(self, target_ids: np.ndarray) -> FrameLabel:
        """The same values, standing for the labels of a target: ``target_ids`` uint8[256]."""
        return replace(self, numbering=self.numbering.onto(target_ids), png=None)


def read_label(
    frame: Frame, labels: LabelSpace, ids: Ids | None, root: Path, size: tuple[int, int] | None
) -> FrameLabel:
    """Read the label of a frame whose image is of ``size`` (height, width); None: of any size.

    ``ids`` and ``root`` say how a label image is numbered: None is for what it says itself
    (see :func:`streetseg.data.numbering.recognize`), else label ids.

    Raises:
        StreetsegError: the file is missing, damaged or of another size, or has undefined labels
            (UndefinedLabelsError).
    """
    try:
        label = _drawn(frame, labels, size) if frame.format else _decoded(frame, labels, ids, root)
    except BadImageError as error:
        raise StreetsegError(f"{frame.label} {error.reason}") from None
    if size:
        _refuse_other_size(frame, label.values.shape, size)
    meaning, present = label.numbering, label.present
    if undefined := [] if frame.format else present[~meaning.defined[present]].tolist():
        raise UndefinedLabelsError(
            f"{frame.label} holds {name_undefined(undefined)}, which the label space "
            f"'{labels.name}' does not define"
        )
    return label


def _decoded(frame: Frame, labels: LabelSpace, ids: Ids | None, root: Path) -> FrameLabel:
    data = read_bytes(frame.label)
    values, meaning = _decode_numbered(data, frame.label, root, labels, ids)
    as_it_is = labels.encoding == "ids" and meaning.name == "label"
    return FrameLabel(
        values,
        meaning,
        ids_in(values),
        xxhash.xxh3_128_hexdigest(data),
        data if as_it_is else None,
    )


def _decode_numbered(
    data: bytes, path: Path, root: Path, labels: LabelSpace, ids: Ids | None
) -> tuple[np.ndarray, Numbering]:
    """The values of a label image, uint8[H, W], and what they stand for."""
    if ids or labels.encoding != "ids":
        return decode_labels(data, labels), numbering(labels, ids or "label")
    listed = find_listing(path, root)
    if listed:
        listing = read_listing(listed)
        refuse_without_background(listing, path)
        if png_color_type(data) in COLORED.get(listed.name, COLORED[LABEL_COLORS]):
            refuse_lossy(data)
            colors = listing.colors(labels)
            values = _ids_of_colors(decode_image(data), colors, str(listed))
            return values, Numbering.of(str(listed), {each: each for each in colors.values()})
    return decode_ids(data), explained(data, listed, labels) or numbering(labels, "label")


def _drawn(frame: Frame, labels: LabelSpace, size: tuple[int, int] | None) -> FrameLabel:
    from streetseg.data.annotations.draw import draw, undefined_names  # slow to import

    assert frame.format
    picture, content_hash = read_picture(frame)
    names, format = label_names(labels), FORMATS[frame.format]
    if undefined := undefined_names(picture, names, format):
        raise UndefinedLabelsError(
            f"{frame.label} has {name_undefined(undefined)} in {frame.image.name}, which the label "
            f"space '{labels.name}' does not define"
        )
    if picture.size and size:
        _refuse_other_size(frame, picture.size, size)
    size = size or picture.size
    if not size:
        raise StreetsegError(
            f"{frame.label} does not tell the size of {frame.image.name}, and {frame.image} is not "
            "here"
        )
    values, shapes = draw(picture, names, format, size)
    meaning = numbering(labels, "label")
    return FrameLabel(values, meaning, ids_in(values), content_hash, shapes=shapes)


def _refuse_other_size(frame: Frame, shape: Sequence[int], size: tuple[int, int]) -> None:
    if tuple(shape) != size:
        raise StreetsegError(
            f"{frame.image} is {size[1]}x{size[0]} but its label is {shape[1]}x{shape[0]}: they "
            "must have the same size"
        )


def name_undefined(labels: Sequence[int | str]) -> str:
    """``label id 34``, ``label ids 34, 40``, or the same with ``the labels 'bus', 'van'``."""
    ids = [str(each) for each in labels if isinstance(each, int)]
    names = [f"'{each}'" for each in labels if isinstance(each, str)]
    parts = [
        f"{what}{'s' if len(found) > 1 else ''} {', '.join(found)}"
        for what, found in (("label id", ids), ("the label", names))
        if found
    ]
    return " and ".join(parts)


def undefined_labels(
    frame: Frame, labels: LabelSpace, ids: Ids | None = None, root: Path = Path()
) -> list[int | str]:
    """The ids or names in a frame's label that are not defined; none if it cannot be read."""
    try:
        if frame.format:
            from streetseg.data.annotations.draw import undefined_names  # slow to import

            picture, _ = read_picture(frame)
            return [*undefined_names(picture, label_names(labels), FORMATS[frame.format])]
        label = _decoded(frame, labels, ids, root)
    except (StreetsegError, BadImageError):
        return []
    return label.present[~label.numbering.defined[label.present]].tolist()


def ids_in(ids: np.ndarray) -> np.ndarray:
    """The sorted ids that occur in uint8[H, W].

    Label images are mostly uniform, so pixels are compared eight at a time, and of equal
    neighbouring groups only the first is counted.
    """
    flat = np.ascontiguousarray(ids).ravel()
    grouped = flat.size // 8 * 8
    groups = flat[:grouped].view(np.uint64)
    if not grouped:
        return np.unique(flat)
    distinct = groups[np.append(True, groups[1:] != groups[:-1])].view(np.uint8)
    return np.union1d(
        np.flatnonzero(cv2.calcHist([distinct[None]], [0], None, [256], [0, 256])), flat[grouped:]
    )


def decode_labels(data: bytes, labels: LabelSpace) -> np.ndarray:
    """Decode a label image to label ids uint8[H, W], by the encoding of its label space.

    Raises:
        BadImageError: as :func:`decode_ids`, or a colour belongs to no label.
    """
    if labels.encoding == "ids":
        return decode_ids(data)
    refuse_lossy(data)
    if image_format(data) not in ("PNG", None):
        raise BadImageError(f"is no PNG, as labels with the encoding {labels.encoding} are")
    if png_depth(data) == 16:
        if labels.encoding == "red":
            return decode_deep_red(data)
        raise BadImageError("has 16 bits a channel, where 8 are expected")
    if labels.encoding == "red" and png_color_type(data) == PNG_GRAY:
        return decode_ids(data)
    rgb = decode_image(data)
    if labels.encoding == "red":
        return np.ascontiguousarray(rgb[..., 0])
    colors = {label.color: label.id for label in labels.drawn}
    return _ids_of_colors(rgb, colors, f"'{labels.name}'")


def _ids_of_colors(
    rgb: np.ndarray, colors: Mapping[tuple[int, int, int], int], defined_in: str
) -> np.ndarray:
    packed = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    ids = np.zeros(packed.shape, np.uint8)
    assigned = np.zeros(packed.shape, bool)
    for (red, green, blue), label_id in colors.items():
        matches = packed == (red << 16 | green << 8 | blue)
        ids[matches] = label_id
        assigned |= matches
    if not assigned.all():
        color = tuple(rgb[~assigned][0].tolist())
        raise BadImageError(f"holds the colour {color}, which {defined_in} does not define")
    return ids
