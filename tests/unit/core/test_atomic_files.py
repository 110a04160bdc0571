"""Files and folders that appear complete or not at all, one process at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streetseg.core.atomic_files import (
    atomic_folder,
    lock_destination,
    os_reason,
    replace_folder,
    write_atomic,
)
from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage

WRITER = """
import sys
from pathlib import Path
from streetseg.core.atomic_files import atomic_folder

with atomic_folder(Path(sys.argv[1]), "config.json") as folder:
    (folder / "config.json").write_text("of the first")
    print("begun", flush=True)
    if sys.stdin.readline() == "fail\\n":
        raise SystemExit("as told")
"""


def first_writer(destination: Path) -> subprocess.Popen[str]:
    """A process that has begun to write a folder, and ends when it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(destination)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def write_second(destination: Path) -> None:
    with atomic_folder(destination, "config.json") as folder:
        (folder / "config.json").write_text("of the second")


@pytest.mark.parametrize("told", ["go on", "fail"])
def test_a_second_writer_is_refused_and_neither_loses_its_files(tmp_path: Path, told: str) -> None:
    model = tmp_path / "model"
    write_second(model)
    first = first_writer(model)
    with pytest.raises(StreetsegError, match=f"^another process is writing {model}: wait for it"):
        write_second(model)
    first.communicate(f"{told}\n")
    expected = "of the first" if told == "go on" else "of the second"
    assert (model / "config.json").read_text() == expected
    assert list(tmp_path.iterdir()) == [model]


def test_what_a_killed_writer_left_does_not_block_the_next(tmp_path: Path) -> None:
    model = tmp_path / "model"
    with first_writer(model) as first:
        first.kill()
    assert not model.exists()
    write_second(model)
    assert (model / "config.json").read_text() == "of the second"
    assert list(tmp_path.iterdir()) == [model]


def test_a_writer_leaves_what_a_resumable_one_will_go_on_with(tmp_path: Path) -> None:
    (tmp_path / "data.partial").mkdir()
    (tmp_path / "data.partial" / "begun").touch()
    write_second(tmp_path / "data")
    with atomic_folder(tmp_path / "data", "config.json", resumable=True) as folder:
        assert [path.name for path in folder.iterdir()] == ["begun"]


def test_a_lock_given_back_meanwhile_is_not_taken_for_the_one_that_replaced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "model.lock", fcntl.flock
    held: list[int] = []

    def third_is_faster(descriptor: int, operation: int) -> None:
        if not held:
            path.rmdir()
            path.mkdir()
            held.append(os.open(path, os.O_RDONLY))
            real(held[0], operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", third_is_faster)
    with pytest.raises(StreetsegError, match="another process is writing"):
        write_second(tmp_path / "model")
    os.close(held[0])
    write_second(tmp_path / "model")


def test_a_file_that_has_the_name_of_the_lock_stays(tmp_path: Path) -> None:
    (tmp_path / "model.lock").write_text("numpy==2")
    write_second(tmp_path / "model")
    assert (tmp_path / "model.lock").read_text() == "numpy==2"


def test_two_writers_of_a_file_share_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, rename = tmp_path / "page.html", Path.rename

    def other_is_faster(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        write_atomic(file, "of the second")
        assert file.read_text() == "of the second"
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", other_is_faster)
    write_atomic(file, "of the first")
    assert file.read_text() == "of the first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "page.html", "page")
    finally:
        os.umask(before)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640


def test_one_process_locks_a_destination(tmp_path: Path) -> None:
    model = tmp_path / "model"
    with lock_destination(model):
        second = lock_destination(model)
        with pytest.raises(StreetsegError, match=f"another process is writing {model}: wait"):
            second.__enter__()
    with lock_destination(model):
        assert not model.exists()
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.lock").mkdir()
    with lock_destination(tmp_path / "model"):
        pass
    assert not list(tmp_path.iterdir())


def test_one_reason_is_given_for_a_folder_that_cannot_be_copied(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    for name in "ab":
        (tmp_path / "from" / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "from", tmp_path / "to")
    assert os_reason(caught.value).count("No such file or directory") == 1


def test_a_file_that_cannot_be_written_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(StreetsegError, match=r"cannot write taken\.png to .*: Is a directory"):
        Storage(str(tmp_path)).write("taken.png", b"mask")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_a_folder_that_somebody_called_old_stays(tmp_path: Path) -> None:
    mine, model = tmp_path / "model.old", tmp_path / "model"
    mine.mkdir()
    for _ in ("a new one", "one that replaces it"):
        (tmp_path / "made").mkdir()
        replace_folder(tmp_path / "made", model)
        assert sorted(tmp_path.iterdir()) == [model, mine]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "nothing", tmp_path / "model")
    assert sorted(tmp_path.rglob("*")) == before
