"""Groups of options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from streetseg.cli.option_groups import option_groups


@dataclass(frozen=True)
class Size:
    """How large."""

    width: Annotated[int, typer.Option(min=1, help="In pixels.")]
    height: Annotated[int, typer.Option("--high", envvar="HEIGHT")] = 4


@dataclass(frozen=True)
class WideSize(Size):
    """A subclass may set another default without moving the option."""

    width: Annotated[int, typer.Option(help="Wide.")] = 9


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @option_groups
    def resize(file: Annotated[Path, typer.Argument()], size: Size, verbose: bool = False) -> None:
        """Make it another size."""
        print(file, size, verbose)

    @app.command()
    @option_groups
    def widen(size: WideSize) -> None:
        print(size)

    return app


def test_a_command_gets_its_options_as_the_dataclass(app: typer.Typer) -> None:
    run = CliRunner().invoke
    assert run(app, ["resize", "a.png", "--width", "2", "--verbose"]).output == (
        "a.png Size(width=2, height=4) True\n"
    )
    with_variable = run(app, ["resize", "a.png", "--width", "2"], env={"HEIGHT": "7"})
    assert "Size(width=2, height=7) False" in with_variable.output
    assert "WideSize(width=9, height=5)" in run(app, ["widen", "--high", "5"]).output


def test_each_field_is_an_option_of_the_help(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["resize", "--help"]).output
    positions = [shown.index(text) for text in ("--width", "--high", "--verbose")]
    assert positions == sorted(positions)
    assert "In pixels." in shown
    assert "Make it another size." in shown
    assert "--size" not in shown


def test_limits_and_required_options_are_wrong_usage(app: typer.Typer) -> None:
    run = CliRunner().invoke
    assert run(app, ["resize", "a.png", "--width", "0"]).exit_code == 2
    assert run(app, ["resize", "a.png"]).exit_code == 2
