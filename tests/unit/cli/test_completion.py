"""Completion in the shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from streetseg.config.params import SHIPPED, load_recipe
from tests.conftest import Command
from tests.unit.cli.test_help import commands


def complete(*words: str) -> list[str]:
    """What bash would offer after the words, of which the last is unfinished."""
    protocol = {
        "_STREETSEG_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(("streetseg", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        ["streetseg"], env=os.environ | protocol, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_commands_are_completed() -> None:
    assert complete("tra") == ["train", "trace"]
    assert {*complete("")} >= {name.split()[0] for name, _ in commands()}
    assert complete("labels", "") == ["export", "import"]


def test_options_and_their_choices_are_completed() -> None:
    assert complete("params", "--rec") == ["--recipe"]
    assert complete("labels", "export", "--format", "label") == ["labelme", "label-studio"]


@pytest.mark.parametrize("command", ["train", "evaluate", "params"])
def test_names_of_settings_are_completed(command: str) -> None:
    assert complete(command, "--set", "train.loss.focal_") == [
        "train.loss.focal_gamma=",
        "train.loss.focal_tversky=",
        "train.loss.focal_tversky_gamma=",
    ]


def test_a_single_setting_is_offered_with_its_default() -> None:
    assert complete("train", "--set", "train.ep") == ["train.epochs=", "train.epochs=60"]
    assert complete("train", "--set", "prepare.si")[1] == "prepare.size='[256, 512]'"
    assert complete("train", "--set", "validate.ref") == ["validate.reference="]


def test_every_setting_of_the_file_is_completed() -> None:
    settings = yaml.safe_load((SHIPPED / "params.yaml").read_text())
    offered = complete("params", "--set", "")
    for section, content in settings.items():
        for key, value in content.items():
            name = f"{section}.{key}"
            assert any(each.startswith((f"{name}=", f"{name}.")) for each in offered), value


def test_recipes_and_sections_are_completed() -> None:
    names = complete("train", "--recipe", "kitti")
    assert names == ["kitti-road-fcn8s-wide", "kitti-road-fcn8s"]
    assert all(load_recipe(name, {}) for name in names)
    assert complete("params", "t") == ["train", "tune"]


@pytest.mark.parametrize("program", ["streetseg", f"{sys.executable} -m streetseg"])
def test_a_real_bash_completes_with_the_printed_script(program: str) -> None:
    script = (
        f'eval "$({program} --show-completion)"; '
        "complete -p streetseg; "
        "COMP_WORDS=(streetseg train --set train.epo); COMP_CWORD=3; "
        "_streetseg_completion streetseg; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "complete -o default -F _streetseg_completion streetseg",
        "train.epochs=",
        "train.epochs=60",
    ]


def test_it_is_offered_by_the_help(streetseg: Command) -> None:
    assert "--install-completion" in streetseg("--help").stdout
    assert "completion" not in streetseg("train", "--help").stdout
