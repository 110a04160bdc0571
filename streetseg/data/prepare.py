"""From source frames to a prepared dataset: remapped, resized, indexed, ready to memory-map.

A prepared dataset is a folder::

    dataset.json                       format, source, size, label space, counts
    index.parquet                      one row per frame; skipped ones have row -1 and an error
    <split>/<city>/images.npy          uint8[frames, height, width, 3], RGB
    <split>/<city>/categories.npy      uint8[frames, height, width], category ids or 255
    val/<city>/label_ids/<frame>.png   the label ids at native size, for the official score
    val/<city>/instances/<frame>.png   instance ids, if the source has them, for the iIoU

It is built shard by shard in ``<folder>.partial``, which is renamed when it is complete. A call
resumes an interrupted one: finished shards whose source files have not changed are kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streetseg.config.params import Params
from streetseg.core.atomic_files import atomic_folder, unfinished_path
from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import parallel_map
from streetseg.core.sampling import evenly_spaced
from streetseg.data.annotations.files import read_bytes
from streetseg.data.collection import Collection, load_sources
from streetseg.data.dataset import DESCRIPTION, FORMAT, FORMAT_WITH_FIT, INDEX
from streetseg.data.frame_annotations import (
    attach_pictures,
    file_hash,
    refuse_incomplete,
    refuse_unusable_pictures,
)
from streetseg.data.instances import all_exist
from streetseg.data.label_files import (
    UndefinedLabelsError,
    ids_in,
    name_undefined,
    undefined_labels,
)
from streetseg.data.numbering import (
    other_numberings,
    recognize,
    refuse_improbable,
    settled,
    warn_of_palette,
)
from streetseg.data.shards import SHAPES, Rows, ShardSpec, plan_shards, write_frame
from streetseg.data.sources import Frame, Source
from streetseg.data.splits import SCORED, SPLITS, USED_SPLITS
from streetseg.images.decode import decode_ids
from streetseg.images.errors import BadImageError

MAX_INSPECTED = 16
"""Label images of a split that are read to recognize a numbering."""
MIN_IDS = 3
"""Ids that must occur in them: fewer are no evidence for another numbering."""


def prepare(params: Params, split: str | None = None) -> Path:
    """Write the prepared dataset of ``params.data.root`` to ``params.data.prepared``, atomically.

    With a ``split``, only its frames are prepared.

    Raises:
        StreetsegError: the destination cannot be written, or is no prepared dataset; with
            ``prepare.on_error=fail``, a frame is incomplete or unusable; with ``skip``, all are.
    """
    source = load_sources(params.data)
    for member in source.members:
        _refuse_overlap(params.data.prepared, params.data.root / member.folder)
    frames, unused = source.find_with_unused(params.data.root)
    if split:
        frames = [frame for frame in frames if frame.split == split]
        if not frames:
            raise StreetsegError(f"{params.data.root} holds no frames of the split '{split}'")
    elif unused:
        counts = ", ".join(f"{count} frames of {split}" for split, count in unused.items())
        print(
            f"{counts} left out: only {' and '.join(SPLITS)} are used; to use them, write a source "
            "with a pair for them and 'split: train', 'split: val' or 'split: test'",
            file=sys.stderr,
        )
    if params.prepare.on_error == "fail":
        refuse_incomplete(frames, params.data.root)
    frames, notes = attach_pictures(frames, params.data.root)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if params.prepare.on_error == "fail":
        refuse_unusable_pictures(frames)
    complete = [f for f in frames if f.image.exists() and f.label.exists()]
    all_exist(f.instances for f in complete if f.instances and f.split in SCORED)
    return write_dataset(source, frames, params, params.data.prepared)


def write_dataset(
    source: Collection, frames: Sequence[Frame], params: Params, destination: Path
) -> Path:
    """Prepare ``frames`` of a source; otherwise like :func:`prepare`."""
    root = params.data.root
    specs = {
        member.name: ShardSpec(
            root=root,
            size=params.prepare.size,
            labels=source.labels,
            file_labels=member.source.file_labels,
            ids=member.source.ids,
            skip_errors=params.prepare.on_error == "skip",
            format=FORMAT,
            fit=params.prepare.fit,
        )
        for member in source.members
    }
    for member in source.members:
        of_member = [frame for frame in frames if frame.source == member.name]
        refuse_improbable_ids(member.source, of_member, root)
    hint = "set data.prepared to a folder you may write to"
    with atomic_folder(destination, DESCRIPTION, hint, resumable=True) as folder:
        shards = plan_shards(frames, folder, specs)
        rows = {shard: shard.finished() for shard in shards}
        pending = [shard for shard in shards if rows[shard] is None]
        jobs = [job for shard in pending for job in shard.begin()]
        written = parallel_map(
            write_frame, jobs, workers=params.prepare.workers, description="prepare"
        )
        try:
            for shard in pending:
                rows[shard] = shard.finish(list(islice(written, len(shard.frames))))
        except UndefinedLabelsError as error:
            raise _all_undefined(frames, specs, params.prepare.workers, error) from None

        every_row = [row for shard_rows in rows.values() for row in shard_rows or []]
        index = pd.DataFrame(every_row).drop(columns=SHAPES, errors="ignore")
        for column in ("source", "condition"):
            if column in index:
                index[column] = index[column].fillna("")
        if not (index["error"] == "").any():
            raise StreetsegError(f"no frame of {root} can be used: {index['error'][0]}")
        index.to_parquet(folder / INDEX, index=False)
        description = _describe(index, source, params) | _describe_labels(every_row, frames, root)
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
        for shard in shards:
            shard.close()
    return destination


def refuse_improbable_ids(source: Source, frames: Sequence[Frame], root: Path) -> None:
    """Look at label images of each split until they hold what label ids alone do.

    A numbering that was recognized is told on standard error, and a palette that contradicts
    ``ids`` too.

    Raises:
        StreetsegError: ``MAX_INSPECTED`` do not, and another numbering fits better.
    """
    labels = source.file_labels
    if labels.encoding != "ids" or not other_numberings(labels):
        return
    for split in USED_SPLITS:
        members = [frame for frame in frames if frame.split == split and not frame.format]
        if source.ids:
            if members and members[0].label.exists():
                path = members[0].label
                warn_of_palette(read_bytes(path), path, labels, source.ids, "'ids: {}'")
            continue
        values, recognized = np.zeros(256, bool), set()
        rows = evenly_spaced(len(members), MAX_INSPECTED)
        for path in (members[row].label for row in rows):
            try:
                data = path.read_bytes()
                if numbering := recognize(data, path, root, labels):
                    recognized.add(numbering.name)
                else:
                    values[ids_in(decode_ids(data))] = True
            except (OSError, BadImageError):
                continue  # told when the frame is prepared
            if settled(values, labels):
                break
        masks = f"the label images of {split} in {root}"
        if others := recognized - {"label"}:
            print(f"{masks} are numbered by {', '.join(sorted(others))}", file=sys.stderr)
        refuse_improbable(values, labels, masks, "'ids: {}' in data.source", MIN_IDS)


def _all_undefined(
    frames: Sequence[Frame],
    specs: Mapping[str, ShardSpec],
    workers: int,
    first: UndefinedLabelsError,
) -> StreetsegError:
    """The error for every label that is not defined; ``first`` is that of a frame."""
    of_label = partial(_undefined_labels, specs=specs)
    found = list(parallel_map(of_label, frames, workers=workers, description="undefined labels"))
    undefined = sorted({label for of_frame in found for label in of_frame}, key=_ids_first)
    count = sum(map(bool, found))
    total = f"; in all, {count} of {len(frames)} frames hold {name_undefined(undefined)}"
    return StreetsegError(
        f"{first}{total if count > 1 or len(undefined) > 1 else ''}: add them to the labels of "
        "the label space (without a category to ignore their pixels), check data.source, or set "
        "prepare.on_error=skip"
    )


def _undefined_labels(frame: Frame, specs: Mapping[str, ShardSpec]) -> list[int | str]:
    spec = specs[frame.source]
    return undefined_labels(frame, spec.file_labels, spec.ids, spec.root)


def _describe(index: pd.DataFrame, source: Collection, params: Params) -> dict[str, Any]:
    usable, root = index[index["error"] == ""], params.data.root
    stretched = params.prepare.fit == "stretch"  # as in releases without the setting
    return {
        "format": FORMAT if stretched else FORMAT_WITH_FIT,
        "source": source.file,
        "source_name": source.name_in(root),
        "source_hash": source.fingerprint,
        "cities_are_places": source.places,
        "size": list(params.prepare.size),
        **({} if stretched else {"fit": params.prepare.fit}),
        "frames": {
            split: {city: int(n) for city, n in cities.value_counts(sort=False).items()}
            for split, cities in usable.groupby("split")["city"]
        },
        "skipped": int(len(index) - len(usable)),
        "label_space": source.labels.to_dict(),
    }


def _ids_first(label: int | str) -> tuple[bool, int | str]:
    return isinstance(label, str), label


def _describe_labels(rows: Rows, frames: Sequence[Frame], root: Path) -> dict[str, Any]:
    """The counts of shapes, and hashes of label files that hold all of many pictures."""
    if not any(frame.format for frame in frames):
        return {}
    counts: dict[str, int] = {}
    for row in rows:
        for key, count in row.get(SHAPES, {}).items():
            counts[key] = counts.get(key, 0) + count
    files = sorted({f.label for f in frames if f.picture and not f.picture.segments})
    return {
        "shapes": dict(sorted(counts.items())),
        "label_files": {path.relative_to(root).as_posix(): file_hash(path) for path in files},
    }


def _refuse_overlap(destination: Path, root: Path) -> None:
    source = root.resolve()
    for output in (destination.resolve(), unfinished_path(destination.resolve())):
        if output.is_relative_to(source) or source.is_relative_to(output):
            raise StreetsegError(
                f"data.prepared ({destination}) and data.root ({root}) overlap: name two folders, "
                "neither inside the other"
            )
