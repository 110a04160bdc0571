"""A local cache of prepared datasets by data version, which saves later runs the download."""

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
    ensure_replaceable(destination, DESCRIPTION)
    cached = cache / version
    try:
        if cached.is_dir() and _copy_from_cache(cached, version, destination):
            print(f"data version {version} comes from the cache")
            return destination
    except OSError as error:
        _warn(f"cannot read {cached}: {os_reason(error)}")
    fetch(version, remote, destination)
    try:
        _copy_to_cache(destination, cached)
    except OSError as error:
        _warn(f"cannot write {cache}: {os_reason(error)}")
    return destination


def _copy_from_cache(cached: Path, version: str, destination: Path) -> bool:
    """Copy a dataset to its destination, unless its hash is not its name."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        copy = shutil.copytree(cached, Path(scratch) / "prepared", copy_function=shutil.copyfile)
        if data_version(copy) == version:
            replace_folder(copy, destination)
            return True
    _warn(f"{cached} does not match its hash: it is fetched again")
    shutil.rmtree(cached)
    return False


def _copy_to_cache(dataset: Path, cached: Path) -> None:
    """Copy a dataset to the cache, where it appears atomically; the first copy stays."""
    for old in cached.parent.glob(f"{UNFINISHED}*"):
        if time.time() - old.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cached.parent, prefix=UNFINISHED) as scratch:
        copy = shutil.copytree(dataset, Path(scratch) / "prepared", copy_function=shutil.copyfile)
        try:
            copy.rename(cached)
        except OSError:
            if not cached.is_dir():
                raise


def _warn(problem: str) -> None:
    print(f"warning: the data cache cannot be used: {problem}", file=sys.stderr)
