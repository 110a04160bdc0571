"""Files and folders that appear complete or not at all, one process at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from streetseg.core.atomic_files import lock_destination, os_reason, replace_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage


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
