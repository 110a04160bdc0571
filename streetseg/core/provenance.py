"""Which code is running, and who runs it."""

from __future__ import annotations

import getpass
import os
import subprocess
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def git_revision() -> str:
    """The commit of this code, with ``-dirty`` after it where tracked files were changed.

    An image has no repository: there the build sets ``STREETSEG_GIT_REVISION``. Where neither is
    known the answer is ``unknown``.
    """
    if revision := os.environ.get("STREETSEG_GIT_REVISION"):
        return revision
    try:
        head = _git("rev-parse", "HEAD")
        return f"{head}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def user() -> str:
    """Who is at work: ``STREETSEG_USER``, else the e-mail that git knows, else the login name."""
    if name := os.environ.get("STREETSEG_USER"):
        return name
    with suppress(OSError, subprocess.CalledProcessError):
        return _run("git", "config", "user.email")
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"


def _git(*arguments: str) -> str:
    return _run("git", "-C", str(REPOSITORY), *arguments)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
