"""The drift page: the monitored features, how they compare with the reference, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from streetseg.data.labels import LabelSpace
from streetseg.monitoring.drift import TOO_FEW, VERDICTS
from streetseg.reports.html import template

DRIFT_POLICY = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
"""Content-Security-Policy of the page, whose style is inline."""

WIDTH, HEIGHT = 260, 56
"""Size of a histogram, in SVG units."""
FOLDED_FROM = 20
"""Categories from which the stable ones are folded."""
SAME_MEAN = 0.02
"""Relative change of a mean below which the shape of the distribution has moved, not the mean."""

DIRECTIONS = {
    "confidence": ("less confident", "more confident"),
    "brightness": ("darker", "brighter"),
    "sharpness": ("less sharp", "sharper"),
    "share": ("less of it", "more of it"),
}
ADVICE = {
    "brightness": "Look at the camera first: exposure, dirt or water on the lens, another time of "
    "day. If the images are intended, train on images like them.",
    "sharpness": "Look at the camera first: focus, dirt or water on the lens, a longer exposure, "
    "stronger compression, upscaled images. If the images are intended, train on images like them.",
    "share": "Other streets, another season, another camera mount, or errors of the model: some "
    "images and their masks show which.",
    "confidence": "The model is less, or more, confident than when it was scored. Collect the "
    "images with the lowest confidence (serve.hard_frames), have them labelled, and train on them.",
}
"""What to do, by the feature that has moved."""


@dataclass(frozen=True)
class Bar:
    """A bin of a histogram, in SVG units; ``reference`` and ``window`` are heights."""

    x: float
    width: float
    reference: float
    window: float
    label: str


@dataclass(frozen=True)
class Row:
    """A feature as the page shows it."""

    name: str
    color: tuple[int, int, int] | None
    """Of the category; None for other features."""
    verdict: str
    change: str
    """How it has changed, in words; empty if it has not."""
    reference_mean: str
    window_mean: str
    psi: float | None
    psi_by_chance: float | None
    bars: list[Bar]
    ends: tuple[str, str]
    """Upper end of the first bin and lower end of the last."""


def drift_page(state: Mapping[str, Any], model: Mapping[str, Any], labels: LabelSpace) -> str:
    """The page as self-contained HTML without scripts, light or dark.

    ``state`` is :meth:`streetseg.monitoring.drift.DriftWatch.state`; ``model`` has ``name`` and
    ``version``.
    """
    colors = {f"share_{category.name}": category.color for category in labels.categories}
    names = ["confidence", "brightness", "sharpness", *colors]
    rows = [_row(name, state["features"][name], colors.get(name)) for name in names]
    moved = [row for row in rows if row.change]
    kinds = {kind_of(name) for name, row in zip(names, rows, strict=True) if row.change}
    return template("drift.html.j2").render(
        state=state,
        model=model,
        rows=sorted(moved, key=lambda row: -VERDICTS.index(row.verdict)),
        features=rows,
        bars_drawn=bool(rows[0].bars),
        folded_from=FOLDED_FROM,
        advice={kind: text for kind, text in ADVICE.items() if kind in kinds},
        missing=state["minimum"] - state["window"],
        width=WIDTH,
        height=HEIGHT,
    )


def kind_of(name: str) -> str:
    """``share`` for the share of any category, else the name of the feature."""
    return "share" if name.startswith("share_") else name


def _row(name: str, feature: Mapping[str, Any], color: tuple[int, int, int] | None) -> Row:
    kind = kind_of(name)
    before, now = feature["reference_mean"], feature["window_mean"]
    has_moved = VERDICTS.index(feature["verdict"]) > VERDICTS.index("stable")
    edges = feature["edges"] or []
    return Row(
        name=name.removeprefix("share_"),
        color=color,
        verdict=feature["verdict"],
        change=_describe_change(kind, before, now) if has_moved else "",
        reference_mean=_show(kind, before),
        window_mean=_show(kind, now),
        psi=feature["psi"],
        psi_by_chance=feature["psi_by_chance"],
        bars=_bars(kind, feature) if edges and feature["verdict"] != TOO_FEW else [],
        ends=(_bin_names(kind, edges)[0], _bin_names(kind, edges)[-1]) if edges else ("", ""),
    )


def _describe_change(kind: str, before: float, now: float | None) -> str:
    if now is None:
        return "not a number"
    if abs(now - before) <= SAME_MEAN * abs(before):
        return "distributed differently"
    less, more = DIRECTIONS[kind]
    return less if now < before else more


def _bars(kind: str, feature: Mapping[str, Any]) -> list[Bar]:
    reference, window = (
        [count / sum(counts) for count in counts]
        for counts in (feature["reference_counts"], feature["window_counts"])
    )
    unit, width = HEIGHT / max(*reference, *window), WIDTH / len(reference)
    return [
        Bar(
            x=round(number * width, 1),
            width=round(width, 1),
            reference=round(before * unit, 1),
            window=round(now * unit, 1),
            label=f"{name}: {before * 100:.0f} % of the reference, {now * 100:.0f} % now",
        )
        for number, (name, before, now) in enumerate(
            zip(_bin_names(kind, feature["edges"]), reference, window, strict=True)
        )
    ]


def _bin_names(kind: str, edges: list[float]) -> list[str]:
    shown = [_show(kind, edge) for edge in edges]
    between = (f"{low} to {high}" for low, high in pairwise(shown))
    return [f"up to {shown[0]}" if edges[0] else "none", *between, f"above {shown[-1]}"]


def _show(kind: str, value: float | None) -> str:
    if value is None:
        return "-"
    if kind in ("share", "confidence"):
        return f"{value * 100:.1f} %"
    return f"{value:.0f}"
