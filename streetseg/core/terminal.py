"""Tables for a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

LOG_WIDTH = 200
"""Columns of a table that no terminal shows."""


def table_of(*headings: str) -> Table:
    """A table without lines; if all headings are empty, it has no head."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=any(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal, or wide enough for a log."""
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)
