"""The documentation quotes messages of the program, and its links resolve."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from streetseg.core.provenance import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md")])
TABLES = {"docs/errors.md": "# Errors", "docs/operations.md": "## Messages"}
"""The heading under which the first column of tables quotes messages."""
FOREIGN = (
    "No space left on device",
    "Failed to fetch",
    "streetseg: command not found",
    "Address already in use",
    "Retry-After",
    "Permission denied",
    "Connection refused",
    "Name or service not known",
    "database is locked",
    "database or disk is full",
    "is busy, it is being blocked by: (PID …)",
    "Checkout failed for following targets",
    "not in cache",
    "getpwuid(): uid not found",
)
"""Quotes from other programs."""


@functools.cache
def messages() -> list[str]:
    """Every string of the program, with ``…`` for each formatted value."""
    strings = []
    for folder in ("streetseg", "pipelines", "components"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                    strings.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    strings.append(node.value)
    strings.append((REPOSITORY / "Makefile").read_text())
    return strings


def quoted_errors() -> list[str]:
    """The messages that the tables quote, without those of other programs."""
    quoted = []
    for page, heading in TABLES.items():
        section = (REPOSITORY / page).read_text().partition(heading)[2]
        section = section.partition(f"\n{heading.split()[0]} ")[0]
        for row in re.findall(r"^\| (.*?) \|", section, re.MULTILINE):
            quoted += re.findall(r"`([^`]+)`", row)
    for foreign in FOREIGN:
        quoted = [quote.replace(foreign, "…") for quote in quoted]
    return [quote for quote in (quote.strip(" :…") for quote in quoted) if quote]


@pytest.mark.parametrize("quote", quoted_errors())
def test_the_program_has_each_quoted_message(quote: str) -> None:
    pieces = [piece.strip() for piece in quote.split("…")]
    pattern = re.compile(".*".join(re.escape(piece) for piece in pieces if piece))
    assert any(pattern.search(message) for message in messages()), quote


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, target
