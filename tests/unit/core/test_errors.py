"""Errors and their hints."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from streetseg.core.errors import cannot_read, did_you_mean, did_you_mean_path, exit_on_error


def test_a_name_gets_the_one_like_it_whatever_its_case() -> None:
    names = ["DeepLabV3Plus", "Unet", "UnetPlusPlus"]
    assert did_you_mean("deeplabv3pluss", names, "") == "did you mean 'DeepLabV3Plus'?"
    assert did_you_mean("Unett", names, "") == "did you mean 'Unet'?"
    assert did_you_mean("unetplus", names, "", 2) == "did you mean 'UnetPlusPlus' or 'Unet'?"
    assert did_you_mean("xyz", names, "choose another") == "choose another"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data/prepared").mkdir(parents=True)
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "like"),
    [
        ("data/prepard", "data/prepared"),
        ("dta/prepared", "data/prepared"),
        ("dta/prepard", "data/prepared"),
        ("./params.yml", "params.yaml"),
        ("param.yaml", "params.yaml"),
    ],
)
def test_a_path_gets_the_existing_one_like_it(project: Path, path: str, like: str) -> None:
    assert did_you_mean_path(path, "make one") == f"did you mean {like}?"
    absolute = f"did you mean {project / like}?"
    assert did_you_mean_path(project / path, "make one") == absolute


@pytest.mark.parametrize(
    "path",
    [
        "data/prepared",
        "data/nothing",
        "data/prepard/shards",
        "params.yaml/x",
        "s3://data/prepard",
        "x" * 300,
        "/",
    ],
)
def test_other_paths_get_the_other_hint(project: Path, path: str) -> None:
    assert did_you_mean_path(path, "make one") == "make one"


def test_of_a_large_folder_not_all_names_are_compared(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streetseg.core.errors.MAX_SIBLINGS", 1)
    (project / "data/preparee").mkdir()
    likes = {did_you_mean_path(f"data/{name}", "") for name in ("prepared1", "preparee1")}
    assert len(likes) == 1  # only the first name of the folder


def test_an_unreadable_file_says_why_and_what_is_there_instead(project: Path) -> None:
    (project / "own.yaml").touch()
    for path, message in {
        "own.yml": "cannot read own.yml: No such file or directory: did you mean own.yaml?",
        "data": "cannot read data: Is a directory",
    }.items():
        with pytest.raises(OSError) as caught:
            Path(path).read_bytes()
        assert str(cannot_read(path, caught.value)) == message


def test_a_file_that_is_refused_is_not_taken_for_a_misspelt_one(project: Path) -> None:
    (project / "own.yaml").touch()
    refused = PermissionError(errno.EACCES, "Permission denied", "own.yml")
    assert str(cannot_read("own.yml", refused)) == "cannot read own.yml: Permission denied"
    with pytest.raises(SystemExit) as ended, exit_on_error():
        raise refused
    assert ended.value.code == "error: Permission denied: own.yml"


def test_an_error_of_the_system_ends_the_program_with_the_hint(project: Path) -> None:
    script = (
        "from streetseg.core.errors import exit_on_error\n"
        "with exit_on_error(): open('data/prepard/index.parquet')\n"
    )
    (project / "data/prepared/index.parquet").touch()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        "error: No such file or directory: data/prepard/index.parquet: did you mean "
        "data/prepared/index.parquet?\n",
    )
