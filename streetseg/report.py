"""Pages: self-contained HTML from templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.atomic import write_whole

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> Template:
    """A page template of the project, with everything it inserts escaped."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def write_page(path: Path, name: str, **values: Any) -> None:
    """Fill in a page template and write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, template(name).render(values))
