"""The help of the command line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.core import TyperGroup
from typer.main import get_group
from typer.testing import CliRunner

from streetseg.cli import app
from streetseg.cli.commands import COMMANDS, SECTIONS, load

for name in COMMANDS:
    load(name)
ROOT = get_group(app)


def commands(group: TyperGroup = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Each command with its help."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command.help or ""


@pytest.mark.parametrize(("name", "text"), commands())
def test_the_help_of_a_command_has_an_example_that_parses(name: str, text: str) -> None:
    (example,) = re.findall(r"Example: (streetseg .+?)(?:\n\n|$)", text, re.DOTALL)
    assert example.startswith(f"streetseg {name}")
    arguments = shlex.split(example)[1:]
    command = load(arguments.pop(0))
    while isinstance(command, TyperGroup):
        command = command.commands[arguments.pop(0)]
    command.make_context(name, arguments)


def test_the_help_lists_each_command_in_one_section() -> None:
    listed = [name for section in SECTIONS.values() for name in section]
    assert sorted(listed) == sorted(ROOT.commands)
    shown = CliRunner().invoke(app, ["--help"]).output
    for title, section in SECTIONS.items():
        of_section = shown.split(f"\n{title}:\n")[1].split("\n\n")[0]
        entries = [f"{name} {text}" for name, (_, text) in section.items()]
        assert of_section.split() == " ".join(entries).split()


def test_a_command_imports_only_its_own_module() -> None:
    script = (
        "import sys; sys.argv = ['streetseg', 'promote', '--help']\n"
        "from streetseg.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('streetseg.cli.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "Usage: streetseg promote [OPTIONS]" in done.stdout
    assert "--force" in done.stdout
    own = {"commands", "completion", "options", "registry"}
    modules = [f"streetseg.cli.{name}" for name in sorted(own)]
    assert done.stdout.splitlines()[-1] == str(modules)


def test_a_misspelt_command_gets_a_suggestion() -> None:
    done = CliRunner().invoke(app, ["lst"])
    assert done.exit_code == 2
    assert "No such command 'lst'. Did you mean 'list'?" in done.output
