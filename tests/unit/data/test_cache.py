"""The data cache of a cluster: fetched once, whole, and never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streetseg.data.cache import UNFINISHED, fetch_through
from streetseg.data.dataset import PreparedDataset, data_version
from tests.support.repositories import fill_remote


@pytest.fixture
def kept(dataset: PreparedDataset, tmp_path: Path) -> tuple[Path, str]:
    """A cache with a dataset in it, and its version."""
    cache, version = tmp_path / "cache", data_version(dataset.path)
    shutil.copytree(dataset.path, cache / version)
    return cache, version


@pytest.fixture(scope="module")
def remote(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A DVC remote that holds the dataset."""
    remote = tmp_path_factory.mktemp("remote")
    fill_remote(remote, dataset.path)
    return str(remote)


def test_what_was_fetched_once_is_not_fetched_again(
    dataset: PreparedDataset, remote: str, tmp_path: Path
) -> None:
    cache, version = tmp_path / "cache", data_version(dataset.path)
    cache.mkdir()
    fetch_through(cache, version, remote, tmp_path / "first")
    assert [path.name for path in cache.iterdir()] == [version]
    fetch_through(cache, version, "nowhere", tmp_path / "second")
    assert data_version(tmp_path / "second") == version


def test_a_damaged_copy_is_fetched_again(
    kept: tuple[Path, str],
    remote: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache, version = kept
    victim = next((cache / version).rglob("*.json"))
    victim.write_text("{}")
    fetch_through(cache, version, remote, tmp_path / "prepared")
    assert "does not match its hash" in capsys.readouterr().err
    assert data_version(tmp_path / "prepared") == data_version(cache / version) == version


def test_runs_at_the_same_time_leave_one_whole_copy(
    dataset: PreparedDataset, remote: str, tmp_path: Path
) -> None:
    cache, version = tmp_path / "cache", data_version(dataset.path)
    cache.mkdir()
    call = "import sys; from pathlib import Path; from streetseg.data.cache import fetch_through; "
    call += "fetch_through(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", call, str(cache), version, remote, str(tmp_path / f"{number}")]
        )
        for number in range(2)
    ]
    assert [run.wait() for run in runs] == [0, 0]
    assert [path.name for path in cache.iterdir()] == [version]
    assert data_version(cache / version) == version


def test_a_cache_that_cannot_be_written_is_a_warning(
    dataset: PreparedDataset, remote: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = data_version(dataset.path)
    fetch_through(tmp_path / "not-there", version, remote, tmp_path / "prepared")
    said = capsys.readouterr().err
    assert said.startswith(f"warning: the data cache cannot be used: cannot write {tmp_path}")
    assert len(said.splitlines()) == 1
    assert data_version(tmp_path / "prepared") == version


def test_what_a_killed_run_left_in_the_cache_is_removed_after_a_day(
    dataset: PreparedDataset, remote: str, tmp_path: Path
) -> None:
    for name, changed in [("old", 0), ("new", None)]:
        folder = tmp_path / "cache" / f"{UNFINISHED}{name}"
        folder.mkdir(parents=True)
        if changed is not None:
            os.utime(folder, (changed, changed))
    version = data_version(dataset.path)
    fetch_through(tmp_path / "cache", version, remote, tmp_path / "prepared")
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {f"{UNFINISHED}new", version}
