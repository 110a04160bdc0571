"""Data versions: prepared datasets named by their DVC hash, listed in git and fetched by DVC."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from streetseg.config.params import Data, Params
from streetseg.config.yaml_files import parse_yaml
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, one_line
from streetseg.data.dataset import DESCRIPTION, INDEX_FILES, PreparedDataset, data_version
from streetseg.data.remote import collect_dvc_errors, last_line, scratch_repository
from streetseg.data.repository import files_at, git, history

DATA_VERSION = re.compile(r"[0-9a-f]{32}\.dir")
STAGE = "prepare"


@dataclass(frozen=True)
class DataCommit:
    """A commit that changed ``dvc.lock`` to a data version."""

    commit: str
    date: str
    """In the format 2026-01-31."""
    subject: str
    source: str | None
    """``data.source`` in the commit's ``params.yaml``; None if it cannot be read there."""
    root: str | None
    """``data.root``, likewise."""


def resolve(version_or_revision: str, repository: str) -> str:
    """A data version as it is, or the one at a git revision; StreetsegError for anything else."""
    if DATA_VERSION.fullmatch(version_or_revision):
        return version_or_revision
    return version_at(repository, version_or_revision)


def version_at(repository: str, revision: str) -> str:
    """Read the data version from ``dvc.lock`` at a branch, tag or commit.

    ``repository`` is a path or URL; ``URL#subdirectory=FOLDER`` if the project is in a folder of
    it. A private one over HTTPS needs the variables ``GIT_USERNAME`` and ``GIT_TOKEN``.

    Raises:
        StreetsegError: there is no such repository or revision, or its data was not prepared.
    """
    if not revision:
        raise StreetsegError("the data version is empty: name one, or a git revision")
    missing = f"no data version in dvc.lock of {repository} at '{revision}'"
    with files_at(repository, revision, missing) as read:
        return _locked_output(read("dvc.lock").decode())["md5"]


def locked_version(lock: Path) -> str:
    """Read the data version from a ``dvc.lock``; StreetsegError if it has none."""
    try:
        return _locked_output(lock.read_text())["md5"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StreetsegError(f"{lock} is not valid YAML: {one_line(error, None)}") from None
    except (OSError, LookupError, TypeError):
        raise StreetsegError(f"{lock} names no prepared data: run 'dvc repro' first") from None


def commits_of(version: str, repository: str) -> list[DataCommit]:
    """The commits that changed ``dvc.lock`` to a data version, newest first; none without git.

    Raises:
        StreetsegError: the repository cannot be cloned, or belongs to another user.
    """
    commits = []
    with history(repository) as project:
        lock, params = f"{project.folder}dvc.lock", f"{project.folder}params.yaml"
        log = ("log", "--all", f"-S{version}", "--format=%H%x09%cs%x09%s", "--", f":(top){lock}")
        for line in git(project.top, *log).splitlines():
            commit, date, subject = line.split("\t", 2)
            if version in git(project.top, "show", f"{commit}:{lock}"):
                data = _data_settings(git(project.top, "show", f"{commit}:{params}"))
                source, root = data.get("source"), data.get("root")
                commits.append(DataCommit(commit, date, subject, source, root))
    return commits


def branches_and_tags_of(version: str, repository: str) -> list[str]:
    """The branches and tags whose ``dvc.lock`` names a data version; none without a repository.

    Raises:
        StreetsegError: the repository cannot be cloned, or belongs to another user.
    """
    with history(repository) as project:
        list_refs = ("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags")
        names = git(project.top, *list_refs).split()
        if not names:
            return []
        lock = f":(top){project.folder}dvc.lock"
        search = ("grep", "--files-with-matches", "--fixed-strings", version, *names, "--", lock)
        return [line.rpartition(":")[0] for line in git(project.top, *search).splitlines()]


def fetch(version: str, remote: str, destination: Path, only: Sequence[str] = ()) -> Path:
    """Download a prepared dataset from a DVC remote, verified by its hash.

    Args:
        version: a data version, ``<md5>.dir``.
        remote: URL of the DVC remote: a folder, ``s3://bucket/prefix``, ...
        destination: replaced if it is a prepared dataset.
        only: the files to download instead of all; each is verified by its own hash.

    Raises:
        StreetsegError: it is no data version, is not in the remote, does not match its hash, or
            another process is writing the destination.
    """
    with atomic_folder(destination, DESCRIPTION) as folder:
        download(version, remote, folder, only)
    return destination


def download(version: str, remote: str, folder: Path, only: Sequence[str] = ()) -> None:
    """Like :func:`fetch`, but into an existing empty folder, which keeps a part on an error."""
    from dvc.exceptions import CheckoutError

    if not DATA_VERSION.fullmatch(version):
        raise StreetsegError(
            f"'{version}' is not a data version: take the md5 ending in '.dir' of the stage "
            f"'{STAGE}' in dvc.lock"
        )
    safe_url = redact(remote)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        workspace = Path(scratch)
        pointer = {"outs": [{"md5": version, "hash": "md5", "path": "prepared"}]}
        (workspace / "prepared.dvc").write_text(yaml.safe_dump(pointer))
        with collect_dvc_errors() as errors:
            try:
                with scratch_repository(remote, workspace) as repo:
                    repo.pull([str(workspace / "prepared" / name) for name in only] or None)
            except CheckoutError:
                raise StreetsegError(
                    f"data version {version} is not in {safe_url}, or incomplete: "
                    f"{last_line(errors)}push it there, or name another data.remote"
                ) from None
            except Exception as error:  # by DVC, a file system, or the parser of a damaged object
                raise StreetsegError(
                    f"data version {version} cannot be fetched from {safe_url}: "
                    f"{last_line(errors)}{redact(one_line(error, None))}"
                ) from None
        complete = all((workspace / "prepared" / name).is_file() for name in only)
        if not complete or _fetched_version(workspace, bool(only), version) != version:
            raise StreetsegError(
                f"data version {version} from {safe_url} does not match its hash: the remote is "
                "damaged; push the data again"
            )
        for path in (workspace / "prepared").iterdir():
            path.rename(folder / path.name)


def fetch_index(name: str, data: Data, destination: Path) -> PreparedDataset:
    """Download the index of a dataset, without its pixels.

    ``name`` is a folder with a prepared dataset, a data version, or a git revision.

    Raises:
        StreetsegError: ``name`` is none of these, or cannot be fetched.
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
    with files_at(data.repository, name, missing) as read:
        folder_in_git = _locked_output(read("dvc.lock").decode())["path"]
        destination.mkdir(parents=True, exist_ok=True)
        for file in INDEX_FILES:
            (destination / file).write_bytes(read(f"{folder_in_git}/{file}"))
    return PreparedDataset(destination)


@contextmanager
def reference(params: Params) -> Iterator[PreparedDataset | None]:
    """The index of ``validate.reference``, or None; StreetsegError if it cannot be fetched."""
    if params.validation.reference is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield fetch_index(params.validation.reference, params.data, Path(scratch) / "reference")


def resolve_reference(params: Params) -> str | None:
    """``validate.reference``; a git revision is replaced by its data version (:func:`resolve`)."""
    named = params.validation.reference
    if named is None or (Path(named) / DESCRIPTION).is_file():
        return named
    return resolve(named, params.data.repository)


def _data_settings(params: str) -> dict[str, Any]:
    """The section ``data`` of any version of ``params.yaml``; empty if it cannot be read."""
    try:
        data = (parse_yaml(params) or {}).get("data")
    except (yaml.YAMLError, AttributeError):
        return {}
    return data if isinstance(data, dict) else {}


def _locked_output(lock: str) -> dict[str, Any]:
    """The prepared dataset in the text of a ``dvc.lock``: path, md5 and size."""
    return yaml.safe_load(lock)["stages"][STAGE]["outs"][0]


def _fetched_version(workspace: Path, partial: bool, version: str) -> str:
    """The hash of the fetched files, or of the listing if only some were fetched."""
    if not partial:
        return data_version(workspace / "prepared")
    listing = workspace / ".dvc" / "cache" / "files" / "md5" / version[:2] / version[2:]
    return f"{hashlib.md5(listing.read_bytes()).hexdigest()}.dir"
