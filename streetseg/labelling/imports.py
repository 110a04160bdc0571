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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import yaml

from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.progress import track
from streetseg.data.label_names import unlabelled_id
from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.images.encode import encode_png
from streetseg.labelling.frame_drawer import MAX_UNLABELLED, FrameDrawer
from streetseg.labelling.outlines import outlines
from streetseg.labelling.prelabels import PrelabelledFrame, ReadPrelabels, read_prelabels
from streetseg.labelling.returned import Kind, Returned, format_of, read_returned
from streetseg.labelling.writers import WRITERS

PROVENANCE, SOURCE, LABELS = "provenance.json", "source.yaml", "labels.yaml"
TOOLS: dict[Kind, str] = {
    "cityscapes": "Cityscapes polygons",
    "coco": "COCO",
    "cvat": "CVAT for images 1.1",
    "label-studio": "Label Studio",
    "labelme": "labelme",
    "masks": "colour masks",
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
    drawer = FrameDrawer(space, format_of(returned.format))
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
    nothing = prelabels.labels.category_of[unlabelled_id(prelabels.labels)]
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
    returned: Returned, drawer: FrameDrawer, frames: Iterable[PrelabelledFrame]
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
