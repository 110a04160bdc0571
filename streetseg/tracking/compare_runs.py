"""Training runs side by side: a table for the terminal and a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from streetseg.core.terminal import table_of
from streetseg.images.decode import decode_image
from streetseg.images.errors import BadImageError
from streetseg.reports.drawing import jpeg_address, shrink
from streetseg.reports.html import write_page
from streetseg.tracking.read import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES = {
    "selection_miou": "held-out mIoU",
    "miou": "mIoU",
    "miou_official": "official score",
}
PICTURE_WIDTH = 1536

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by the colour-blind, on white and on black (Okabe and Ito, Color Universal Design,
2008, without the two that one of the grounds swallows)."""
DASHES: tuple[tuple[int, ...], ...] = ((), (5, 2), (1, 2))
"""Ink and gap of a line, for the runs after the sixth and the twelfth."""
INK = "#010101"
"""Stands in a drawing for the colour of the text of the page."""


@dataclass(frozen=True)
class Comparison:
    """Runs in the order in which they are shown."""

    runs: list[RunRecord]

    @property
    def settings(self) -> dict[str, list[str | None]]:
        """The settings that differ: for each the value of every run, None where it has none."""
        keys = dict.fromkeys(key for run in self.runs for key in run.settings)
        values = {key: [run.settings.get(key) for run in self.runs] for key in keys}
        return {key: each for key, each in values.items() if len(set(each)) > 1}

    @property
    def warning(self) -> str | None:
        """Why scores should not be held against each other, if so."""
        trained_on = {run.id: run.data_version for run in self.runs}
        scored_on = {run.id: run.evaluation.get("data_version") for run in self.runs}
        subjects = {
            "data version": trained_on,
            "data version of the evaluation": {} if scored_on == trained_on else scored_on,
            "label space": {run.id: run.evaluation.get("label_space") for run in self.runs},
            "evaluation split": {run.id: run.evaluation.get("split") for run in self.runs},
        }
        reasons = [
            f"{subject} {_who_has_what(values)}"
            for subject, values in subjects.items()
            if len({value for value in values.values() if value}) > 1
        ]
        return f"the runs are not comparable: {'; '.join(reasons)}" if reasons else None

    @property
    def categories(self) -> list[str]:
        """Those with an IoU in any run, in the order of the label space."""
        ordered = (name for run in self.runs for name in run.evaluation.get("categories", []))
        scored = (name for run in self.runs for name in run.iou)
        known = {name for run in self.runs for name in run.iou}
        return [name for name in dict.fromkeys([*ordered, *scored]) if name in known]

    def score(self, run: RunRecord, name: str) -> float | None:
        """One of ``SCORES``, 0 to 1; None if the run has not got it."""
        if name == "selection_miou":
            return max(run.selection_miou.values(), default=None)
        return run.scores.get(name)

    def best(self, name: str) -> float | None:
        """The highest of a score; None if there is nothing to compare."""
        return self.highest([self.score(run, name) for run in self.runs])

    def highest(self, values: Sequence[float | None]) -> float | None:
        """Of values of each run, the highest; None if there is nothing to compare."""
        present = [value for value in values if value is not None]
        return max(present) if len(present) > 1 and not self.warning else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what a run has not got is null."""
        settings = self.settings
        return {
            "warning": self.warning,
            "runs": [
                {
                    "id": run.id,
                    "name": run.name,
                    "started": run.started.isoformat(),
                    "status": run.status,
                    "data_version": run.data_version,
                    "settings": {key: run.settings.get(key) for key in settings},
                    "epochs": run.epochs,
                    "best_epoch": run.best_epoch,
                    **{name: self.score(run, name) for name in SCORES},
                    "iou": run.iou,
                    "curves": {
                        "loss": [*run.loss.items()],
                        "selection_miou": [*run.selection_miou.items()],
                    },
                }
                for run in self.runs
            ],
        }

    def score_table(self) -> Table:
        """A row for each run, for a terminal; a star marks the best of a column."""
        scores = [name for name in SCORES if {self.score(run, name) for run in self.runs} != {None}]
        table = table_of("run", "name", "when", "epochs", *(SCORES[name] for name in scores))
        for column in (*table.columns[:1], *table.columns[2:]):
            column.no_wrap = True
        for column in table.columns[2:]:
            column.justify = "right"
        for run in self.runs:
            table.add_row(
                run.id[:8],
                escape(run.name),
                f"{run.started:%Y-%m-%d %H:%M}",
                epochs_of(run),
                *(self.marked(self.score(run, name), self.best(name)) for name in scores),
            )
        return table

    def settings_table(self) -> Table:
        """A row for each setting that differs, for a terminal."""
        table = table_of("settings that differ", *(run.id[:8] for run in self.runs))
        for key, values in self.settings.items():
            table.add_row(key, *(escape(value or "-") for value in values))
        return table

    def marked(self, value: float | None, best: float | None) -> str:
        """A score for a terminal, with a star if it is the best."""
        shown = "-" if value is None else f"{value:.3f}"
        return f"{shown}*" if value is not None and value == best else f"{shown} "


def write_comparison(comparison: Comparison, page: Path) -> None:
    """Write the page: table, curves, settings that differ, IoU by category, images.

    Args:
        comparison: what to show.
        page: the HTML file to write.
    """
    runs = comparison.runs
    write_page(
        page,
        "compare.html.j2",
        comparison=comparison,
        runs=runs,
        scores=SCORES,
        epochs_of=epochs_of,
        styles=[style_of(number) for number in range(len(runs))],
        curves=draw_curves(runs) if any(run.loss for run in runs) else None,
        pictures=[_picture(run.picture) for run in runs],
    )


def epochs_of(run: RunRecord) -> str:
    """Epochs done of those asked for, and how the run ended unless it is finished."""
    asked = run.settings.get("train.epochs")
    done = f"{run.epochs} of {asked}" if asked else str(run.epochs)
    return done if run.status == "finished" else f"{done}, {run.status}"


def style_of(number: int) -> tuple[str, tuple[int, ...]]:
    """Colour and dashes of the line of a run."""
    return COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]


def draw_curves(runs: Sequence[RunRecord]) -> str:
    """Loss and held-out mIoU over the epochs, as one SVG in the colours of the page around it."""
    import matplotlib
    from matplotlib.figure import Figure

    look: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "streetseg",
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": INK,
        "grid.alpha": 0.15,
        "axes.grid": True,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(look):
        figure = Figure(figsize=(11, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for number, run in enumerate(runs):
            _line(left, run.loss, number)
            _line(right, run.selection_miou, number)
            if best := run.best_epoch:
                right.plot(best, run.selection_miou[best], "o", color=style_of(number)[0])
        for axes, title in ((left, "loss"), (right, "mIoU of the held-out frames")):
            axes.set_title(title, loc="left", fontsize=11)
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        drawing = StringIO()
        unsigned = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawing, format="svg", metadata=unsigned)
    svg = drawing.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def _line(axes: Axes, curve: dict[int, float], number: int) -> None:
    color, dashes = style_of(number)
    style: Any = (0, dashes) if dashes else "-"
    marker = "." if len(curve) == 1 else ""
    axes.plot([*curve], [*curve.values()], linestyle=style, color=color, marker=marker)


def _picture(png: bytes | None) -> str | None:
    """A ``data:`` address of the image; None if it is none."""
    if png is None:
        return None
    try:
        return jpeg_address(shrink(decode_image(png), PICTURE_WIDTH))
    except BadImageError:
        return None


def _who_has_what(values: dict[str, str | None]) -> str:
    """Such as ``val in 1a2b3c4d, train in 5e6f7a8b``."""
    having: dict[str, list[str]] = {}
    for run_id, value in values.items():
        if value:
            having.setdefault(value, []).append(run_id[:8])
    return ", ".join(f"{value} in {' and '.join(ids)}" for value, ids in having.items())
