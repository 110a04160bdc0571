"""What label files hold: their encoding, and a label space that defines every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.data.annotations.files import read_bytes
from streetseg.data.drafting.exports import names_in
from streetseg.data.label_files import ids_in
from streetseg.data.label_names import BACKGROUND, name_key
from streetseg.data.labels import CATEGORY_NAME, IGNORE, Category, Encoding, Label, LabelSpace
from streetseg.data.listings import (
    BLACK,
    Color,
    Listing,
    find_listing,
    read_listing,
    refuse_without_background,
    voc_color,
)
from streetseg.data.sources import Frame
from streetseg.images.decode import decode_deep_red, decode_ids, decode_image
from streetseg.images.errors import BadImageError
from streetseg.images.headers import PNG_RGB, PNG_RGBA, png_color_type, png_depth, png_palette

MAX_LABELS = 255
MAX_RED = 100
"""The largest id in a red channel; higher values are shades of a colour."""


@dataclass(frozen=True)
class Contents:
    """What was found in label files."""

    labels: LabelSpace
    ids: bool
    """Whether the values are ids that no listing explains."""


def read_contents(frames: Sequence[Frame], root: Path, name: str) -> Contents:
    """The label space, called ``name``, of a sample of frames.

    Raises:
        StreetsegError: a file is unusable, encodings are mixed, or less than two labels occur.
    """
    if frames[0].format:
        names = names_in(frames)
        blank = next((name for name in names if name_key(name) in BACKGROUND), BACKGROUND[0])
        others = [(name, None) for name in names if name != blank]
        named = dict(enumerate([(blank, BLACK), *others]))
        return Contents(_space(name, named, "ids", by_name=True), ids=False)
    if path := find_listing(frames[0].label, root):
        listing = read_listing(path)
        refuse_without_background(listing, frames[0].label)
        return Contents(_listed(name, listing), ids=False)
    encoding, values = _values(frames)
    rows: dict[int, tuple[str, Color | None]]
    if encoding == "colors":
        colors = sorted(values, key=lambda color: (color != BLACK, color))
        rows = {number: (f"label {number}", color) for number, color in enumerate(colors)}
    else:
        rows = {value: (f"label {value}", values[value]) for value in sorted(values)}
    return Contents(_space(name, rows, encoding), ids=encoding == "ids")


def _listed(name: str, listing: Listing) -> LabelSpace:
    first = 0 if listing.begins_with_background else 1
    rows: dict[int, tuple[str, Color | None]] = {} if first == 0 else {0: (BACKGROUND[0], BLACK)}
    rows |= dict(enumerate(listing.entries[: 256 - first], first))
    space = _space(name, rows, "ids")
    listing.label_ids(space)
    return space


def _values(frames: Sequence[Frame]) -> tuple[Encoding, dict[Any, Color | None]]:
    """The encoding of label images, and their ids or colours with what a palette says of each."""
    ids: dict[int, Color | None] = {}
    colors: dict[Color, Path] = {}
    of_kind: dict[str, Path] = {}
    for frame in track(frames, total=len(frames), description="label images", transient=True):
        try:
            _read_values(frame.label, ids, colors, of_kind)
        except BadImageError as error:
            raise StreetsegError(f"{frame.label} {error.reason}") from None
        if len(colors) > MAX_LABELS:
            raise StreetsegError(
                f"{frame.label} and others hold more than {MAX_LABELS} colours, so that they are "
                "photographs, drawn over or saved with losses: export label ids or flat colours"
            )
    in_red = all((g == b == 0 and r <= MAX_RED) or r == g == b for r, g, b in colors)
    if "colors" in of_kind and len(of_kind) > 1 and not in_red:
        raise StreetsegError(
            f"encodings are mixed: {of_kind['ids']} holds ids and {of_kind['colors']} colours: "
            "keep the label images of one encoding, or move the others out"
        )
    if "red" in of_kind or (colors and in_red):
        return "red", {**ids, **{color[0]: None for color in colors}}
    return ("colors", dict.fromkeys(colors)) if colors else ("ids", ids)


def _read_values(
    path: Path,
    ids: dict[int, Color | None],
    colors: dict[Color, Path],
    of_kind: dict[str, Path],
) -> None:
    data = read_bytes(path)
    if png_color_type(data) not in (PNG_RGB, PNG_RGBA):
        of_kind.setdefault("ids", path)
        palette = png_palette(data)
        for value in ids_in(decode_ids(data)).tolist():
            shown = palette is not None and value < len(palette)
            ids[value] = tuple(palette[value].tolist()) if shown else ids.get(value)  # type: ignore[index]
    elif png_depth(data) == 16:
        of_kind.setdefault("red", path)
        ids.update(dict.fromkeys(ids_in(decode_deep_red(data)).tolist()))
    else:
        of_kind.setdefault("colors", path)
        rgb = decode_image(data).astype(np.uint32)
        for packed in np.unique(rgb @ np.array([1 << 16, 1 << 8, 1], np.uint32)).tolist():
            colors.setdefault((packed >> 16, packed >> 8 & 255, packed & 255), path)


def _space(
    name: str,
    rows: dict[int, tuple[str, Color | None]],
    encoding: Encoding,
    by_name: bool = False,
) -> LabelSpace:
    """A label space with a category for each label.

    255 is ignored beside two others. Of labels by name, those that Cityscapes never draws are not
    drawn either.
    """
    if not 2 <= len(rows) <= MAX_LABELS:
        titles = f" ({', '.join(title for title, _ in rows.values())})" if len(rows) < 2 else ""
        raise StreetsegError(
            f"the label files hold {len(rows)} labels{titles}, where 2 to {MAX_LABELS} are expected"
        )
    known = {name_key(label.name): label for label in LabelSpace.load("cityscapes").labels}
    labels, categories, used = [], [], set[str]()
    for number, (given, color) in rows.items():
        title = _unique(given, used)
        shown = color or (BLACK if number == IGNORE and encoding == "ids" else voc_color(number))
        alike = known.get(name_key(title))
        ignored = number == IGNORE and encoding != "colors" and len(rows) > 2
        never = by_name and alike is not None and alike.id < 0
        if not (ignored or never):
            categories.append(Category(_category_name(title), shown))
        labels.append(
            Label(
                -1 if never else number,
                title,
                None if ignored or never else _category_name(title),
                shown,
                cityscapes=(alike.name,) if alike else (),
            )
        )
    return LabelSpace(name, tuple(labels), tuple(categories), encoding)


def _unique(name: str, used: set[str]) -> str:
    title, number = name, 2
    while _category_name(title) in used:
        title, number = f"{name} {number}", number + 1
    used.add(_category_name(title))
    return title


def _category_name(name: str) -> str:
    """A name with the characters that a category may have."""
    allowed = "".join(char if CATEGORY_NAME.fullmatch(char) else "_" for char in name.strip())
    return allowed.replace("..", "_").replace("//", "/").strip("/")[:200] or "_"
