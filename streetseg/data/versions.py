"""Data versions: naming a prepared dataset by its DVC hash, and fetching it by that name."""

from __future__ import annotations

import hashlib
import logging
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from streetseg.config.params import Data, Params
from streetseg.core.atomic_files import ensure_replaceable, replace_folder
from streetseg.core.credentials import redact, with_token
from streetseg.core.errors import StreetsegError, one_line
from streetseg.data.dataset import DESCRIPTION, INDEX_FILES, PreparedDataset, data_version

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

DATA_VERSION = re.compile(r"[0-9a-f]{32}\.dir")
STAGE = "prepare"


@dataclass(frozen=True)
class DataCommit:
    """A commit that brought a data version into ``dvc.lock``."""

    commit: str
    date: str
    """Such as 2026-01-31."""
    subject: str
    source: str | None
    """``data.source`` in its ``params.yaml``."""
    root: str | None
    """``data.root`` there."""


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
        repository: path or URL of the git repository; a private one over HTTPS is read with
            ``GIT_USERNAME`` and ``GIT_TOKEN`` of the environment.
        revision: branch, tag or commit.

    Raises:
        StreetsegError: no such repository or revision, or the data was not prepared there.
    """
    if not revision:
        raise StreetsegError("no data version is given: name one, or a git revision")
    missing = f"no data version in dvc.lock of {repository} at '{revision}'"
    with _files_at(repository, revision, missing) as files:
        return _version_in(files.read_text("dvc.lock"))


def locked_version(lock: Path) -> str:
    """The data version that a ``dvc.lock`` names.

    Raises:
        StreetsegError: no such file, no YAML, or the data was not prepared yet.
    """
    try:
        return _version_in(lock.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StreetsegError(f"{lock} is not valid YAML: {one_line(error, None)}") from None
    except (OSError, LookupError, TypeError):
        raise StreetsegError(f"{lock} names no prepared data: run 'dvc repro' first") from None


def commits_of(version: str, repository: str) -> list[DataCommit]:
    """The commits that brought a data version into ``dvc.lock``, the newest first.

    Returns:
        An empty list if there are none, or ``repository`` is no git repository on this machine.
    """
    log = ("log", "--all", f"-S{version}", "--format=%H%x09%cs%x09%s", "--", "dvc.lock")
    found = []
    for line in _git(repository, *log).splitlines():
        commit, date, subject = line.split("\t", 2)
        if version in _git(repository, "show", f"{commit}:./dvc.lock"):
            data = _data_settings(_git(repository, "show", f"{commit}:./params.yaml"))
            found.append(DataCommit(commit, date, subject, data.get("source"), data.get("root")))
    return found


def branches_and_tags_of(version: str, repository: str) -> list[str]:
    """The branches and tags whose ``dvc.lock`` names a data version; none without a repository."""
    listed = ("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags")
    names = _git(repository, *listed).split()
    if not names:
        return []
    search = ("grep", "--files-with-matches", "--fixed-strings", version, *names, "--", "dvc.lock")
    return [line.rpartition(":")[0] for line in _git(repository, *search).splitlines()]


def fetch(version: str, remote: str, destination: Path, only: Sequence[str] = ()) -> Path:
    """Bring a prepared dataset from a DVC remote, verified by its hash.

    Args:
        version: a data version, ``<md5>.dir``.
        remote: URL of the DVC remote: a folder, ``s3://bucket/prefix``, ...
        destination: the folder to make; replaced if it is a prepared dataset.
        only: files of it to bring instead of all; each is verified by its own hash.

    Raises:
        StreetsegError: not a data version, not in the remote, or not what its hash says.
    """
    from dvc.exceptions import CheckoutError
    from dvc.repo import Repo

    if not DATA_VERSION.fullmatch(version):
        raise StreetsegError(
            f"'{version}' is not a data version: take the md5 ending in '.dir' of the stage "
            f"'{STAGE}' in dvc.lock"
        )
    shown = redact(remote)
    ensure_replaceable(destination, DESCRIPTION)
    with tempfile.TemporaryDirectory(dir=_parent(destination)) as scratch:
        workspace = Path(scratch)
        pointer = {"outs": [{"md5": version, "hash": "md5", "path": "prepared"}]}
        (workspace / "prepared.dvc").write_text(yaml.safe_dump(pointer))
        with _dvc_errors() as said:
            try:
                with Repo.init(scratch, no_scm=True) as repo, repo.config.edit("local") as config:
                    config["core"] = {
                        "analytics": False,
                        "remote": "source",
                        "site_cache_dir": str(workspace / "site"),
                    }
                    config["remote"] = {"source": {"url": remote, "verify": True}}
                with Repo(scratch) as repo:
                    repo.pull([str(workspace / "prepared" / name) for name in only] or None)
            except CheckoutError:
                raise StreetsegError(
                    f"data version {version} is not in {shown}, or not whole: {_last(said)}push "
                    "it there, or name another data.remote"
                ) from None
            except Exception as error:  # of DVC, its file systems, or a damaged object's parser
                raise StreetsegError(
                    f"data version {version} cannot be fetched from {shown}: "
                    f"{_last(said)}{redact(one_line(error, None))}"
                ) from None
        arrived = all((workspace / "prepared" / name).is_file() for name in only)
        if not arrived or _fetched_version(workspace, bool(only), version) != version:
            raise StreetsegError(
                f"data version {version} from {shown} is not what its hash says: the remote is "
                "damaged; push the data again"
            )
        replace_folder(workspace / "prepared", destination)
    return destination


def fetch_index(name: str, data: Data, destination: Path) -> PreparedDataset:
    """Bring what is known of a dataset's frames, without their pixels.

    Args:
        name: a folder with a prepared dataset, a data version, or a git revision.
        data: where data versions and git revisions are looked up.
        destination: the folder to write to.

    Raises:
        StreetsegError: it is none of these, or cannot be fetched.
    """
    folder = Path(name)
    if (folder / DESCRIPTION).is_file() or folder.is_absolute():
        return PreparedDataset(folder)
    if DATA_VERSION.fullmatch(name):
        return PreparedDataset(fetch(name, data.remote, destination, only=INDEX_FILES))
    version_at(data.repository, name)
    missing = (
        f"the data of '{name}' is neither in the DVC cache of {data.repository} nor in its remote"
    )
    with _files_at(data.repository, name, missing) as files:
        there = yaml.safe_load(files.read_text("dvc.lock"))["stages"][STAGE]["outs"][0]["path"]
        destination.mkdir(parents=True, exist_ok=True)
        for file in INDEX_FILES:
            (destination / file).write_bytes(files.read_bytes(f"{there}/{file}"))
    return PreparedDataset(destination)


@contextmanager
def reference(params: Params) -> Iterator[PreparedDataset | None]:
    """What is known of the frames of ``validate.reference``, if one is set.

    Raises:
        StreetsegError: it cannot be fetched.
    """
    if params.validation.reference is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield fetch_index(params.validation.reference, params.data, Path(scratch) / "reference")


def resolve_reference(params: Params) -> str | None:
    """``validate.reference`` with a git revision settled to the data version it names now.

    Raises:
        StreetsegError: neither a folder, a data version, nor a revision with prepared data.
    """
    named = params.validation.reference
    if named is None or (Path(named) / DESCRIPTION).is_file():
        return named
    return resolve(named, params.data.repository)


def _git(repository: str, *arguments: str) -> str:
    """What git prints; nothing where it fails."""
    command = ["git", "-C", repository, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@contextmanager
def _files_at(repository: str, revision: str, failed: str) -> Iterator[DVCFileSystem]:
    """The files of a git revision, with those that DVC tracks; ``failed`` begins the error."""
    from dvc.api import DVCFileSystem
    from dvc.repo.open_repo import clean_repos

    address = with_token(repository)
    try:
        yield DVCFileSystem(address, rev=revision)
    except Exception as error:
        raise StreetsegError(redact(f"{failed}: {one_line(error, None)}")) from None
    finally:
        if address != repository:
            clean_repos()  # DVC's clone has the token in its configuration


def _data_settings(params: str) -> dict[str, Any]:
    """The section ``data`` of a ``params.yaml`` of any time; empty where it cannot be read."""
    try:
        data = (yaml.safe_load(params) or {}).get("data")
    except (yaml.YAMLError, AttributeError):
        return {}
    return data if isinstance(data, dict) else {}


def _version_in(lock: str) -> str:
    return yaml.safe_load(lock)["stages"][STAGE]["outs"][0]["md5"]


def _fetched_version(workspace: Path, partly: bool, version: str) -> str:
    """The hash of what was fetched: of all its files, or else of the listing they are in."""
    if not partly:
        return data_version(workspace / "prepared")
    listing = workspace / ".dvc" / "cache" / "files" / "md5" / version[:2] / version[2:]
    return f"{hashlib.md5(listing.read_bytes()).hexdigest()}.dir"


@contextmanager
def _dvc_errors() -> Iterator[list[str]]:
    """Collect the errors that DVC logs instead of letting it print them."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.ERROR)
    try:
        yield said
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def _last(said: list[str]) -> str:
    return f"{redact(one_line(said[-1], None))}: " if said else ""


def _parent(destination: Path) -> Path:
    destination.parent.mkdir(parents=True, exist_ok=True)
    return destination.parent
