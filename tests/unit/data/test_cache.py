"""The data cache of a cluster: fetched once, whole, and never in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data import cache as data_cache
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


def test_a_copy_that_another_run_has_mended_meanwhile_stays(
    dataset: PreparedDataset,
    kept: tuple[Path, str],
    remote: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, version = kept
    next((cache / version).rglob("*.json")).write_text("{}")
    download, mended = data_cache.download, []

    def other_is_faster(version: str, remote: str, folder: Path) -> None:
        shutil.rmtree(cache / version)
        shutil.copytree(dataset.path, cache / version)
        mended.append((cache / version).stat().st_ino)
        download(version, remote, folder)

    monkeypatch.setattr(data_cache, "download", other_is_faster)
    fetch_through(cache, version, remote, tmp_path / "prepared")
    assert [(cache / version).stat().st_ino] == mended
    assert data_version(tmp_path / "prepared") == data_version(cache / version) == version
    assert [path.name for path in cache.iterdir()] == [version]


FETCH = """
import sys
from pathlib import Path
from streetseg.data import cache, versions

fetched_version = versions._fetched_version

def wait(*arguments):
    print("fetched", flush=True)
    sys.stdin.readline()
    return fetched_version(*arguments)

versions._fetched_version = wait
cache.fetch_through(Path(sys.argv[1]), *sys.argv[2:4], Path(sys.argv[4]))
"""


@pytest.mark.parametrize("cached", [False, True])
def test_a_second_fetch_into_one_folder_is_refused_and_the_first_gets_it(
    dataset: PreparedDataset, kept: tuple[Path, str], remote: str, tmp_path: Path, cached: bool
) -> None:
    cache, version = kept
    (tmp_path / "empty").mkdir()
    destination = tmp_path / "work" / "prepared"
    with subprocess.Popen(
        [sys.executable, "-c", FETCH, str(tmp_path / "empty"), version, remote, str(destination)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "fetched\n"
        with pytest.raises(StreetsegError, match=f"^another process is writing {destination}: "):
            fetch_through(cache if cached else None, version, remote, destination)
        first.communicate("go on\n")
    assert data_version(destination) == version
    assert list(destination.parent.iterdir()) == [destination]


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
