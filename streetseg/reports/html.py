"""Pages from templates: self-contained HTML, and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.core.atomic_files import write_atomic

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> Template:
    """A template of the project; HTML has everything escaped that is inserted.

    The filter ``score`` shows a number with three decimals, or "-" for None.
    """
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = lambda value: "-" if value is None else f"{value:.3f}"
    return environment.get_template(name)


def write_page(path: Path, name: str, **values: Any) -> None:
    """Fill in a page template and write it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, template(name).render(values))
