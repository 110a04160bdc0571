"""The page about drift: what is watched, how it stands, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streetseg.data.labels import LabelSpace
from streetseg.monitoring.drift import TOO_FEW, VERDICTS
from streetseg.reports.html import template

DRIFT_POLICY = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""Content-Security-Policy of the page: it brings its style along."""

WIDTH, HEIGHT = 260, 56
"""Of a drawn histogram, in its own units."""
SAME = 0.02
"""Relative change of a mean below which its spread, not the mean, is what has moved."""

LESS_OR_MORE = {
    "confidence": ("less sure", "surer"),
    "brightness": ("darker", "brighter"),
    "sharpness": ("less sharp", "sharper"),
    "share": ("less of it", "more of it"),
}
ADVICE = {
    "brightness": "Look at the camera first: exposure, dirt or water on the lens, another time of "
    "day. If the images are meant to be so, the model needs such images to learn from.",
    "sharpness": "Look at the camera first: focus, dirt or water on the lens, a longer exposure, a "
    "stronger compression, images that were smaller before. Then as with brightness.",
    "share": "Other streets, another season, another mount of the camera: or the model errs. Look "
    "at some images and their masks, which tell the two apart.",
    "confidence": "The model is in doubt more, or less, often than when it was scored. Keep the "
    "pictures that it doubts most (serve.hard_frames), have them labelled, and train again with "
    "them.",
}
"""What to do, by what has moved."""


@dataclass(frozen=True)
class Bar:
    """A bin of a feature, drawn."""

    x: float
    width: float
    reference: float
    """Height of the reference's bar."""
    window: float
    told: str


@dataclass(frozen=True)
class Row:
    """A feature, told."""

    name: str
    color: tuple[int, int, int] | None
    """Of the category that it is the fraction of."""
    verdict: str
    change: str
    """How it has moved, in words; empty if it has not."""
    reference_mean: str
    window_mean: str
    psi: float | None
    psi_by_chance: float | None
    bars: list[Bar]
    ends: tuple[str, str]
    """Where the first bin ends and where the last begins."""


def drift_page(state: Mapping[str, Any], model: Mapping[str, Any], labels: LabelSpace) -> str:
    """The page as HTML that asks for nothing else, has no script, and is light or dark.

    Args:
        state: what :meth:`streetseg.monitoring.drift.DriftWatch.state` gives.
        model: its ``name`` and ``version`` are shown.
        labels: the label space of the model.
    """
    colors = {f"share_{category.name}": category.color for category in labels.categories}
    names = ["confidence", "brightness", "sharpness", *colors]
    rows = [_row(name, state["features"][name], colors.get(name)) for name in names]
    off = [row for row in rows if row.change]
    kinds = {kind_of(name) for name, row in zip(names, rows, strict=True) if row.change}
    return template("drift.html.j2").render(
        state=state,
        model=model,
        rows=sorted(off, key=lambda row: -VERDICTS.index(row.verdict)),
        features=rows,
        advice={kind: text for kind, text in ADVICE.items() if kind in kinds},
        missing=state["minimum"] - state["window"],
        width=WIDTH,
        height=HEIGHT,
    )


def kind_of(name: str) -> str:
    """``share`` of the fraction of any category, else the name of the feature itself."""
    return "share" if name.startswith("share_") else name


def _row(name: str, feature: Mapping[str, Any], color: tuple[int, int, int] | None) -> Row:
    kind = kind_of(name)
    then, now = feature["reference_mean"], feature["window_mean"]
    off = VERDICTS.index(feature["verdict"]) > VERDICTS.index("stable")
    edges = feature["edges"] or []
    return Row(
        name=name.removeprefix("share_"),
        color=color,
        verdict=feature["verdict"],
        change=_change(kind, then, now) if off else "",
        reference_mean=_show(kind, then),
        window_mean=_show(kind, now),
        psi=feature["psi"],
        psi_by_chance=feature["psi_by_chance"],
        bars=_bars(kind, feature) if edges and feature["verdict"] != TOO_FEW else [],
        ends=(_bins(kind, edges)[0], _bins(kind, edges)[-1]) if edges else ("", ""),
    )


def _change(kind: str, then: float, now: float | None) -> str:
    if now is None:
        return "not a number"
    if abs(now - then) <= SAME * abs(then):
        return "spread differently"
    less, more = LESS_OR_MORE[kind]
    return less if now < then else more


def _bars(kind: str, feature: Mapping[str, Any]) -> list[Bar]:
    """A bar for each bin, all of one width, whatever the bin's own."""
    reference, window = (
        [count / sum(counts) for count in counts]
        for counts in (feature["reference_counts"], feature["window_counts"])
    )
    unit, width = HEIGHT / max(*reference, *window), WIDTH / len(reference)
    return [
        Bar(
            x=round(place * width, 1),
            width=round(width, 1),
            reference=round(then * unit, 1),
            window=round(now * unit, 1),
            told=f"{bin_}: {then * 100:.0f} % of the reference, {now * 100:.0f} % now",
        )
        for place, (bin_, then, now) in enumerate(
            zip(_bins(kind, feature["edges"]), reference, window, strict=True)
        )
    ]


def _bins(kind: str, edges: list[float]) -> list[str]:
    """Each bin in words."""
    shown = [_show(kind, edge) for edge in edges]
    between = (f"{low} to {high}" for low, high in pairwise(shown))
    return [f"up to {shown[0]}" if edges[0] else "none", *between, f"above {shown[-1]}"]


def _show(kind: str, value: float | None) -> str:
    """A value of a feature, for people."""
    if value is None:
        return "-"
    if kind in ("share", "confidence"):
        return f"{value * 100:.1f} %"
    return f"{value:.0f}"
