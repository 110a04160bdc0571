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
    frames = read_frames(source, params, split)
    return write_dataset(source, frames, params, params.data.prepared)


def read_frames(source: Collection, params: Params, split: str | None = None) -> list[Frame]:
    """The frames of ``params.data.root`` in the order of their shards, each checked to be complete.

    What is left out, and what label files have lost, is told on standard error.

    Raises:
        StreetsegError: there are none; with ``prepare.on_error=fail``, a frame is incomplete.
    """
    root = params.data.root
    frames, unused = source.find_with_unused(root)
    if split:
        frames = [frame for frame in frames if frame.split == split]
        if not frames:
            raise StreetsegError(f"{root} holds no frames of the split '{split}'")
    elif unused:
        counts = ", ".join(f"{count} frames of {split}" for split, count in unused.items())
        print(
            f"{counts} left out: only {' and '.join(SPLITS)} are used; to use them, write a source "
            "with a pair for them and 'split: train', 'split: val' or 'split: test'",
            file=sys.stderr,
        )
    if params.prepare.on_error == "fail":
        refuse_incomplete(frames, root)
    frames, notes = attach_pictures(frames, root)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if params.prepare.on_error == "fail":
        refuse_unusable_pictures(frames)
    complete = [f for f in frames if f.image.exists() and f.label.exists()]
    all_exist(f.instances for f in complete if f.instances and f.split in SCORED)
    return frames


def write_dataset(
    source: Collection, frames: Sequence[Frame], params: Params, destination: Path
) -> Path:
    """Prepare ``frames`` of a source; otherwise like :func:`prepare`."""
    root = params.data.root
    specs = shard_specs(source, params)
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
            raise all_undefined(frames, specs, params.prepare.workers, error) from None
        every_row = [row for shard_rows in rows.values() for row in shard_rows or []]
        write_index(folder, every_row, describe(source, frames, params), str(root))
        for shard in shards:
            shard.close()
    return destination


def shard_specs(source: Collection, params: Params) -> dict[str, ShardSpec]:
    """The inputs of shards besides their frames, by ``Frame.source``."""
    return {
        member.name: ShardSpec(
            root=params.data.root,
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


def write_index(folder: Path, rows: Rows, description: dict[str, Any], origin: str) -> None:
    """Write ``index.parquet`` and ``dataset.json`` of the rows, in the order of their shards.

    Args:
        folder: of the dataset.
        rows: from :func:`streetseg.data.shards.write_frame`, with the numbers of their shards.
        description: from :func:`describe`; the counts are filled in.
        origin: what an error calls the source frames.

    Raises:
        StreetsegError: no frame can be used.
    """
    index = pd.DataFrame(rows).drop(columns=SHAPES, errors="ignore")
    for column in ("source", "condition"):
        if column in index:
            index[column] = index[column].fillna("")
    usable = index[index["error"] == ""]
    if usable.empty:
        raise StreetsegError(f"no frame of {origin} can be used: {index['error'][0]}")
    index.to_parquet(folder / INDEX, index=False)
    frames = {
        split: {city: int(n) for city, n in cities.value_counts(sort=False).items()}
        for split, cities in usable.groupby("split")["city"]
    }
    counts: dict[str, Any] = {"frames": frames, "skipped": len(index) - len(usable)}
    if SHAPES in description:
        counts[SHAPES] = _add_shapes(rows)
    (folder / DESCRIPTION).write_text(json.dumps(description | counts, indent=1) + "\n")


def members_to_inspect(source: Source, frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """The frames of each split whose label images :func:`refuse_improbable_ids` may read."""
    labels = source.file_labels
    if labels.encoding != "ids" or not other_numberings(labels):
        return {}
    inspected = {}
    for split in USED_SPLITS:
        members = [frame for frame in frames if frame.split == split and not frame.format]
        rows = [0][: len(members)] if source.ids else evenly_spaced(len(members), MAX_INSPECTED)
        inspected[split] = [members[row] for row in rows]
    return inspected


def refuse_improbable_ids(source: Source, frames: Sequence[Frame], root: Path) -> None:
    """Look at label images of each split until they hold what label ids alone do.

    A numbering that was recognized is told on standard error, and a palette that contradicts
    ``ids`` too.

    Raises:
        StreetsegError: ``MAX_INSPECTED`` do not, and another numbering fits better.
    """
    labels = source.file_labels
    for split, inspected in members_to_inspect(source, frames).items():
        if source.ids:
            if inspected and inspected[0].label.exists():
                path = inspected[0].label
                warn_of_palette(read_bytes(path), path, labels, source.ids, "'ids: {}'")
            continue
        values, recognized = np.zeros(256, bool), set()
        for path in (frame.label for frame in inspected):
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


def all_undefined(
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


def describe(source: Collection, frames: Sequence[Frame], params: Params) -> dict[str, Any]:
    """The content of ``dataset.json``, without the counts, which :func:`write_index` fills in."""
    stretched = params.prepare.fit == "stretch"  # as in releases without the setting
    return {
        "format": FORMAT if stretched else FORMAT_WITH_FIT,
        "source": source.file,
        "source_name": source.name_in(params.data.root),
        "source_hash": source.fingerprint,
        "cities_are_places": source.places,
        "size": list(params.prepare.size),
        **({} if stretched else {"fit": params.prepare.fit}),
        "frames": {},
        "skipped": 0,
        "label_space": source.labels.to_dict(),
        **_describe_label_files(frames, params.data.root),
    }


def _ids_first(label: int | str) -> tuple[bool, int | str]:
    return isinstance(label, str), label


def _describe_label_files(frames: Sequence[Frame], root: Path) -> dict[str, Any]:
    """The place of the counts of shapes, and hashes of label files that hold many pictures."""
    if not any(frame.format for frame in frames):
        return {}
    files = sorted({f.label for f in frames if f.picture and not f.picture.segments})
    hashes = {path.relative_to(root).as_posix(): file_hash(path) for path in files}
    return {SHAPES: {}, "label_files": hashes}


def _add_shapes(rows: Rows) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        for key, count in row.get(SHAPES, {}).items():
            counts[key] = counts.get(key, 0) + count
    return dict(sorted(counts.items()))


def _refuse_overlap(destination: Path, root: Path) -> None:
    source = root.resolve()
    for output in (destination.resolve(), unfinished_path(destination.resolve())):
        if output.is_relative_to(source) or source.is_relative_to(output):
            raise StreetsegError(
                f"data.prepared ({destination}) and data.root ({root}) overlap: name two folders, "
                "neither inside the other"
            )
