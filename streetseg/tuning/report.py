"""The page about a search for better settings."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from streetseg.config.search_space import Range, SearchSpace
from streetseg.reports.drawing import png_address
from streetseg.reports.html import write_page

if TYPE_CHECKING:
    from streetseg.tuning.search import Search

BLUE, GRAY = "#3b82c4", "#999999"
COLUMNS = 4


def write_tuning_page(search: Search, space: SearchSpace, importance: dict[str, float]) -> None:
    """Write ``search.page``: the best settings, the way there, and mIoU against each setting.

    Args:
        search: its trials.
        space: where they were searched.
        importance: the fraction of each setting, summing to 1; empty if not known.
    """
    scored = [trial for trial in search.trials if trial.miou is not None]
    write_page(
        search.page,
        "tune.html.j2",
        search=search,
        ranked=sorted(scored, key=lambda trial: (trial.state, -trial.miou)),
        failed=[trial for trial in search.trials if trial.state == "failed"],
        importance=importance,
        progress=_progress(search),
        settings=_against_settings(search, space),
        show=_show,
    )


def _progress(search: Search) -> str:
    """mIoU by trial with the best so far, beside mIoU by epoch, as a ``data:`` address."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    by_trial, by_epoch = figure.subplots(1, 2, sharey=True)
    _scatter(by_trial, search, [trial.number for trial in search.trials])
    numbers: list[int] = []
    best: list[float] = []
    for trial in search.trials:
        if trial.state == "complete" and trial.miou is not None:
            numbers.append(trial.number)
            best.append(max([trial.miou, *best[-1:]]))
    by_trial.step(numbers, best, where="post", color=BLUE, linewidth=1)
    by_trial.set(xlabel="trial", ylabel="held-out mIoU")
    by_trial.xaxis.get_major_locator().set_params(integer=True)
    for trial in search.trials:
        color = BLUE if trial.state == "complete" else GRAY
        chosen = trial.number == search.best.number
        by_epoch.plot(
            list(trial.curve), list(trial.curve.values()), color=color,
            linewidth=2 if chosen else 0.8, alpha=1 if chosen else 0.6,
            marker="." if len(trial.curve) == 1 else None,
        )  # fmt: skip
    by_epoch.set_xlabel("epoch")
    by_epoch.xaxis.get_major_locator().set_params(integer=True)
    return _address(figure)


def _against_settings(search: Search, space: SearchSpace) -> str:
    """mIoU against each setting, in small multiples, as a ``data:`` address."""
    columns = min(COLUMNS, len(space))
    rows = math.ceil(len(space) / columns)
    figure = Figure(figsize=(11 * columns / COLUMNS, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axis in axes.flat[len(space) :]:
        axis.set_axis_off()
    for axis, (key, where) in zip(axes.flat, space.items(), strict=False):
        values = [trial.settings[key] for trial in search.trials]
        if isinstance(where, Range):
            _scatter(axis, search, values)
            if where.log:
                axis.set_xscale("log")
                axis.xaxis.set_minor_formatter(NullFormatter())
        else:
            _scatter(axis, search, [where.index(value) for value in values])
            axis.set_xticks(range(len(where)), [_show(choice) for choice in where])
            axis.margins(x=0.2)
        axis.set_title(key, fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("held-out mIoU")
    return _address(figure)


def _scatter(axis: Axes, search: Search, places: list[Any]) -> None:
    """A full dot for each complete trial, a hollow one for each pruned one."""
    for state, face, edge in (("pruned", "none", GRAY), ("complete", BLUE, BLUE)):
        points = [
            (place, trial.miou)
            for place, trial in zip(places, search.trials, strict=True)
            if trial.state == state and trial.miou is not None
        ]
        if points:
            x, y = zip(*points, strict=True)
            axis.scatter(x, y, s=22, facecolors=face, edgecolors=edge)


def _address(figure: Figure) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    return png_address(picture.getvalue())


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
