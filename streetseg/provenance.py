"""Which code is running."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


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


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(REPOSITORY), *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
