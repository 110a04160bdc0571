"""The help of the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
from typer.main import get_command

from streetseg.cli import app


def commands(group: object = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Each command with its help."""
    group = group or get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command.help


@pytest.mark.parametrize(("name", "text"), commands())
def test_the_help_of_a_command_has_an_example_that_parses(name: str, text: str) -> None:
    (example,) = re.findall(r"Example: (streetseg .+?)(?:\n\n|$)", text, re.DOTALL)
    assert example.startswith(f"streetseg {name}")
    command, arguments = get_command(app), shlex.split(example)[1:]
    while hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(name, arguments)
