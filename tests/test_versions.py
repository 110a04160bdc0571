"""Data versions, with real DVC repositories and remotes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.versions import data_version, fetch, locked_version, resolve

ABSENT = "0" * 32 + ".dir"


def dvc(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments, "--quiet"]
    subprocess.run(command, cwd=folder, check=True)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pushed(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A data version as DVC itself names it, and the remote that holds it."""
    import shutil

    workspace, remote = tmp_path_factory.mktemp("dvc"), tmp_path_factory.mktemp("remote")
    shutil.copytree(dataset.path, workspace / "prepared")
    dvc(workspace, "init", "--no-scm")
    dvc(workspace, "remote", "add", "--default", "local", str(remote))
    dvc(workspace, "add", "prepared")
    dvc(workspace, "push")
    pointer = yaml.safe_load((workspace / "prepared.dvc").read_text())
    return pointer["outs"][0]["md5"], remote


def test_our_name_for_the_data_is_dvcs(dataset: PreparedDataset, pushed: tuple[str, Path]) -> None:
    assert data_version(dataset.path) == pushed[0]


def test_fetching_brings_the_same_files(
    dataset: PreparedDataset, pushed: tuple[str, Path], tmp_path: Path
) -> None:
    version, remote = pushed
    fetched = PreparedDataset(fetch(version, str(remote), tmp_path / "fetched"))
    assert fetched.version == version
    assert (fetched.image(0) == dataset.image(0)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["fetched"]


@pytest.mark.parametrize("version", [ABSENT, "main", "../x"])
def test_a_version_that_the_remote_does_not_have_is_refused(
    pushed: tuple[str, Path], tmp_path: Path, version: str
) -> None:
    with pytest.raises(StreetsegError, match=version) as caught:
        fetch(version, str(pushed[1]), tmp_path / "fetched")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_damaged_remote_is_found_out(pushed: tuple[str, Path], tmp_path: Path) -> None:
    import shutil

    version, remote = pushed
    damaged = Path(shutil.copytree(remote, tmp_path / "remote"))
    largest = max(
        (path for path in damaged.rglob("*") if path.is_file() and path.suffix != ".dir"),
        key=lambda path: path.stat().st_size,
    )
    largest.chmod(0o644)
    data = bytearray(largest.read_bytes())
    data[-1] ^= 255
    largest.write_bytes(data)
    with pytest.raises(StreetsegError):
        fetch(version, str(damaged), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_git_revision_stands_for_the_data_that_its_lock_names(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    dvc(tmp_path, "init")
    versions = [f"{digit * 32}.dir" for digit in "ab"]
    for tag, version in zip(("v1", "v2"), versions, strict=True):
        lock = {"schema": "2.0", "stages": {"prepare": {"cmd": "x", "outs": [{"md5": version}]}}}
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", tag)
        git(tmp_path, "tag", tag)
    assert resolve("v1", str(tmp_path)) == versions[0]
    assert resolve("HEAD", str(tmp_path)) == versions[1]
    assert resolve(ABSENT, str(tmp_path)) == ABSENT
    assert locked_version(tmp_path / "dvc.lock") == versions[1]
    with pytest.raises(StreetsegError, match=r"no data version .* at 'v3'") as caught:
        resolve("v3", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_without_a_lock_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="run 'dvc repro' first"):
        locked_version(tmp_path / "dvc.lock")
