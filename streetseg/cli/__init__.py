"""The command line: each command is one call of the library."""

from streetseg.cli.options import app
from streetseg.core.errors import exit_on_error
from streetseg.core.program import set_up_environment

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line: status 0 done, 1 failed with one clear line, 2 wrong usage."""
    set_up_environment()
    with exit_on_error():
        app(prog_name="streetseg")  # also as python -m streetseg
