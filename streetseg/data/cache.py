"""Prepared datasets kept by data version, so that the next run does not fetch them again."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from streetseg.core.atomic_files import ensure_replaceable, os_reason, replace_folder
from streetseg.data.dataset import DESCRIPTION, data_version
from streetseg.data.versions import DATA_VERSION, fetch

UNFINISHED = ".unfinished-"
ABANDONED_S = 24 * 3600
"""Age at which a copy that nobody has finished is removed."""


def fetch_through(cache: Path | None, version: str, remote: str, destination: Path) -> Path:
    """Bring a prepared dataset from the cache, else from its DVC remote, and keep it.

    What comes out of the cache is hashed again. Many may use a cache at once. One that cannot be
    read or written, or is damaged, costs a warning and the time to fetch.

    Args:
        cache: a folder; None for no cache.
        version: a data version, ``<md5>.dir``.
        remote: URL of the DVC remote.
        destination: the folder to make; replaced if it is a prepared dataset.

    Raises:
        StreetsegError: see :func:`streetseg.data.versions.fetch`.
    """
    if cache is None or not DATA_VERSION.fullmatch(version):
        return fetch(version, remote, destination)
    ensure_replaceable(destination, DESCRIPTION)
    kept = cache / version
    try:
        if kept.is_dir() and _take(kept, version, destination):
            print(f"data version {version} comes from the cache")
            return destination
    except OSError as error:
        _warn(f"cannot read {kept}: {os_reason(error)}")
    fetch(version, remote, destination)
    try:
        _keep(destination, kept)
    except OSError as error:
        _warn(f"cannot write {cache}: {os_reason(error)}")
    return destination


def _take(kept: Path, version: str, destination: Path) -> bool:
    """Copy a dataset out of the cache, if the copy is what its name says."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        copy = shutil.copytree(kept, Path(scratch) / "prepared", copy_function=shutil.copyfile)
        if data_version(copy) == version:
            replace_folder(copy, destination)
            return True
    _warn(f"{kept} is not what its name says: it is fetched again")
    shutil.rmtree(kept)
    return False


def _keep(dataset: Path, kept: Path) -> None:
    """Copy a dataset into the cache, where it appears whole; whoever comes first is kept."""
    for old in kept.parent.glob(f"{UNFINISHED}*"):
        if time.time() - old.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=UNFINISHED) as scratch:
        copy = shutil.copytree(dataset, Path(scratch) / "prepared", copy_function=shutil.copyfile)
        try:
            copy.rename(kept)
        except OSError:
            if not kept.is_dir():
                raise


def _warn(problem: str) -> None:
    print(f"warning: the data cache is of no use: {problem}", file=sys.stderr)
