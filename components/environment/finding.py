"""What a probe has found, and the table of all findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, one_line


@dataclass(frozen=True)
class Finding:
    """What a probe has found."""

    name: str
    ok: bool
    seen: str
    way_out: str
    """What to do if it is not ok."""


def probe(name: str, way_out: str, look: Callable[[], str]) -> Finding:
    """The finding of ``look``, which returns what it saw, or raises what is wrong."""
    try:
        return Finding(name, True, look(), way_out)
    except Exception as error:  # whatever a library raises is the finding
        return Finding(name, False, redact(one_line(error, 500)), way_out)


def require(findings: Sequence[Finding]) -> None:
    """Raise a StreetsegError that names what is not ok."""
    if missing := [each.name for each in findings if not each.ok]:
        raise StreetsegError(f"{len(missing)} of {len(findings)} are missing: {', '.join(missing)}")


def to_text(findings: Sequence[Finding]) -> str:
    """The table for a log."""
    width = max(len(each.name) for each in findings)
    lines = []
    for each in findings:
        lines.append(f"{'ok' if each.ok else 'MISSING':7}  {each.name:{width}}  {each.seen}")
        if not each.ok:
            lines.append(f"{'':7}  {'':{width}}  way out: {each.way_out}")
    return "\n".join(lines)


def to_markdown(findings: Sequence[Finding]) -> str:
    """The table for Kubeflow's UI."""
    rows = ["| check | | seen | way out |", "|---|---|---|---|"]
    for each in findings:
        cells = (
            each.name,
            "ok" if each.ok else "**missing**",
            each.seen,
            "" if each.ok else each.way_out,
        )
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"
