"""A local cache of prepared datasets by data version, which saves later runs the download."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from streetseg.core.atomic_files import atomic_folder, lock_destination, os_reason, replace_folder
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import DESCRIPTION, data_version
from streetseg.data.versions import DATA_VERSION, download, fetch

UNFINISHED = ".unfinished-"
ABANDONED_S = 24 * 3600
"""Age in seconds at which an unfinished copy is removed."""


def fetch_through(cache: Path | None, version: str, remote: str, destination: Path) -> Path:
    """Copy a prepared dataset from the cache, or fetch it from its DVC remote and cache it.

    A cached copy is hashed again before it is used. Several processes may share a cache. A cache
    that is damaged, or cannot be read or written, costs a warning and the time to fetch.

    Args:
        cache: None disables the cache.
        destination: replaced if it is a prepared dataset.

    Raises:
        StreetsegError: see :func:`streetseg.data.versions.fetch`.
    """
    if cache is None or not DATA_VERSION.fullmatch(version):
        return fetch(version, remote, destination)
    with atomic_folder(destination, DESCRIPTION) as folder:
        if not _copy_from_cache(cache / version, folder):
            download(version, remote, folder)
            try:
                _copy_to_cache(folder, cache / version)
            except OSError as error:
                _warn(f"cannot write {cache}: {os_reason(error)}")
    return destination


def _copy_from_cache(cached: Path, folder: Path) -> bool:
    """Copy a dataset to an empty folder, which stays empty unless its hash is its name."""
    try:
        if not cached.is_dir():
            return False
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            copy = shutil.copytree(cached, Path(scratch) / "copy", copy_function=shutil.copyfile)
            if data_version(copy) == cached.name:
                for path in copy.iterdir():
                    path.rename(folder / path.name)
                print(f"data version {cached.name} comes from the cache")
                return True
        _warn(f"{cached} does not match its hash: it is fetched again")
    except OSError as error:
        _warn(f"cannot read {cached}: {os_reason(error)}")
    return False


def _copy_to_cache(dataset: Path, cached: Path) -> None:
    """Copy a dataset to the cache, where it appears atomically; the first whole copy stays."""
    for old in cached.parent.glob(f"{UNFINISHED}*"):
        if time.time() - old.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cached.parent, prefix=UNFINISHED) as scratch:
        copy = shutil.copytree(dataset, Path(scratch) / "copy", copy_function=shutil.copyfile)
        # A lock that is taken means that another process puts the same bytes there.
        with suppress(StreetsegError), lock_destination(cached):
            if not cached.is_dir() or data_version(cached) != cached.name:
                replace_folder(copy, cached)


def _warn(problem: str) -> None:
    print(f"warning: the data cache cannot be used: {problem}", file=sys.stderr)
