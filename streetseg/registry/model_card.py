"""The model card, after Mitchell et al., Model Cards for Model Reporting (2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streetseg.config.renamed import with_current_names
from streetseg.core.errors import StreetsegError
from streetseg.data.sources import load_source
from streetseg.evaluation.result import Evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.metrics.confusion import Scores, row_normalized
from streetseg.reports.html import template

if TYPE_CHECKING:
    from streetseg.evaluation.int8 import Int8

CARD = "model_card.md"
DESCRIPTION_LIMIT = 5000
"""Characters that MLflow's PostgreSQL schema has for the description of a version."""
N_WEAKEST, N_MISTAKES = 3, 2
"""How many categories are listed as weak, and how many confusions of each."""
MIN_MISTAKE = 0.01
"""Fraction of the pixels of a category from which a confusion is listed."""


@dataclass(frozen=True)
class Weakness:
    """A category with a low IoU."""

    category: str
    iou: float
    mistaken_for: list[tuple[str, float]]
    """Categories predicted instead, with their fraction of its pixels, 0 to 1."""


def describe_model(
    config: Mapping[str, Any],
    evaluation: Evaluation,
    verdict: Verdict,
    run_tags: Mapping[str, str],
    source: str,
    int8: Int8 | None = None,
) -> str:
    """The model card as Markdown.

    ``config`` is the artifact's, ``run_tags`` are those of the training run. ``source`` is
    ``data.source``, to read the licence of a custom source.
    """
    return template(f"{CARD}.j2").render(
        config=config,
        model=config["params"]["model"],
        train=with_current_names(config["params"]["train"], "train"),
        evaluation=evaluation,
        scores=evaluation.scores,
        intervals=evaluation.intervals,
        weaknesses=weaknesses(evaluation.scores),
        verdict=verdict,
        int8=int8,
        run=run_tags,
        licence=_licence(run_tags.get("source", ""), source),
    )


def weaknesses(scores: Scores) -> list[Weakness]:
    """The categories with the lowest IoU, the worst first, and what they are mistaken for."""
    names = scores.categories
    occurring = [name for name in names if not math.isnan(scores.iou[name])]
    weakest = sorted(occurring, key=lambda name: scores.iou[name])[:N_WEAKEST]
    fractions = row_normalized(scores.category_confusion)
    result = []
    for name in weakest:
        row = fractions[names.index(name)]
        ranked = [names[category] for category in np.argsort(-row, kind="stable")]
        others = [other for other in ranked if other != name][:N_MISTAKES]
        mistakes = [(other, float(row[names.index(other)])) for other in others]
        listed = [mistake for mistake in mistakes if mistake[1] >= MIN_MISTAKE]
        result.append(Weakness(name, scores.iou[name], listed))
    return result


def shorten(card: str) -> str:
    """The first sections of a card, as many as fit into the description of a version."""
    if len(card) <= DESCRIPTION_LIMIT:
        return card
    note = f"\n\nThe whole card is {CARD} in the artifacts of the run.\n"
    room = DESCRIPTION_LIMIT - len(note)
    return card[: max(card.rfind("\n\n", 0, room), 0) or room].rstrip() + note


def _licence(source: str, path: str) -> str | None:
    """The licence of a source; ``path`` is ``data.source``, which may be the file of this name."""
    try:
        return load_source(path if Path(path).name == source else source).licence
    except StreetsegError:
        return None
