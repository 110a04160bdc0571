"""kfp's cache of outputs, which notices files that have changed since they were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp.dsl import Artifact
from kfp.local.cache import LocalCache

from streetseg.data.dataset import data_version


class VerifiedCache(LocalCache):
    """The local cache of kfp, with a hash of the artifacts of each entry in ``<key>.md5``.

    kfp reuses the outputs of a task as long as they exist, whatever is in them.
    """

    def __init__(self, root: str, show: Callable[[str], object]) -> None:
        """Keep entries in ``root``; ``show`` is called with a line about files that changed."""
        super().__init__(root)
        self._show = show

    def get(self, key: str) -> dict[str, Any] | None:
        """The outputs of a task; None if there are none, or their files have changed."""
        outputs = super().get(key)
        if outputs is None:
            return None
        try:
            if self._hashes(key).read_text() == _hash_files(outputs):
                return outputs
        except OSError:  # stopped while it was written, or not readable
            pass
        paths = " and ".join(artifact.path for artifact in _artifacts(outputs))
        self._show(f"the files of {paths} have changed since: the step runs again")
        return None

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Keep the outputs of a task."""
        self._hashes(key).write_text(_hash_files(outputs))
        super().put(key, outputs)

    def _hashes(self, key: str) -> Path:
        return Path(self.cache_root) / f"{key}.md5"


def _artifacts(outputs: dict[str, Any]) -> list[Artifact]:
    artifacts = []
    for output in outputs.values():
        values = output if isinstance(output, list) else [output]
        artifacts += [value for value in values if isinstance(value, Artifact)]
    return artifacts


def _hash_files(outputs: dict[str, Any]) -> str:
    """A line per artifact with its hash; of those that were not written, nothing."""
    paths = [Path(artifact.path) for artifact in _artifacts(outputs)]
    return "".join(f"{data_version(path)}\n" for path in paths if path.exists())
