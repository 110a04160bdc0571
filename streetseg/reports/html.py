"""Pages from templates: self-contained HTML, and Markdown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.core.atomic_files import write_atomic

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> Template:
    """A template of the project; in HTML, inserted values are escaped.

    The filter ``score`` shows a number with three decimals, ``percent`` in percent with one; None
    and NaN are "-".
    """
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = _show_score
    environment.filters["percent"] = _show_percent
    return environment.get_template(name)


def _show_score(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _show_percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def write_page(path: Path, name: str, **values: Any) -> None:
    """Render a page template and write it atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, render_page(name, **values))


def render_page(name: str, **values: Any) -> str:
    """The HTML of a page template."""
    return template(name).render(values)
