"""The model card: what a model is for, how good it is, where it fails, and where it comes from.

After Mitchell et al., Model Cards for Model Reporting (2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streetseg.config.renamed import with_current_names
from streetseg.core.errors import StreetsegError
from streetseg.data.sources import load_source
from streetseg.evaluation.verdict import Verdict
from streetseg.metrics.confusion import shares_of_truth
from streetseg.reports.html import template

if TYPE_CHECKING:
    from streetseg.evaluation.int8 import Int8

CARD = "model_card.md"
DESCRIPTION_LIMIT = 5000
"""Characters that MLflow's PostgreSQL schema has for the description of a version."""
WORST, MISTAKES = 3, 2
"""How many categories are named as weak, and how many others each is mistaken for."""
MIN_MISTAKE = 0.01
"""Share of the pixels of a category from which on a mistake is worth naming."""


@dataclass(frozen=True)
class Weakness:
    """A category that is found badly."""

    category: str
    iou: float
    mistaken_for: list[tuple[str, float]]
    """Categories that its pixels are given instead, with their fraction of its pixels, 0 to 1."""


def describe_model(
    config: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    verdict: Verdict,
    run_tags: Mapping[str, str],
    source: str,
    int8: Int8 | None = None,
) -> str:
    """The model card as Markdown.

    Args:
        config: of the model artifact.
        evaluation: the content of ``evaluation.json``; intervals are shown where it has them.
        verdict: the gate's.
        run_tags: of the training run.
        source: ``data.source`` of the settings, to read the licence of a source of one's own.
        int8: the int8 version, if one was tried.
    """
    return template(f"{CARD}.j2").render(
        config=config,
        model=config["params"]["model"],
        train=with_current_names(config["params"]["train"], "train"),
        evaluation=evaluation,
        intervals=evaluation.get("intervals") or {},
        weaknesses=weaknesses(evaluation),
        verdict=verdict,
        int8=int8,
        run=run_tags,
        licence=_licence(run_tags.get("source", ""), source),
    )


def weaknesses(evaluation: Mapping[str, Any]) -> list[Weakness]:
    """The categories with the lowest IoU, the worst first, and what they are mistaken for."""
    names, iou = evaluation["categories"], evaluation["iou"]
    shares_of = shares_of_truth(np.array(evaluation["confusion"]))
    scored = sorted((n for n in names if iou[n] is not None), key=lambda name: iou[name])
    found = []
    for name in scored[:WORST]:
        shares = shares_of[names.index(name)]
        others = [int(i) for i in np.argsort(-shares, kind="stable") if names[i] != name]
        mistakes = [(names[i], float(shares[i])) for i in others[:MISTAKES]]
        found.append(
            Weakness(name, iou[name], [each for each in mistakes if each[1] >= MIN_MISTAKE])
        )
    return found


def shorten(card: str) -> str:
    """The sections of a card that fit into the description of a version, from the first on."""
    if len(card) <= DESCRIPTION_LIMIT:
        return card
    rest = f"\n\nThe whole card is {CARD} in the artifacts of the run.\n"
    room = DESCRIPTION_LIMIT - len(rest)
    return card[: max(card.rfind("\n\n", 0, room), 0) or room].rstrip() + rest


def _licence(source: str, path: str) -> str | None:
    """Of the source of this name; of one's own, if ``path`` is it."""
    try:
        return load_source(path if Path(path).name == source else source).licence
    except StreetsegError:
        return None
