"""What was measured of each frame, in a file that a stopped call goes on with.

One JSON object per line, so that memory does not grow with the number of frames, and a line that a
killed process left unfinished is dropped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.core.errors import StreetsegError


@dataclass(frozen=True)
class Measured:
    """A frame, and what a model makes of it."""

    path: str
    stamp: str
    """Changes with the file: see :meth:`streetseg.core.storage.Storage.stamps`."""
    image_hash: str = ""
    phash: str = ""
    """As in the prepared index."""
    scores: tuple[float, ...] = ()
    """Entropy, margin and disagreement."""
    fractions: tuple[float, ...] = ()
    """Predicted fraction of each category."""
    embedding: np.ndarray | None = None
    """float16[d]."""
    error: str = ""
    """Why it cannot be used."""

    def to_line(self) -> str:
        """JSON, without a line break."""
        content = asdict(self) | {"embedding": None}
        if self.embedding is not None:
            content["embedding"] = base64.b64encode(self.embedding.tobytes()).decode()
        return json.dumps(content)

    @classmethod
    def from_line(cls, line: str | bytes) -> Measured:
        """The inverse of :meth:`to_line`; ValueError or TypeError for anything else."""
        content: dict[str, Any] = json.loads(line)
        if content["embedding"] is not None:
            data = base64.b64decode(content["embedding"])
            content["embedding"] = np.frombuffer(data, np.float16)
        return cls(**content)


class Ledger:
    """Measured frames in a file; the first line says what the measures depend on."""

    def __init__(self, path: Path, key: str) -> None:
        """Go on with the file, or begin a new one if it was made with another ``key``."""
        self.path = path
        self._offsets: dict[str, tuple[str, int]] = {}
        if not self._read(key):
            path.write_text(json.dumps(key) + "\n")
            self._offsets.clear()
        self._file = path.open("ab")

    def _read(self, key: str) -> bool:
        """Note where each frame is; cut off an unfinished line. False if there is no such file."""
        if not self.path.exists():
            return False
        with self.path.open("r+b") as file:
            if file.readline() != (json.dumps(key) + "\n").encode():
                return False
            offset = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                measured = Measured.from_line(line)
                self._offsets[measured.path] = measured.stamp, offset
                offset += len(line)
            file.truncate(offset)
        return True

    def has(self, path: str, stamp: str) -> bool:
        """Whether the frame was measured, and has not changed since."""
        return self._offsets.get(path, ("", 0))[0] == stamp

    def add(self, measured: Measured) -> None:
        """Append a frame."""
        self._offsets[measured.path] = measured.stamp, self._file.tell()
        self._file.write(f"{measured.to_line()}\n".encode())
        self._file.flush()

    def read(self, stamps: Mapping[str, str]) -> Iterator[Measured]:
        """The measured of these frames, in their order."""
        with self.path.open("rb") as file:
            for path in stamps:
                file.seek(self._offsets[path][1])
                yield Measured.from_line(file.readline())

    def remove(self) -> None:
        """Delete the file."""
        self._file.close()
        self.path.unlink()


@dataclass(frozen=True)
class Table:
    """The usable of some measured frames, one per row."""

    paths: list[str]
    image_hashes: list[str]
    phashes: np.ndarray
    """uint8[N, 32]."""
    scores: np.ndarray
    """float64[N, 3]."""
    fractions: np.ndarray
    """float32[N, C]."""
    embeddings: np.ndarray | None
    """float16[N, d]."""
    errors: dict[str, str]
    """Why the others cannot be used, by path."""

    @classmethod
    def of(cls, measured: Iterator[Measured], count: int) -> Table:
        """Read at most ``count`` frames.

        Raises:
            StreetsegError: none can be used.
        """
        errors: dict[str, str] = {}
        columns: dict[str, np.ndarray] = {}
        paths, hashes = list[str](), list[str]()
        for frame in measured:
            if frame.error:
                errors[frame.path] = frame.error
                continue
            row = {
                "phashes": np.frombuffer(bytes.fromhex(frame.phash), np.uint8),
                "scores": np.array(frame.scores),
                "fractions": np.array(frame.fractions, np.float32),
            }
            if frame.embedding is not None:
                row["embeddings"] = frame.embedding
            for name, values in row.items():
                if not paths:
                    columns[name] = np.empty((count, *values.shape), values.dtype)
                columns[name][len(paths)] = values
            paths.append(frame.path)
            hashes.append(frame.image_hash)
        if not paths:
            path, error = next(iter(errors.items()))
            raise StreetsegError(
                f"none of the {count} images can be used; the first, {path}, {error}"
            )
        filled = {name: column[: len(paths)] for name, column in columns.items()}
        return cls(
            paths, hashes, embeddings=filled.pop("embeddings", None), errors=errors, **filled
        )
