"""Making one data version of the parts of a dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.parts.staging import Finished, PlannedShard, Staging
from streetseg.data.prepare import write_index
from streetseg.data.remote import Files, Remote, open_remote
from streetseg.data.shards import ARRAYS, Rows, concatenate_arrays, number_rows


@dataclass(frozen=True)
class Joined:
    """A data version in the remote."""

    version: str
    files: int
    size: int
    """Bytes."""
    frames: dict[str, int]
    """Usable frames by split."""
    notes: list[str]
    """What was skipped, and what became of shapes, a line each."""

    def to_markdown(self) -> str:
        """A page for the run."""
        frames = ", ".join(f"{count} in {split}" for split, count in sorted(self.frames.items()))
        lines = [
            f"# Data version {self.version}",
            f"{frames}; {self.files} files, {self.size / 1e9:.3g} GB",
            *self.notes,
            "In the project, with the settings of this run in `params.yaml`:",
            f"```\nstreetseg adopt {self.version}\ngit add dvc.lock && git commit\n```",
        ]
        return "\n\n".join(lines) + "\n"


def join(parts: Sequence[str]) -> Joined:
    """Make the data version of a plan whose parts are finished, and publish it in the DVC remote.

    Only shards that were cut are read: their arrays are put together. Nothing is published unless
    all files are in the remote.

    Args:
        parts: their addresses, from :func:`streetseg.data.parts.plan.plan`.

    Raises:
        StreetsegError: a part is not finished, no frame can be used, or storage fails.
    """
    if not parts:
        raise StreetsegError("no part is named: give those that the step plan-parts has")
    staging, part = Staging.of_part(parts[0])
    common = staging.read_plan(part)
    rows: Rows = []
    files: Files = {}
    with open_remote(staging.remote) as objects, tempfile.TemporaryDirectory() as scratch:
        for shard in common.shards:
            finished = _finish(shard, staging, objects)
            rows += finished.rows
            files |= {f"{shard.folder}/{path}": each for path, each in finished.files.items()}
        folder = Path(scratch)
        write_index(folder, rows, common.description, common.frames)
        files |= objects.push(folder)
        version = objects.publish(files)
        dataset = PreparedDataset(folder)
    return Joined(
        version=version,
        files=len(files),
        size=sum(size for _, size in files.values()),
        frames={str(split): int(n) for split, n in dataset.index["split"].value_counts().items()},
        notes=[note for note in (dataset.skip_summary, dataset.shape_summary) if note],
    )


def _finish(shard: PlannedShard, staging: Staging, objects: Remote) -> Finished:
    """The finished shard; one that was cut is put together first."""
    if finished := staging.read_finished(shard.fingerprint):
        return finished
    if shard.pieces == [shard.fingerprint]:
        raise _not_finished(shard)
    pieces = [_read(piece, shard, staging) for piece in shard.pieces]
    rows = [row for piece in pieces for row in piece.rows]
    number_rows(rows)
    files = {path: each for piece in pieces for path, each in piece.files.items()}
    if any(not row["error"] for row in rows):
        files |= _put_together(shard.pieces, staging, objects)
    finished = Finished(rows, files)
    staging.write_finished(shard.fingerprint, finished)
    for piece in shard.pieces:
        staging.remove_arrays(piece)
    return finished


def _read(piece: str, shard: PlannedShard, staging: Staging) -> Finished:
    if finished := staging.read_finished(piece):
        return finished
    raise _not_finished(shard)


def _put_together(pieces: Sequence[str], staging: Staging, objects: Remote) -> Files:
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        for piece in pieces:
            staging.read_arrays(piece, Path(scratch))
        for name in ARRAYS:
            of_pieces = [Path(scratch) / "pieces" / piece / f"{name}.npy" for piece in pieces]
            concatenate_arrays(of_pieces, whole / f"{name}.npy")
        return objects.push(whole)


def _not_finished(shard: PlannedShard) -> StreetsegError:
    return StreetsegError(f"{shard.folder} is not finished: run the parts that prepare it")
