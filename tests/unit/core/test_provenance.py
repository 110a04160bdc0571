"""Which code ran."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streetseg.core.provenance import REPOSITORY
from tests.support.repositories import git


def revision_of(code: Path, **environment: str) -> str:
    """What the copy of streetseg in a folder says."""
    script = "from streetseg.core.provenance import git_revision; print(git_revision())"
    clean = {name: os.environ[name] for name in os.environ if name != "STREETSEG_GIT_REVISION"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=code,
        env=clean | {"PYTHONPATH": str(code)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def copy_code(folder: Path) -> Path:
    """The part of streetseg that says which code runs."""
    for name in ("streetseg/__init__.py", "streetseg/core/__init__.py"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target)
    for name in ("credentials.py", "provenance.py"):
        shutil.copy(REPOSITORY / "streetseg/core" / name, folder / "streetseg/core")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    (tmp_path / "README.md").write_text("somebody's\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    return tmp_path


def test_a_checkout_names_its_commit_and_whether_files_were_changed(repository: Path) -> None:
    copy_code(repository)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "streetseg")
    head = git(repository, "rev-parse", "HEAD")
    (repository / "notes.txt").write_text("not tracked\n")
    assert revision_of(repository) == head
    (repository / "README.md").write_text("changed\n")
    assert revision_of(repository) == f"{head}-dirty"


def test_a_checkout_of_another_user_names_its_commit_too(repository: Path) -> None:
    copy_code(repository)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "streetseg")
    head = git(repository, "rev-parse", "HEAD")
    assert revision_of(repository, GIT_TEST_ASSUME_DIFFERENT_OWNER="1") == head


def test_the_environment_has_the_last_word(repository: Path) -> None:
    assert revision_of(copy_code(repository), STREETSEG_GIT_REVISION="cafe") == "cafe"


@pytest.mark.parametrize("site_packages", [".venv/lib/site-packages", "."])
def test_somebody_elses_repository_is_not_ours(repository: Path, site_packages: str) -> None:
    assert revision_of(copy_code(repository / site_packages)) == "unknown", "installed there"


def test_a_copy_that_somebody_elses_repository_tracks_is_not_ours(repository: Path) -> None:
    vendored = copy_code(repository / "third_party")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "vendored")
    assert revision_of(vendored) == "unknown"


def test_without_a_repository_it_is_unknown(tmp_path: Path) -> None:
    assert revision_of(copy_code(tmp_path)) == "unknown"
