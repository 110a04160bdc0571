"""The git repository of a DVC project: a checkout, or an address that is cloned."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streetseg.core.credentials import redact, with_token
from streetseg.core.errors import StreetsegError, one_line
from streetseg.core.provenance import name_nameless_user
from streetseg.core.proxies import through_proxy

SUBDIRECTORY = "#subdirectory="
"""Between an address and the folder of the project in it, as pip writes it."""


@dataclass(frozen=True)
class Project:
    """A folder of a git repository."""

    top: str
    """The folder for ``git -C``, or the address."""
    folder: str
    """The project below the root of the repository: empty, or ending in a slash."""


def git(folder: str, *arguments: str) -> str:
    """The output of a git command; empty if it fails.

    Raises:
        StreetsegError: the repository belongs to another user, or there is no git.
    """
    command = ["git", "-C", folder, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StreetsegError("there is no program git: install it") from None
    if refused := re.search(r"git config --global --add safe\.directory (.+)", done.stderr):
        raise StreetsegError(_other_owner(refused[1]))
    return done.stdout


def find_project(repository: str) -> Project:
    """The DVC project that a path or an address names.

    A path is in the project, whose root is the nearest folder upwards with ``.dvc`` or ``.git``. Of
    an address, the project is the root, or the folder after ``#subdirectory=``.

    Raises:
        StreetsegError: see :func:`git`.
    """
    if not Path(repository).is_dir():
        address, _, folder = repository.partition(SUBDIRECTORY)
        return Project(address, f"{folder.strip('/')}/" if folder.strip("/") else "")
    path = Path(repository).resolve()
    folders = (path, *path.parents)
    root = next((f for f in folders if (f / ".dvc").is_dir() or (f / ".git").exists()), path)
    return Project(str(root), git(str(root), "rev-parse", "--show-prefix").strip())


@contextmanager
def files_at(repository: str, revision: str, failed: str) -> Iterator[Callable[[str], bytes]]:
    """A function that reads a file of a project at a git revision, tracked by git or by DVC.

    Files are named from the project's folder. Errors while they are read are StreetsegErrors that
    begin with ``failed``.
    """
    from dvc.api import DVCFileSystem
    from dvc.repo.open_repo import clean_repos, erepo_factory

    name_nameless_user()
    project = find_project(repository)
    address = with_token(project.top)
    factory = None
    if project.folder and Path(address).is_dir():  # else DVC takes no notice of its configuration
        top = git(address, "rev-parse", "--show-toplevel").strip()
        factory = erepo_factory(top, "/", {})
    try:
        files = DVCFileSystem(
            address, rev=revision, subrepos=bool(project.folder), repo_factory=factory
        )
        yield lambda path: files.read_bytes(project.folder + path)
    except Exception as error:
        raise StreetsegError(redact(f"{failed}: {_reason(error, project)}")) from None
    finally:
        if address != project.top:
            clean_repos()  # the configuration of DVC's clone holds the token


@contextmanager
def history(repository: str) -> Iterator[Project]:
    """A project whose ``top`` git can read: the checkout, or a clone of the address.

    Raises:
        StreetsegError: the address cannot be cloned, or see :func:`git`.
    """
    project = find_project(repository)
    if Path(project.top).is_dir():
        yield project
        return
    from dvc.scm import clone

    name_nameless_user()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            clone(with_token(project.top), scratch, mirror=True)
        except Exception as error:
            raise StreetsegError(redact(_reason(error, project))) from None
        yield Project(scratch, project.folder)


def _reason(error: Exception, project: Project) -> str:
    """What went wrong, and what to do about it where that is known."""
    from dvc.scm import CloneError

    cause = _first_cause(error)
    if refused := re.search(r"repository path '(.+)' is not owned by current user", cause):
        return _other_owner(refused[1])
    if isinstance(error, CloneError):
        return (
            f"cannot clone {project.top}{through_proxy(project.top)}: {cause}: check "
            "data.repository, and GIT_USERNAME and GIT_TOKEN if it is private"
        )
    reason = one_line(error, None)
    if isinstance(error, FileNotFoundError) and "dvc.lock" in reason:
        separator = "/" if Path(project.top).is_dir() else SUBDIRECTORY
        return (
            f"{reason}: commit it; a project in a folder of the repository is "
            f"{project.top}{separator}FOLDER"
        )
    return reason


def _other_owner(folder: str) -> str:
    return (
        f"git does not read {folder}, which belongs to another user: if you trust it, run "
        f"'git config --global --add safe.directory {folder}'"
    )


def _first_cause(error: BaseException) -> str:
    while cause := error.__cause__ or error.__context__:
        error = cause
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or one_line(error, None)
