"""Data versions: naming a prepared dataset by its DVC hash, and fetching it by that name."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from pathlib import Path

import yaml

from streetseg.errors import StreetsegError

DATA_VERSION = re.compile(r"[0-9a-f]{32}\.dir")
STAGE = "prepare"


def data_version(folder: Path) -> str:
    """The name DVC gives a folder: the md5 of its sorted list of file md5s, ending in ``.dir``."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import localfs

    with tempfile.TemporaryDirectory() as staging:
        _, _, tree = build(HashFileDB(localfs, staging), str(folder), localfs, "md5", dry_run=True)
    return str(tree.hash_info.value)


def resolve(version_or_revision: str, repository: str) -> str:
    """The data version itself, or the one that a git revision of ``repository`` names.

    Raises:
        StreetsegError: neither a data version nor a revision with prepared data.
    """
    if DATA_VERSION.fullmatch(version_or_revision):
        return version_or_revision
    return version_at(repository, version_or_revision)


def version_at(repository: str, revision: str) -> str:
    """The data version that ``dvc.lock`` names at a git revision.

    Args:
        repository: path or URL of the git repository.
        revision: branch, tag or commit.

    Raises:
        StreetsegError: no such repository or revision, or the data was not prepared there.
    """
    from dvc.api import DVCFileSystem

    try:
        return _version_in(DVCFileSystem(repository, rev=revision).read_text("dvc.lock"))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StreetsegError(
            f"no data version in dvc.lock of {repository} at '{revision}': {reason}"
        ) from None


def locked_version(lock: Path) -> str:
    """The data version that a ``dvc.lock`` names.

    Raises:
        StreetsegError: no such file, or the data was not prepared yet.
    """
    try:
        return _version_in(lock.read_text())
    except (OSError, KeyError, TypeError):
        raise StreetsegError(f"{lock} names no prepared data: run 'dvc repro' first") from None


def fetch(version: str, remote: str, destination: Path) -> Path:
    """Bring a prepared dataset from a DVC remote, verified by its hash.

    Args:
        version: a data version, ``<md5>.dir``.
        remote: URL of the DVC remote: a folder, ``s3://bucket/prefix``, ...
        destination: the folder to make; replaced if it is there.

    Raises:
        StreetsegError: not a data version, not in the remote, or not what its hash says.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not DATA_VERSION.fullmatch(version):
        raise StreetsegError(
            f"'{version}' is not a data version: take the md5 ending in '.dir' of the stage "
            f"'{STAGE}' in dvc.lock"
        )
    logging.getLogger("dvc").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=_parent(destination)) as scratch:
        workspace = Path(scratch)
        pointer = {"outs": [{"md5": version, "hash": "md5", "path": "prepared"}]}
        (workspace / "prepared.dvc").write_text(yaml.safe_dump(pointer))
        try:
            with Repo.init(scratch, no_scm=True) as repo, repo.config.edit("local") as config:
                config["core"] = {"analytics": False, "remote": "source"}
                config["remote"] = {"source": {"url": remote}}
            with Repo(scratch) as repo:
                repo.pull()
        except (DvcException, OSError) as error:
            reason = " ".join(str(error).split())
            raise StreetsegError(
                f"data version {version} cannot be fetched from {remote}: {reason}"
            ) from None
        found = data_version(workspace / "prepared")
        if found != version:
            raise StreetsegError(
                f"data version {version} from {remote} arrived as {found}: the remote is damaged; "
                "push the data again"
            )
        shutil.rmtree(destination, ignore_errors=True)
        (workspace / "prepared").rename(destination)
    return destination


def _version_in(lock: str) -> str:
    return yaml.safe_load(lock)["stages"][STAGE]["outs"][0]["md5"]


def _parent(destination: Path) -> Path:
    destination.parent.mkdir(parents=True, exist_ok=True)
    return destination.parent
