"""The preparation of one part of a dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from streetseg.core.parallel import parallel_map
from streetseg.data.frame_annotations import attach_pictures
from streetseg.data.label_files import UndefinedLabelsError
from streetseg.data.parts.plan import frame_from_dict, spec_from_dict
from streetseg.data.parts.staging import Finished, Piece, Plan, Staging
from streetseg.data.prepare import all_undefined
from streetseg.data.raw import RawFrames
from streetseg.data.remote import Remote, open_remote
from streetseg.data.shards import ARRAYS, LEDGER, Rows, Shard, write_frame

MIN_FRAMES = 500
"""Frames that are fetched and prepared together, unless one piece has more."""


def prepare_part(address: str) -> int:
    """Prepare the frames of a part, and push them to the DVC remote; returns how many it has.

    Pieces that are finished are kept, so that a part which was stopped, or whose frames were
    prepared for an earlier plan, does only what is left. Disk and memory are needed for some
    hundred frames, or for the largest piece.

    Args:
        address: of the part, from :func:`streetseg.data.parts.plan.plan`.

    Raises:
        StreetsegError: there is no such part, a frame cannot be used, or storage fails.
    """
    staging, part = Staging.of_part(address)
    common, pieces = staging.read_plan(part), staging.read_part(part)
    with open_remote(staging.remote) as objects:
        pending = [piece for piece in pieces if not _is_finished(piece, staging, objects)]
        for group in _groups(pending):
            _prepare(group, common, staging, objects)
    frames = sum(len(piece.frames) for piece in pieces)
    kept = frames - sum(len(piece.frames) for piece in pending)
    print(f"{frames} frames{f', {kept} of them finished before' if kept else ''}")
    return frames


def _is_finished(piece: Piece, staging: Staging, objects: Remote) -> bool:
    """Whether the piece, or its shard by an earlier join, is complete in the remote."""
    whole = staging.read_finished(piece.shard)
    if whole and not objects.missing(whole.files):
        return True
    if piece.is_shard:
        return False
    finished = staging.read_finished(piece.fingerprint)
    if finished is None or objects.missing(finished.files):
        return False
    return staging.has_arrays(piece.fingerprint)


def _groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    for piece in pieces:
        group.append(piece)
        if sum(len(each.frames) for each in group) >= MIN_FRAMES:
            yield group
            group = []
    if group:
        yield group


def _prepare(group: Sequence[Piece], plan: Plan, staging: Staging, objects: Remote) -> None:
    files = {path for piece in group for path in piece.files}
    with (
        RawFrames(plan.frames).only(files) as root,
        tempfile.TemporaryDirectory() as scratch,
    ):
        specs = {name: spec_from_dict(spec, root) for name, spec in plan.specs.items()}
        frames = [frame_from_dict(each, piece, root) for piece in group for each in piece.frames]
        frames, _ = attach_pictures(frames, root)
        remaining = iter(frames)
        shards = [
            Shard(
                Path(scratch) / piece.folder,
                tuple(islice(remaining, len(piece.frames))),
                specs[piece.source],
                piece.fingerprint,
            )
            for piece in group
        ]
        jobs = [job for shard in shards for job in shard.begin()]
        written = parallel_map(write_frame, jobs, workers=plan.workers, description="prepare")
        try:
            for piece, shard in zip(group, shards, strict=True):
                rows = shard.finish(list(islice(written, len(shard.frames))))
                _push(piece, shard, rows, staging, objects)
        except UndefinedLabelsError as error:
            raise all_undefined(frames, specs, plan.workers, error) from None


def _push(piece: Piece, shard: Shard, rows: Rows, staging: Staging, objects: Remote) -> None:
    """Push the files of a piece, and note that it is finished."""
    (shard.folder / LEDGER).unlink()
    files = {}
    if not piece.is_shard:
        staging.write_arrays(piece.fingerprint, shard.folder)
        for name in ARRAYS:
            (shard.folder / f"{name}.npy").unlink()
    if any(not row["error"] for row in rows):
        files = objects.push(shard.folder)
    staging.write_finished(piece.fingerprint, Finished(rows, files))
