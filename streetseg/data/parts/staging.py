"""The notes that the parts of a dataset share, in its DVC remote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage
from streetseg.data.remote import Files
from streetseg.data.shards import ARRAYS, Rows

FOLDER, PLAN = "streetseg-parts", "plan.json"


@dataclass(frozen=True)
class Piece:
    """Frames of one shard that are prepared together."""

    fingerprint: str
    """A digest of its inputs and of the code; that of the shard if it is all of it."""
    shard: str
    """The fingerprint of the shard."""
    folder: str
    """Of the shard in the dataset, as ``train/aachen``."""
    source: str
    """Of its frames, the key of the specs."""
    frames: list[dict[str, Any]]
    """As in :func:`streetseg.data.parts.plan.frame_to_dict`."""
    files: list[str]
    """The source files of the frames that exist."""

    @property
    def is_shard(self) -> bool:
        """Whether it is all of its shard."""
        return self.fingerprint == self.shard


@dataclass(frozen=True)
class PlannedShard:
    """A shard, and the pieces that it is made of, in the order of its frames."""

    folder: str
    fingerprint: str
    pieces: list[str]


@dataclass(frozen=True)
class Plan:
    """All that the parts of a dataset have in common."""

    frames: str
    """Folder or prefix of the source frames."""
    workers: int
    specs: dict[str, dict[str, Any]]
    """As in :func:`streetseg.data.parts.plan.spec_to_dict`."""
    shards: list[PlannedShard]
    description: dict[str, Any]
    """Of ``dataset.json``, without the counts."""


@dataclass(frozen=True)
class Finished:
    """A finished piece of a shard."""

    rows: Rows
    files: Files
    """In the remote, by their paths relative to the shard."""


class Staging:
    """The folder ``streetseg-parts`` in a DVC remote."""

    def __init__(self, remote: str) -> None:
        """Of the remote at a URL."""
        self.remote = remote
        self._address = f"{remote.rstrip('/')}/{FOLDER}"
        self._storage = Storage(self._address)

    @classmethod
    def of_part(cls, address: str) -> tuple[Staging, str]:
        """The folder that a part lies in, and the path of the part in it."""
        remote, folder, path = address.rpartition(f"/{FOLDER}/")
        if not folder:
            raise StreetsegError(f"'{address}' is no part: take those that the step plan-parts has")
        return cls(remote), path

    def write_plan(self, plan: Plan, parts: list[list[Piece]]) -> list[str]:
        """Write a plan, and return the address of each part."""
        texts = [_to_json(list[Piece], part) for part in parts]
        common = _to_json(Plan, plan)
        name = hashlib.sha256(b"".join([common, *texts])).hexdigest()[:16]
        self._storage.write(f"plans/{name}/{PLAN}", common)
        for number, text in enumerate(texts):
            self._storage.write(f"plans/{name}/{number}.json", text)
        return [f"{self._address}/plans/{name}/{number}.json" for number in range(len(texts))]

    def read_plan(self, part: str) -> Plan:
        """Read what a part has in common with the others; StreetsegError if it is gone."""
        return _from_json(Plan, self._storage.read(f"{part.rpartition('/')[0]}/{PLAN}"))

    def read_part(self, part: str) -> list[Piece]:
        """Read the pieces of a part; StreetsegError if it is gone."""
        return _from_json(list[Piece], self._storage.read(part))

    def write_finished(self, fingerprint: str, finished: Finished) -> None:
        """Note that a piece or shard is finished."""
        self._storage.write(f"shards/{fingerprint}.json", _to_json(Finished, finished))

    def read_finished(self, fingerprint: str) -> Finished | None:
        """Read the note of a piece or shard; None if there is none."""
        path = f"shards/{fingerprint}.json"
        if not self._storage.exists(path):
            return None
        return _from_json(Finished, self._storage.read(path))

    def write_arrays(self, fingerprint: str, folder: Path) -> None:
        """Keep the arrays of a piece that is not the whole shard."""
        for name in ARRAYS:
            self._storage.upload(folder / f"{name}.npy", f"pieces/{fingerprint}/{name}.npy")

    def has_arrays(self, fingerprint: str) -> bool:
        """Whether the arrays of a piece are there."""
        return all(self._storage.exists(f"pieces/{fingerprint}/{name}.npy") for name in ARRAYS)

    def read_arrays(self, fingerprint: str, folder: Path) -> None:
        """Copy the arrays of a piece to ``folder/pieces/<fingerprint>``."""
        (folder / "pieces" / fingerprint).mkdir(parents=True)
        self._storage.download([f"pieces/{fingerprint}/{name}.npy" for name in ARRAYS], folder)

    def remove_arrays(self, fingerprint: str) -> None:
        """Remove the arrays of a piece, whose shard is complete now."""
        for name in ARRAYS:
            self._storage.remove(f"pieces/{fingerprint}/{name}.npy")


def _to_json(kind: Any, value: Any) -> bytes:
    return TypeAdapter(kind).dump_json(value)


def _from_json(kind: Any, text: bytes) -> Any:
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError:
        raise StreetsegError(
            f"a note below {FOLDER}/ of the DVC remote is damaged, or of another version: remove "
            "that folder, and run the pipeline again"
        ) from None
