"""The documentation says what the program says, and leads where something is."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from streetseg.core.provenance import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md")])
TABLES = {"docs/errors.md": "# Errors", "docs/operations.md": "## What you see"}
"""Under which heading errors are quoted in the first column of tables."""
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
)
"""What is quoted there of other programs."""


@functools.cache
def sentences() -> list[str]:
    """Every string of ours, with ``…`` for what is filled in."""
    found = []
    for folder in ("streetseg", "pipelines", "components"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    found.append((REPOSITORY / "Makefile").read_text())
    return found


def quoted_errors() -> list[str]:
    """What the tables quote, without what is not ours."""
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
def test_an_error_in_the_docs_is_one_the_program_gives(quote: str) -> None:
    pieces = [piece.strip() for piece in quote.split("…")]
    pattern = re.compile(".*".join(re.escape(piece) for piece in pieces if piece))
    assert any(pattern.search(sentence) for sentence in sentences()), quote


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, target
