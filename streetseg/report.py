"""Pages: self-contained HTML from templates, the evaluation report first of all."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jinja2 import Template

    from streetseg.evaluation import Evaluation

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
    path.write_text(template(name).render(values), encoding="utf-8")


def write_report(evaluation: Evaluation, picture: Path, path: Path) -> None:
    """Write the page that explains an evaluation.

    Args:
        evaluation: the scores.
        picture: the PNG sheet of predictions to show.
        path: the HTML file to write.
    """
    scores = evaluation.scores
    confusion = scores.category_confusion
    truth = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, truth, out=np.zeros(confusion.shape), where=truth > 0)
    write_page(
        path,
        "report.html.j2",
        evaluation=evaluation,
        scores=scores,
        categories=evaluation.labels.categories,
        shares=shares,
        truth_shares=(truth[:, 0] / max(1, truth.sum())),
        best=evaluation.frames[:5],
        worst=evaluation.frames[:-6:-1],
        picture=base64.b64encode(picture.read_bytes()).decode(),
    )
