"""Is there room to build the images? Programs of the test stand for Docker's and df's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from streetseg.core.provenance import REPOSITORY


def asked(folder: Path, free: int, *arguments: str, built: bool = False) -> tuple[int, str]:
    """Status and error line for an engine whose disk has so many GB free."""
    programs = {
        "docker": f'[ "$1" = image ] && exit {int(not built)}; echo {folder}',
        "df": f'[ "${{@: -1}}" = {folder} ] && printf "Avail\\n{free}\\n"',
    }
    for name, script in programs.items():
        path = folder / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
    done = subprocess.run(
        [REPOSITORY / "scripts" / "room_for_images.sh", "0.2.0", *arguments],
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("free", "accelerator"), [(20, ()), (12, ("cpu",))])
def test_enough_room_says_nothing(tmp_path: Path, free: int, accelerator: tuple[str, ...]) -> None:
    assert asked(tmp_path, free, *accelerator) == (0, "")


def test_too_little_room_is_one_line_that_says_how_much_is_needed(tmp_path: Path) -> None:
    assert asked(tmp_path, 19) == (
        1,
        f"error: {tmp_path} has 19 GB free, and building the images takes 20 GB: free some with "
        "'docker system prune', or leave CUDA out with ACCELERATOR=cpu (12 GB)\n",
    )
    assert asked(tmp_path, 11, "cpu")[0] == 1


def test_images_that_are_there_need_little(tmp_path: Path) -> None:
    assert asked(tmp_path, 1, built=True) == (0, "")
