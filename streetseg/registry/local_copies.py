"""Copies of registered models on this machine, to serve while the registry is away."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from streetseg.config.params import Registry
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StreetsegError, one_line
from streetseg.inference.artifact import read_config
from streetseg.registry.versions import ModelVersion, download_version, find_uri
from streetseg.tracking.metric_names import read_iou, read_scores
from streetseg.tracking.read import find_run
from streetseg.tracking.store import connect, is_reference, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger("streetseg.serving")

VERSION = "version.json"
"""The registry's description of the version, beside the files of the model artifact."""

TRAINING_ONLY = ("weights.safetensors", "trained_on.txt")
KEPT = 3


class VersionInfo(BaseModel):
    """A registered version as its local copy describes it (``version.json``)."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    run_id: str
    data_version: str | None
    git_revision: str | None
    pipeline_run: str | None = None
    metrics: dict[str, float] = {}
    run_gone: bool = False
    """Whether MLflow no longer had the run when the version was copied: it has no metrics then."""


def copy_model(uri: str, registry: Registry, destination: Path) -> Path:
    """Copy what serving needs of a registered model into a folder, all of it or nothing.

    ``uri`` is as in :func:`streetseg.registry.versions.find_uri`. ``version.json`` in the folder
    holds the version, its origin and scores.

    Raises:
        StreetsegError: no such model, or the folder cannot be written.
    """
    if not is_reference(uri):
        raise StreetsegError(f"'{uri}' is no registered model: write models:/NAME/VERSION")
    client = connect(registry)
    return _copy(client, find_uri(client, uri), destination)


def _copy(client: MlflowClient, version: ModelVersion, destination: Path) -> Path:
    with TemporaryDirectory(prefix="streetseg-") as scratch:
        source = download_version(client, version, Path(scratch))
        info = _describe(client, version, read_config(source))
        with atomic_folder(destination, "config.json") as folder:
            skip = shutil.ignore_patterns(*TRAINING_ONLY)
            shutil.copytree(source, folder, ignore=skip, dirs_exist_ok=True)
            (folder / VERSION).write_text(info.model_dump_json(indent=1) + "\n")
    return destination


def _describe(
    client: MlflowClient, version: ModelVersion, config: Mapping[str, Any]
) -> VersionInfo:
    """The version as the registry describes it, or as its artifact does if it was copied there."""
    run_id = version.run_id or config["run_id"]
    with translate_errors(f"cannot read the run of {version.name} version {version.version}"):
        run = find_run(client, run_id)
    if run is None:
        logger.warning(
            "version %s of %s: its run %s is gone from MLflow, its scores are unknown",
            version.version,
            version.name,
            run_id,
        )
    metrics = run.data.metrics if run else {}
    iou = {f"iou_{category}": value for category, value in read_iou(metrics).items()}
    scores = read_scores(metrics) | iou
    return VersionInfo(
        name=version.name,
        version=version.version,
        run_id=run_id,
        data_version=version.tags.get("data_version", config["data_version"]),
        git_revision=version.tags.get("git_revision", config["git_revision"]),
        pipeline_run=version.tags.get("pipeline_run"),
        run_gone=run is None,
        metrics={name: value for name, value in scores.items() if math.isfinite(value)},
    )


def read_version_info(folder: Path) -> VersionInfo:
    """Describe the version in a folder; for a model that was never registered, from its artifact.

    Raises:
        StreetsegError: the folder is no model artifact, or its ``version.json`` is damaged.
    """
    config = read_config(folder)
    path = folder / VERSION
    if not path.exists():
        return VersionInfo(
            name=folder.resolve().name,
            version="unregistered",
            run_id=config["run_id"],
            data_version=config["data_version"],
            git_revision=config["git_revision"],
            metrics={},
        )
    try:
        return VersionInfo.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StreetsegError(f"{path} cannot be read: {one_line(error)}") from None


class LocalCopies:
    """The last ``KEPT`` versions of a registered model that served, in a folder."""

    def __init__(self, root: Path, registry: Registry) -> None:
        """Keep copies in ``root / model_name``, by version and run: each registry counts from 1."""
        self._root = root / registry.model_name
        self._registry = registry
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            writable = os.access(self._root, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            self._root = Path(tempfile.mkdtemp(prefix="streetseg-"))
            logger.warning(
                "%s cannot be written: copies go to %s, which a restart may not find; "
                "set serve.cache to a folder that can be",
                root,
                self._root,
            )

    def folder(self, version: ModelVersion) -> Path:
        """The folder of a version, whether it exists or not."""
        origin = version.run_id[:12] or f"{version.registered:%Y%m%d%H%M%S%f}"
        return self._root / f"{version.version}-{origin}"

    def fetch(self, version: ModelVersion) -> Path:
        """The folder of a version, copied from the registry unless it exists.

        Of several processes one copies, and the others wait for it.

        Raises:
            StreetsegError: it does not exist and cannot be downloaded.
        """
        folder = self.folder(version)
        with self._lock():
            if not (folder / VERSION).exists():
                for leftover in self._root.glob("*.partial"):  # of a killed process
                    shutil.rmtree(leftover, ignore_errors=True)
                _copy(connect(self._registry), version, folder)
        return folder

    def used(self, folder: Path) -> None:
        """Mark a version as the last that served, and remove all but the last ``KEPT``."""
        os.utime(folder)
        for unused in self.latest()[KEPT:]:
            shutil.rmtree(unused, ignore_errors=True)

    def latest(self) -> list[Path]:
        """The folders of the copies, the one that served last first."""
        copies = []
        for path in self._root.glob(f"*/{VERSION}"):
            if path.parent.suffix == ".partial":
                continue
            with suppress(FileNotFoundError):  # another process has just removed it
                copies.append((path.parent.stat().st_mtime, path.parent))
        return [folder for _, folder in sorted(copies, reverse=True)]

    def identity(self, version: ModelVersion) -> tuple[int, int] | None:
        """What tells a copy of a version from a later one; None if there is no copy."""
        try:
            status = (self.folder(version) / VERSION).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def drop(self, version: ModelVersion, damaged: tuple[int, int] | None) -> None:
        """Remove the damaged copy of a version, unless another process has replaced it."""
        with self._lock():
            if self.identity(version) == damaged:
                shutil.rmtree(self.folder(version), ignore_errors=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Wait until no other process writes copies, and make the others wait."""
        with (self._root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
