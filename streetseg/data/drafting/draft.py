"""A source drafted from the files of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.core.sampling import evenly_spaced
from streetseg.data.annotations.files import read_bytes
from streetseg.data.annotations.formats import FORMATS, FormatName
from streetseg.data.drafting.contents import Contents, read_contents
from streetseg.data.drafting.exports import (
    Found,
    find_exports,
    pairs_of_files,
    refuse_regions,
    refuse_unreadable,
)
from streetseg.data.drafting.pairing import Match, match_labels, pairs_of, rank
from streetseg.data.drafting.tree import Group, group_files, image_files, list_files
from streetseg.data.frame_annotations import attach_pictures
from streetseg.data.sources import Frame, Pair, Source

SOURCE, LABELS = "source.yaml", "labels.yaml"
ACCEPTED = 2
"""The highest rank of label images that count before polygons: they hold ids, not colours."""


@dataclass(frozen=True)
class Draft:
    """A source and a label space that fit a folder."""

    root: Path
    pairs: tuple[Pair, ...]
    contents: Contents
    sample: list[Frame]
    """Complete frames, evenly spaced; without their images, if there are none."""
    notes: list[str]
    """What to do before the draft can be used completely, each in one line."""


def draft(root: Path, limit: int) -> Draft:
    """Draft a source from the files below ``root``; up to ``limit`` frames are looked at.

    Raises:
        StreetsegError: there are no files, no labels or no images with labels, an export cannot be
            read, or encodings are mixed.
    """
    if not root.is_dir():
        hint = did_you_mean_path(root, "name the folder of your images and labels")
        raise StreetsegError(f"{root} is no folder: {hint}")
    paths = list_files(root)
    if not paths:
        raise StreetsegError(f"{root} is empty: name the folder of your images and labels")
    refuse_regions(paths, root)
    groups = group_files(image_files(paths), root)
    images = [group for group in groups if group.role == "image"]
    pairs = _find_pairs(paths, groups, images, root)
    frames, notes = _frames(pairs, root)
    complete = [frame for frame in frames if frame.label.exists()]
    if not complete:
        raise StreetsegError(f"{root}: no label file belongs to an image: write the pairs by hand")
    usable = [frame for frame in complete if not (frame.picture and frame.picture.error)]
    if not usable:
        assert complete[0].picture
        raise StreetsegError(
            f"{complete[0].label}: {complete[0].picture.name} {complete[0].picture.error}"
        )
    sample = [usable[row] for row in evenly_spaced(len(usable), limit)]
    contents = read_contents(usable if usable[0].format else sample, root, root.absolute().name)
    if without := len(frames) - len(usable):
        notes.append(
            f"images without a usable label: {without} of {len(frames)}; set prepare.on_error=skip "
            "to leave them out"
        )
    return Draft(root, tuple(pairs), contents, sample, notes)


def _find_pairs(
    paths: Sequence[str], groups: Sequence[Group], images: Sequence[Group], root: Path
) -> list[Pair]:
    """The pairs of the labels that are preferred: files of many pictures, ids, polygons, colours.

    Raises:
        StreetsegError: there are no labels, or none belongs to an image.
    """
    exports = find_exports([path for path in paths if not _is_draft(path)], root)
    if many := next((found for found in exports if FORMATS[found.format].many), None):
        return pairs_of_files(many, images, root)
    masks = [group for group in groups if group.role == "label"]
    masks = masks or [group for group in groups if group.role == "neither"]
    matches = _matches(images, masks)
    polygons = [_polygon_matches(found, groups, masks, root) for found in exports]
    drawn, format = next(((found, name) for found, name in polygons if found), ([], None))
    if drawn and (not matches or rank(matches[0].labels) > ACCEPTED):
        return [pair for match in drawn for pair in pairs_of(match, format)]
    if matches:
        return [pair for match in matches for pair in pairs_of(match)]
    if not exports:
        refuse_unreadable(paths, root)
    if not masks and not exports:
        what = f"{sum(len(group.files) for group in images)} images and no labels"
        raise StreetsegError(
            f"{root} holds {what if images else 'no images and no labels'}: put label images, or "
            "an export of an annotation tool, below it"
        )
    if not images:
        return [_without_images(exports, masks, root)]
    labels = exports[0].paths[0] if exports else masks[0].files[0].path
    raise StreetsegError(
        f"{root}: no image is named like a label file: {images[0].files[0].path} and {labels} need "
        "a common part in their names"
    )


def _matches(images: Sequence[Group], labels: Sequence[Group]) -> list[Match]:
    """The label files of each group of images, those of most images first."""
    found = [match for group in images if (match := match_labels(group, labels))]
    best = {rank(match.labels) for match in found}
    return sorted(
        (match for match in found if rank(match.labels) == min(best)),
        key=lambda match: -len(match.shared()),
    )


def _polygon_matches(
    found: Found, groups: Sequence[Group], masks: Sequence[Group], root: Path
) -> tuple[list[Match], FormatName]:
    labels = group_files(found.paths, root, role="label")
    images = [group for group in groups if group.role in ("image", "")] or [
        group for group in groups if group not in masks
    ]
    return _matches(images or [*groups], labels), found.format


def _without_images(exports: Sequence[Found], masks: Sequence[Group], root: Path) -> Pair:
    """The pair of labels whose images are elsewhere."""
    if exports:
        labels = group_files(exports[0].paths, root, role="label")[0]
    else:
        labels = min(masks, key=rank)
    match = Match(Group("image", ("images",), "", ".png", labels.files), labels, ())
    (pair,) = pairs_of(match, exports[0].format if exports else None)
    return pair


def _frames(pairs: Sequence[Pair], root: Path) -> tuple[list[Frame], list[str]]:
    """The frames that the pairs find, and notes; of labels without images, the labels alone."""
    source = Source(label_space=LABELS, pairs=tuple(pairs))
    try:
        frames, unused = source.find_with_unused(root)
    except StreetsegError:
        if any([*root.glob(_wildcard(pair.images))] for pair in pairs):
            raise
        return _labels_alone(pairs, root)
    attached, notes = attach_pictures(frames, root)
    if unused:
        counts = ", ".join(f"{count} images of {split}" for split, count in unused.items())
        notes.append(f"{counts} have no labels and are left out")
    return attached, notes


def _labels_alone(pairs: Sequence[Pair], root: Path) -> tuple[list[Frame], list[str]]:
    frames = []
    for pair in pairs:
        for path in sorted(root.glob(_wildcard(pair.labels))):
            blank = Frame(path.stem, "train", "", root / pair.images, path, format=pair.format)
            if pair.format and FORMATS[pair.format].many:
                pictures = FORMATS[pair.format].read(read_bytes(path), path).pictures
                frames += [
                    Frame(each.name, "train", "", root / pair.images, path, format=pair.format,
                          picture=each)
                    for each in pictures
                ]  # fmt: skip
            else:
                frames.append(blank)
    folder = pairs[0].images.rpartition("/")[0]
    return frames, [f"{root} holds labels and no images: put the images into {root / folder}"]


def _wildcard(pattern: str) -> str:
    parts = pattern.replace("{", "\0{").split("\0")
    return "".join("*" + part.partition("}")[2] if part[:1] == "{" else part for part in parts)


def _is_draft(path: str) -> bool:
    return path in (SOURCE, LABELS)
