"""The command that tells what can be set."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from streetseg.cli.options import app
from streetseg.core.errors import StreetsegError


@app.command()
def params(
    section: Annotated[
        str | None, typer.Argument(help="Only this one, such as train; all if not given.")
    ] = None,
) -> None:
    """Print every setting with its default, what it means and its unit."""
    from streetseg.core.provenance import REPOSITORY

    text = (REPOSITORY / "params.yaml").read_text()
    sections = {part.partition(":")[0]: part for part in re.split(r"\n(?=\w)", text)}
    if section is None:
        print(text, end="")
    elif section in sections:
        print(sections[section].rstrip())
    else:
        known = ", ".join(name for name in sections if name.isidentifier())
        raise StreetsegError(f"no section '{section}' in params.yaml: choose one of {known}")
