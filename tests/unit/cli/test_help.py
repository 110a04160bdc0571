"""The help of the command lines."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_group
from typer.testing import CliRunner

import pipelines.cli.component_files
import pipelines.cli.generic
import pipelines.cli.training
from streetseg.cli import app
from streetseg.cli.commands import COMMANDS, SECTIONS, load
from tests.support.loaded_modules import run_streetseg

for name in COMMANDS:
    load(name)
ROOT = get_group(app)

PIPELINES = ("batch", "batch_parts", "cross_evaluation", "evaluation", "prepare", "tune")
"""Those whose commands are made by :mod:`pipelines.cli.generic`."""


def commands(group: TyperGroup = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each command with its name, without the program's."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def of_pipelines() -> Iterator[tuple[str, Any]]:
    """Each command of ``python -m pipelines.*`` with its name."""
    apps = {"training": pipelines.cli.training.app}
    for name in PIPELINES:
        factory = getattr(importlib.import_module(f"pipelines.{name}"), f"{name}_pipeline")
        apps[name] = pipelines.cli.generic.commands(factory)
    apps["component_files"] = pipelines.cli.component_files.commands(lambda folder: [])
    for module, each in apps.items():
        for name, command in commands(get_group(each)):
            yield f"pipelines.{module} {name}", command


def parse(command: Any, text: str, program: str) -> dict[str, Any]:
    """Read the one example in the help of a command as its program would."""
    (example,) = re.findall(r"Example: (.+?)(?:\n\n|$)", text, re.DOTALL)
    assert example.startswith(f"{program} ") or example == program
    arguments = shlex.split(example)[len(program.split()) :]
    return command.make_context(program, arguments).params


@pytest.mark.parametrize(("name", "command"), commands())
def test_the_help_of_a_command_has_an_example_that_parses(name: str, command: Any) -> None:
    parse(command, command.help, f"streetseg {name}")


@pytest.mark.parametrize(("name", "command"), of_pipelines())
def test_so_has_each_command_of_the_pipelines(name: str, command: Any) -> None:
    parse(command, command.help, f"python -m {name}")


@pytest.mark.parametrize("name", PIPELINES)
def test_the_inputs_of_an_example_are_those_that_the_pipeline_needs(name: str) -> None:
    from pipelines.pods import no_pods

    factory = getattr(importlib.import_module(f"pipelines.{name}"), f"{name}_pipeline")
    command = get_group(pipelines.cli.generic.commands(factory)).commands["run"]
    inputs = parse(command, command.help, f"python -m pipelines.{name} run")["inputs"]
    assert pipelines.cli.generic.read_inputs(factory(no_pods), inputs, {})


def test_every_command_line_of_the_pipelines_is_looked_at() -> None:
    from streetseg.core.provenance import REPOSITORY

    programs = {
        path.stem
        for path in (REPOSITORY / "pipelines").glob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert programs == {*PIPELINES, "training", "component_files"}


def test_the_help_lists_each_command_in_one_section() -> None:
    listed = [name for section in SECTIONS.values() for name in section]
    assert sorted(listed) == sorted(ROOT.commands)
    shown = CliRunner().invoke(app, ["--help"]).output
    for title, section in SECTIONS.items():
        of_section = shown.split(f"\n{title}:\n")[1].split("\n\n")[0]
        entries = [f"{name} {text}" for name, (_, text) in section.items()]
        assert of_section.split() == " ".join(entries).split()


def test_a_command_imports_only_its_own_module() -> None:
    shown, loaded = run_streetseg("promote", "--help")
    assert "Usage: streetseg promote [OPTIONS]" in shown
    assert "--force" in shown
    own = {"commands", "completion", "options", "registry"}
    modules = {name for name in loaded if name.startswith("streetseg.cli.")}
    assert modules == {f"streetseg.cli.{name}" for name in own}


def test_a_misspelt_command_gets_a_suggestion() -> None:
    done = CliRunner().invoke(app, ["lst"])
    assert done.exit_code == 2
    assert "No such command 'lst'. Did you mean 'list'?" in done.output
