"""``python -m pipelines.component_files``: write the components as YAML."""

from __future__ import annotations

from collections.abc import Callable, Sized
from pathlib import Path
from typing import Annotated

import typer

from components import IMAGE
from streetseg.core.errors import exit_on_error
from streetseg.core.program import set_up_environment

FOLDER = Path("components/yaml")


def main(compile_components: Callable[[Path], Sized]) -> None:
    """Run the command line: status 0 done, 1 failed with one clear line, 2 wrong usage.

    Args:
        compile_components: writes a YAML of each into a folder.
    """
    set_up_environment()
    with exit_on_error():
        commands(compile_components)()


def commands(compile_components: Callable[[Path], Sized]) -> typer.Typer:
    """The command ``compile`` of the components."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    @app.callback()
    def parts() -> None:
        """The components, for pipelines of others."""

    @app.command("compile")
    def compile_yaml(
        out: Annotated[Path, typer.Option(help="Folder for a YAML of each component.")] = FOLDER,
    ) -> None:
        """Write each component as YAML. STREETSEG_IMAGE names the image.

        Example: python -m pipelines.component_files compile --out outputs/components
        """
        files = compile_components(out)
        print(f"{len(files)} components in {out}, on the image {IMAGE}")

    return app
