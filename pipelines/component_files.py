"""Every component as YAML, for pipelines of others.

It must not be called as another package: ``kfp dsl compile`` puts this folder first on the path.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from kfp.compiler import Compiler
from kfp.dsl.base_component import BaseComponent

import components


def all_components() -> dict[str, Any]:
    """The components by name, such as ``fetch-model``."""
    return dict(sorted((each.name, each) for each in _components()))


def compile_components(folder: Path) -> list[Path]:
    """Write ``NAME.yaml`` of each component, for ``kfp.components.load_component_from_file``.

    They run on the image that ``STREETSEG_IMAGE`` names. Files of components that there are no
    longer are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.yaml": each for name, each in all_components().items()}
    for path, each in files.items():
        Compiler().compile(each, str(path))
    for path in {*folder.glob("*.yaml")} - files.keys():
        path.unlink()
    return list(files)


def _components() -> Iterator[BaseComponent]:
    for module in iter_modules(components.__path__):
        if not module.ispkg:
            members = vars(import_module(f"components.{module.name}")).values()
            yield from (each for each in members if isinstance(each, BaseComponent))


if __name__ == "__main__":
    from pipelines.cli.component_files import main

    main(compile_components)
