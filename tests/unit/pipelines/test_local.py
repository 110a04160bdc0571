"""Running a pipeline on this machine: what is known of its tasks.

It is read from kfp's log, so these tests fail where a release of kfp words it otherwise.
"""

import shutil
from pathlib import Path

import pytest
from kfp import dsl

from components import component
from components.fetch import fetch
from pipelines.local.run import LocalRun, run_locally
from streetseg.core.atomic_files import lock_folder
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset, data_version
from tests.support.repositories import fill_remote


@component
def count(start: int) -> int:
    """Print something, and return the next number."""
    print(f"after {start}")
    print("2026/01/31 03:00:00 INFO of no interest")
    return start + 1


@component
def check(number: int, limit: int) -> None:
    """Fail above a limit."""
    import sys

    if number > limit:
        sys.exit(f"error: {number} is above {limit}")


@dsl.pipeline(name="counting")
def counting(limit: int) -> int:
    first = count(start=1)
    check(number=first.output, limit=limit).set_caching_options(enable_caching=False)
    return first.output


def test_a_run_has_its_tasks_their_lines_and_its_outcome(tmp_path: Path) -> None:
    def run(limit: int) -> tuple[LocalRun, list[str]]:
        lines: list[str] = []
        return run_locally(counting, {"limit": limit}, tmp_path, lines.append), lines

    done, lines = run(2)
    assert (done.succeeded, done.error, done.outputs) == (True, "", {"Output": 2})
    assert list(done.tasks) == ["count", "check"]
    assert all(done.tasks.values())
    assert lines == ["» count", "  after 1", "» check"]
    log = (tmp_path / "log.txt").read_text()
    for part in ("Running pipeline: 'counting'", "after 1", "of no interest", "[KFP Executor"):
        assert part in log

    failed, lines = run(1)
    assert (failed.succeeded, failed.error, failed.outputs) == (False, "2 is above 1", {})
    assert failed.tasks["count"] == 0
    assert failed.tasks["check"]
    assert lines == ["» count (unchanged)", "» check"]


def test_a_folder_takes_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path, tmp_path),
        pytest.raises(StreetsegError, match=f"^another process is writing {tmp_path}: wait"),
    ):
        run_locally(counting, {"limit": 2}, tmp_path, print)
    assert not list(tmp_path.iterdir())


@component
def size(dataset: dsl.Input[dsl.Dataset]) -> int:
    """The number of bytes in a dataset."""
    from pathlib import Path

    return sum(path.stat().st_size for path in Path(dataset.path).rglob("*") if path.is_file())


@dsl.pipeline(name="fetching")
def fetching(version: str, remote: str) -> int:
    fetched = fetch(data_version=version, remote=remote)
    return size(dataset=fetched.outputs["dataset"]).output


def test_damaged_data_is_fetched_again_and_used_again(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    fill_remote(tmp_path / "remote", dataset.path)
    version = data_version(dataset.path)
    arguments = {"version": version, "remote": str(tmp_path / "remote")}
    files = [path for path in dataset.path.rglob("*") if path.is_file()]
    whole = {"Output": sum(path.stat().st_size for path in files)}

    def run() -> tuple[LocalRun, list[str]]:
        lines: list[str] = []
        return run_locally(fetching, arguments, tmp_path / "run", lines.append), lines

    def folders() -> set[Path]:
        return {path.parent for path in (tmp_path / "run").rglob("dataset.json")}

    first, _ = run()
    assert first.outputs == whole
    (fetched,) = folders()
    again, _ = run()
    assert set(again.tasks.values()) == {0}
    assert folders() == {fetched}

    victim = next(fetched.rglob("images.npy"))
    pixels = bytearray(victim.read_bytes())
    pixels[-1] ^= 255
    victim.write_bytes(pixels)
    mended, lines = run()
    assert mended.outputs == whole
    assert all(mended.tasks.values())
    assert lines[0] == f"  the files of {fetched} have changed since: the step runs again"
    (other,) = folders() - {fetched}
    assert data_version(other) == version

    shutil.rmtree(other)
    assert run()[0].outputs == whole
    (last,) = folders() - {fetched}
    assert data_version(last) == version
