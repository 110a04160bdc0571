"""Tables for a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

LOG_WIDTH = 200
"""Width in characters of a table that goes to a log."""


def table_of(*headings: str) -> Table:
    """A table without borders, and without a header row if all headings are empty."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=any(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table at the width of the terminal, or ``LOG_WIDTH`` without one."""
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)
