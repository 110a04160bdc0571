"""The help of the scripts that the documentation tells people to run."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex

import pytest

from streetseg.core.provenance import REPOSITORY

PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("deploy/*.md")]
SCRIPTS = sorted(
    {name for page in PAGES for name in re.findall(r"python -m scripts\.(\w+)", page.read_text())}
)


class ParsedError(Exception):
    """The arguments were understood; nothing is to be run."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_help_of_a_script_has_an_example_that_parses(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(f"scripts.{name}")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit):
        script.main()
    (example,) = re.findall(r"^Example: (.+)$", capsys.readouterr().out, re.MULTILINE)
    program = f"python -m scripts.{name}"
    assert example.startswith(program)

    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser) -> None:
        parse(parser)
        raise ParsedError

    monkeypatch.setattr("argparse.ArgumentParser.parse_args", only_parse)
    monkeypatch.setattr("sys.argv", [name, *shlex.split(example.removeprefix(program))])
    with pytest.raises(ParsedError):
        script.main()


def test_every_documented_script_is_looked_at() -> None:
    assert {"chaos", "screenshots", "simulate_load"} <= set(SCRIPTS)
