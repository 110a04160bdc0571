"""Which commit of the code is running, and who runs it."""

from __future__ import annotations

import getpass
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from streetseg.core.credentials import redact

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout of streetseg, where it is not an installed package."""


def git_revision() -> str:
    """The commit of this code, with ``-dirty`` after it if tracked files were changed.

    ``STREETSEG_GIT_REVISION`` overrides it, for images. Outside a checkout it is ``unknown``.
    """
    if revision := os.environ.get("STREETSEG_GIT_REVISION"):
        return revision
    this_file = Path(__file__).resolve()
    try:
        tracked_as = _git("ls-files", "--full-name", "--error-unmatch", str(this_file))
        if tracked_as != this_file.relative_to(REPOSITORY).as_posix():
            return "unknown"
        head = _git("rev-parse", "HEAD")
        return f"{head}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git_source() -> dict[str, str]:
    """The checkout of this code by MLflow's tags: commit, branch and address of its remote.

    The address is without credentials. What is not known is left out: an image knows the commit.
    """
    revision = git_revision()
    if revision == "unknown":
        return {}
    known = {"mlflow.source.git.commit": revision.removesuffix("-dirty")}
    if "STREETSEG_GIT_REVISION" in os.environ:
        return known
    for key, command in (
        ("branch", ("symbolic-ref", "--short", "HEAD")),
        ("repoURL", ("remote", "get-url", "origin")),
    ):
        with suppress(OSError, subprocess.CalledProcessError):
            known[f"mlflow.source.git.{key}"] = redact(_git(*command))
    return known


def name_nameless_user() -> None:
    """Set ``LOGNAME`` for a user whose id has no name, as in containers, and ``HOME`` if unknown.

    DVC fails without a name, MLflow records none, and both ask for the home folder. It becomes
    ``/``, as container runtimes do it.
    """
    try:
        getpass.getuser()
    except (OSError, KeyError):
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"
    if not Path(os.path.expanduser("~")).is_absolute():  # noqa: PTH111 - Path raises an exception
        os.environ["HOME"] = "/"


def user() -> str:
    """Who runs this: ``STREETSEG_USER``, else git's ``user.email``, else the login name."""
    if name := os.environ.get("STREETSEG_USER"):
        return name
    with suppress(OSError, subprocess.CalledProcessError):
        return _run("git", "config", "user.email")
    name_nameless_user()
    return getpass.getuser()


def _git(*arguments: str) -> str:
    trusted = f"safe.directory={REPOSITORY}"  # another user's too: its code is running already
    return _run("git", "-c", trusted, "-C", str(REPOSITORY), *arguments)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
