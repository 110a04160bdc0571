"""A misspelt name of anything on the command line gets the one like it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from streetseg.config.params import Params
from tests.conftest import Command


@pytest.fixture
def project(params: Params, tmp_path: Path) -> Path:
    """A folder with settings and something of everything that a user names."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.to_dict()))
    for folder in ("frames", "outputs/evaluation", "outputs/model", "prepared", "truth"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("street.png", "drive.mp4", "own.yaml"):
        (tmp_path / file).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("validate --params param.yaml", "params.yaml?"),
        ("explore --set data.source=onw.yaml", "own.yaml?"),
        ("prepare --set data.root=frame", "frames?"),
        ("validate --set data.prepared=prepard", "prepared?"),
        ("init fraems", "frames?"),
        ("predict stret.png", "street.png?"),
        ("attention stret.png --model outputs/model", "street.png?"),
        ("gate --evaluation outputs/evaluaton", "outputs/evaluation?"),
        ("ask frame masks", "frames?"),
        ("evaluate --predictions frames --truth trth", "truth?"),
        ("labels import frames --prelabels trth --out labels", "truth?"),
        ("explore --set data.source=cityscape", "'cityscapes'?"),
        ("params --recipe dmeo", "'demo'?"),
        ("params trian", "'train'?"),
        ("params --set train.epoch=2", "'epochs'?"),
        ("list --set registry.tracking_uri=sqlite:///own.yml", "own.yaml?"),
    ],
)
def test_what_a_command_does_not_find_gets_a_hint(
    streetseg: Command, project: Path, command: str, hint: str
) -> None:
    done = streetseg(*command.split(), cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    ending = done.stderr.partition("did you mean ")[2].strip()
    assert ending == hint or ending == f"{project}/{hint}", done.stderr


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("trian", "'train'"),
        ("labels imprt", "'import'"),
        ("train --sett x=1", "--set"),
        ("labels export --form cvat", "--format"),
    ],
)
def test_unknown_commands_and_options_are_wrong_usage_with_a_hint(
    streetseg: Command, command: str, hint: str
) -> None:
    done = streetseg(*command.split())
    assert done.returncode == 2
    assert hint in done.stderr
