"""Tables for a terminal."""

from __future__ import annotations

from rich.table import Table


def table_of(*headings: str) -> Table:
    """A table without lines; if all headings are empty, it has no head."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=any(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
