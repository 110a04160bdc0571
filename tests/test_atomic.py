"""Files and folders that appear whole or not at all, one process at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from streetseg.atomic import os_reason, reserved
from streetseg.errors import StreetsegError
from streetseg.places import Place


def test_a_destination_is_reserved_for_one(tmp_path: Path) -> None:
    model = tmp_path / "model"
    with reserved(model):
        second = reserved(model)
        with pytest.raises(StreetsegError, match=f"another process is writing {model}: wait"):
            second.__enter__()
    with reserved(model):
        assert not model.exists()
    assert not list(tmp_path.iterdir())


def test_a_reservation_that_a_killed_process_left_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "model.lock").mkdir()
    with reserved(tmp_path / "model"):
        pass
    assert not list(tmp_path.iterdir())


def test_of_a_folder_that_cannot_be_copied_one_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    for name in "ab":
        (tmp_path / "from" / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "from", tmp_path / "to")
    assert os_reason(caught.value).count("No such file or directory") == 1


def test_what_cannot_take_its_place_is_not_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(StreetsegError, match=r"cannot write taken\.png to .*: Is a directory"):
        Place(str(tmp_path)).write("taken.png", b"mask")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]
