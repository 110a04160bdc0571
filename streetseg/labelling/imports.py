"""Labels in again: what a person corrected, as a source of its own.

The folder then holds::

    source.yaml, labels.yaml  a source for data.source and data.sources; the model's label space
    images/, labels/          the images as they were exported, and label ids drawn of the shapes
    provenance.json           which model pre-labelled, which tool and who corrected, and how much
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import yaml

from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.data.annotations.draw import draw, undefined_names
from streetseg.data.annotations.formats import FORMATS, Format, FormatName
from streetseg.data.annotations.shapes import Ellipse, Geometry, Picture, Polygon, Rectangle
from streetseg.data.label_names import BACKGROUND, LabelNames, name_key
from streetseg.data.labels import IGNORE, Label, LabelSpace
from streetseg.images.encode import encode_png
from streetseg.images.errors import BadImageError
from streetseg.labelling.outlines import outlines
from streetseg.labelling.prelabels import PrelabelledFrame, ReadPrelabels, read_prelabels
from streetseg.labelling.returned import Returned, read_returned
from streetseg.labelling.writers import WRITERS

PROVENANCE, SOURCE, LABELS = "provenance.json", "source.yaml", "labels.yaml"
MAX_UNLABELLED = 0.5
"""Fraction of pixels without a label above which a frame counts as half labelled."""
TOOLS: dict[FormatName, str] = {
    "cityscapes": "Cityscapes polygons",
    "coco": "COCO",
    "cvat": "CVAT for images 1.1",
    "label-studio": "Label Studio",
    "labelme": "labelme",
    "supervisely": "Supervisely",
}
EXPECTED = "skipped"
"""A person's decision about a frame: the others in ``left_out`` are unfinished."""


@dataclass(frozen=True)
class FrameChanges:
    """How one frame came back."""

    annotators: tuple[str, ...]
    shown: np.ndarray
    """Pixels of each category as pre-labelled: int64[C]."""
    changed: np.ndarray
    """Those of them that a person gave another one: int64[C]."""
    pixels: int
    unlabelled: float
    """Fraction of pixels that nobody labelled."""
    shapes: dict[str, int]
    """Counts of :mod:`streetseg.data.annotations.draw`."""

    @property
    def corrected(self) -> float:
        """The fraction of pixels that a person changed."""
        return float(self.changed.sum() / self.pixels)


@dataclass(frozen=True)
class Imported:
    """The result of :func:`import_labels`."""

    folder: Path
    model: dict[str, Any]
    """name, version, run_id, data_version and weights_sha256."""
    tool: str
    corrected: float
    """The fraction of pixels that a person changed, 0 to 1."""
    corrected_by_category: dict[str, float | None]
    """Of the pixels that were pre-labelled as each; None if none were."""
    counts: dict[str, int]
    """Frames: ``exported``, ``labelled``, and those left out by reason."""
    notes: tuple[str, ...]
    """What the tool's export has lost or dropped, each in one line."""
    provenance: dict[str, Any] = field(repr=False)
    """The content of ``provenance.json``."""


def import_labels(
    export: Path,
    prelabels: Path,
    destination: Path,
    *,
    partial: bool = False,
    split: Literal["train", "val"] | None = None,
) -> Imported:
    """Make a source of the corrected labels in an export of an annotation tool.

    Frames that a person skipped are left out. An untouched frame that the tool exports as it was
    imported cannot be told from one that needed no correction: it counts as labelled.

    Args:
        export: a label file, or a folder in any format of :data:`.returned.KINDS`, or CVAT's.
        prelabels: the folder that :func:`.export.export_labels` wrote.
        destination: a folder that does not exist, or holds an earlier import of the same
            pre-labels, which is replaced.
        partial: leave out frames that are not finished, instead of refusing the export.
        split: of all frames. None: that of the drive or city in an earlier source of
            ``data.sources``, else as :class:`streetseg.data.splits.SplitRules` divides them.

    Raises:
        StreetsegError: the export is unusable, not finished or of other frames, or a label is
            unknown; nothing is written then.
    """
    known = read_prelabels(prelabels)
    _refuse_other_import(destination, known)
    frames = known.prelabels.frames
    returned = read_returned(export, frames)
    space = known.prelabels.labels
    drawer = _Drawer(space, FORMATS[returned.format])
    _refuse_unknown_labels(returned, drawer, frames)
    with atomic_folder(destination, PROVENANCE) as folder:
        (folder / "images").mkdir()
        (folder / "labels").mkdir()
        changes: dict[str, FrameChanges] = {}
        left_out: dict[str, str] = dict(returned.left_out)
        pending = [frame for frame in frames if frame.name in returned.pictures]
        for frame in track(pending, total=len(pending), description="import"):
            ids, shapes, unlabelled = drawer.draw(returned.pictures[frame.name], frame, export)
            if unlabelled > MAX_UNLABELLED:
                left_out[frame.name] = "half labelled"
                continue
            suffix = PurePosixPath(frame.image).suffix
            (folder / "images" / f"{frame.name}{suffix}").write_bytes(known.image(frame))
            (folder / "labels" / f"{frame.name}.png").write_bytes(_encode(ids, space))
            annotators = returned.pictures[frame.name].annotators
            changes[frame.name] = _compare(known, frame, ids, annotators, unlabelled, shapes)
        _refuse_unfinished(left_out, len(frames), export, partial)
        if not changes:
            raise StreetsegError(f"{export} holds no labelled frame: {_summary(left_out)}")
        imported = _summarize(known, returned, changes, left_out, export, destination)
        kept = [frame for frame in frames if frame.name in changes]
        (folder / SOURCE).write_text(_source(destination.name, kept, split))
        (folder / LABELS).write_text(yaml.safe_dump(space.to_dict(), sort_keys=False))
        (folder / PROVENANCE).write_text(json.dumps(imported.provenance, indent=1) + "\n")
    return imported


class _Drawer:
    """Draws pictures to the label ids of a model's label space."""

    def __init__(self, space: LabelSpace, format: Format) -> None:
        self.names, self._format = _ShapeNames(space), format
        self._blank, self._known = _blank(space), space.known
        self._has_background = any(name_key(each.name) == BACKGROUND[0] for each in space.drawn)

    def undefined(self, picture: Picture) -> list[str]:
        """The labels of a picture that are neither a category nor a label."""
        return undefined_names(picture, self.names, self._format)

    def draw(
        self, picture: Picture, frame: PrelabelledFrame, export: Path
    ) -> tuple[np.ndarray, dict[str, int], float]:
        """Label ids uint8[H, W], counts of shapes, and the fraction that nobody labelled.

        What is not drawn has been labelled if there is a label ``background``.
        """
        _refuse_other_size(picture, frame, export)
        for shape in picture.shapes:
            if _outside(shape.geometry, frame.size):
                raise StreetsegError(
                    f"{export}: a shape '{shape.label}' of {frame.name} lies outside the picture "
                    f"of {frame.size[1]}x{frame.size[0]}: delete it there, and export again"
                )
        try:
            ids, counts = draw(picture, self.names, self._format, frame.size)
        except BadImageError as error:
            raise StreetsegError(
                f"{export}: the annotation of {frame.name} {error.reason}"
            ) from None
        nobody = ids == IGNORE
        ids[nobody] = self._blank
        unlabelled = 0.0 if self._has_background else float(nobody.mean())
        if nobody.any() and not self._known[self._blank] and unlabelled <= MAX_UNLABELLED:
            raise StreetsegError(
                f"{export}: {np.count_nonzero(nobody)} pixels of {frame.name} have no label, and "
                f"none of the model's labels is for such pixels: label them"
            )
        return ids, counts, unlabelled


class _ShapeNames(LabelNames):
    """The names of shapes: categories, as they were exported, and labels of the label space."""

    @property
    def blank(self) -> int:
        """What is told from every label until it is known how much nobody labelled."""
        return IGNORE

    def __init__(self, space: LabelSpace) -> None:
        self.categories = space.names
        categories = {name_key(name) for name in space.names}
        representatives = zip(space.representative_ids.tolist(), space.names, strict=True)
        labels = [Label(label_id, name) for label_id, name in representatives]
        labels += [label for label in space.labels if name_key(label.name) not in categories]
        super().__init__(replace(space, labels=tuple(labels)))


def _blank(space: LabelSpace) -> int:
    """The label id of what nobody labelled: of background, or a label without a category."""
    names = LabelNames(space)
    if names.blank != IGNORE or space.known[IGNORE]:
        return names.blank
    ignored = [label.id for label in space.drawn if label.category is None]
    return ignored[0] if ignored else IGNORE


def _outside(geometry: Geometry, size: tuple[int, int]) -> bool:
    """Whether a shape with an outline has no part inside a picture of (height, width)."""
    match geometry:
        case Polygon(rings):
            points = np.concatenate(rings)
        case Rectangle():
            points = geometry.ring
        case Ellipse(x, y, across, down):
            reach = max(across, down)
            points = np.array([(x - reach, y - reach), (x + reach, y + reach)])
        case _:
            return False
    return bool((points.max(axis=0) < 0).any() or (points.min(axis=0) > size[::-1]).any())


def _compare(
    known: ReadPrelabels,
    frame: PrelabelledFrame,
    ids: np.ndarray,
    annotators: tuple[str, ...],
    unlabelled: float,
    shapes: dict[str, int],
) -> FrameChanges:
    """Compare a frame with what the tool was given: the simplified outlines, not the mask."""
    prelabels = known.prelabels
    regions = outlines(known.mask(frame), prelabels.tolerance)
    shown = WRITERS[prelabels.export_format].shown(regions, frame.size)
    categories = prelabels.labels.category_of[ids]
    nothing = prelabels.labels.category_of[_blank(prelabels.labels)]
    changed = (categories != shown) & ~((shown == IGNORE) & (categories == nothing))
    count = len(prelabels.labels.names)
    return FrameChanges(
        annotators,
        np.bincount(shown.ravel(), minlength=256)[:count],
        np.bincount(shown[changed], minlength=256)[[*range(count), IGNORE]],
        ids.size,
        unlabelled,
        shapes,
    )


def _summarize(
    known: ReadPrelabels,
    returned: Returned,
    changes: Mapping[str, FrameChanges],
    left_out: Mapping[str, str],
    export: Path,
    destination: Path,
) -> Imported:
    prelabels, names = known.prelabels, known.prelabels.labels.names
    shown = np.sum([each.shown for each in changes.values()], axis=0)
    changed = np.sum([each.changed for each in changes.values()], axis=0)
    pixels = sum(each.pixels for each in changes.values())
    by_category = {
        name: round(int(changed[number]) / int(shown[number]), 6) if shown[number] else None
        for number, name in enumerate(names)
    }
    shapes = Counter[str]()
    for each in changes.values():
        shapes.update(each.shapes)
    counts = {"exported": len(prelabels.frames), "labelled": len(changes)}
    counts |= Counter(sorted(left_out.values()))
    dropped = [f"{count} {key}" for key, count in shapes.items() if key.startswith("dropped:")]
    notes = [
        *returned.notes,
        *(f"{each.replace(' dropped:', ' shapes dropped: ')}" for each in dropped),
    ]
    corrected = round(int(changed.sum()) / pixels, 6)
    frames = {
        frame.name: {
            "origin": frame.origin,
            "sha256": frame.sha256,
            "annotators": changes[frame.name].annotators,
            "corrected": round(changes[frame.name].corrected, 6),
            "unlabelled": round(changes[frame.name].unlabelled, 6),
        }
        for frame in prelabels.frames
        if frame.name in changes
    }
    annotators = sorted({name for each in changes.values() for name in each.annotators})
    provenance = {
        "model": prelabels.model,
        "prelabelled": prelabels.created.isoformat(timespec="seconds"),
        "prelabels_sha256": known.sha256,
        "tolerance": prelabels.tolerance,
        "tool": TOOLS[returned.format],
        "annotators": annotators,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": returned.files,
        "corrected": corrected,
        "corrected_by_category": by_category,
        "counts": counts,
        "matched": dict(returned.matched),
        "shapes": dict(shapes),
        "left_out": dict(left_out),
        "frames": frames,
    }
    return Imported(
        destination,
        prelabels.model,
        TOOLS[returned.format],
        corrected,
        by_category,
        counts,
        tuple(notes),
        provenance,
    )


def _source(
    name: str, frames: Iterable[PrelabelledFrame], split: Literal["train", "val"] | None
) -> str:
    suffixes = sorted({PurePosixPath(frame.image).suffix for frame in frames})
    pairs = [
        {"images": f"images/{{name}}{suffix}", "labels": "labels/{name}.png"}
        | ({"split": split} if split else {})
        for suffix in suffixes
    ]
    tree: dict[str, Any] = {"name": name, "label_space": LABELS, "pairs": pairs}
    if not split:
        tree["joins_splits"] = True
    return yaml.safe_dump(tree, sort_keys=False)


def _encode(ids: np.ndarray, space: LabelSpace) -> bytes:
    """A label image in the encoding of the label space."""
    if space.encoding == "ids":
        return encode_png(ids)
    rgb = np.zeros((256, 3), np.uint8)
    for label in space.drawn:
        rgb[label.id] = label.color if space.encoding == "colors" else (label.id, 0, 0)
    return encode_png(rgb[ids])


def _refuse_other_import(destination: Path, known: ReadPrelabels) -> None:
    """Refuse to replace labels of other frames."""
    try:
        before = json.loads((destination / PROVENANCE).read_text())
    except (OSError, ValueError):
        return  # atomic_folder refuses any other folder
    if not isinstance(before, dict) or before.get("prelabels_sha256") != known.sha256:
        raise StreetsegError(
            f"{destination} holds labels of other pre-labels than those in {known.folder}: choose "
            "another folder"
        )


def _refuse_unknown_labels(
    returned: Returned, drawer: _Drawer, frames: Iterable[PrelabelledFrame]
) -> None:
    where: dict[str, str] = {}
    for frame in frames:
        if frame.name in returned.pictures:
            for label in drawer.undefined(returned.pictures[frame.name]):
                where.setdefault(label, frame.name)
    if where:
        listed = ", ".join(f"'{label}' (in {name})" for label, name in where.items())
        raise StreetsegError(
            f"the export has labels that the model does not know: {listed}: give these shapes "
            f"one of {', '.join(drawer.names.categories)}"
        )


def _refuse_other_size(picture: Picture, frame: PrelabelledFrame, export: Path) -> None:
    if picture.size in (None, frame.size):
        return
    assert picture.size
    turned = picture.size == frame.size[::-1]
    hint = (
        "the tool did not turn it by its Exif orientation: turn the image itself, and export again"
        if turned
        else "it is another image, or the tool resized it"
    )
    raise StreetsegError(
        f"{export}: {frame.name} is {picture.size[1]}x{picture.size[0]} there, but was exported as "
        f"{frame.size[1]}x{frame.size[0]}: {hint}"
    )


def _refuse_unfinished(
    left_out: Mapping[str, str], count: int, export: Path, partial: bool
) -> None:
    unfinished = {name: reason for name, reason in left_out.items() if reason != EXPECTED}
    if unfinished and not partial:
        first, reason = next(iter(unfinished.items()))
        raise StreetsegError(
            f"{export}: {len(unfinished)} of {count} frames are not finished "
            f"({_summary(unfinished)}; the first is {first}, {reason}): finish them there, or "
            "leave them out by --partial"
        )


def _summary(left_out: Mapping[str, str]) -> str:
    counts = Counter(left_out.values())
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
