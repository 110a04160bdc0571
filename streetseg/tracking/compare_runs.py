"""Training runs side by side, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from streetseg.core.terminal import table_of
from streetseg.tracking.read import GONE, RunRecord

SCORES = {
    "selection_miou": "held-out mIoU",
    "miou": "mIoU",
    "miou_official": "official score",
}


@dataclass(frozen=True)
class Comparison:
    """Runs in the order in which they are shown."""

    runs: list[RunRecord]

    @property
    def unscored(self) -> list[RunRecord]:
        """Runs without any of ``SCORES``: they failed early, or have not done an epoch yet."""
        return [run for run in self.runs if {self.score(run, name) for name in SCORES} == {None}]

    @property
    def scored(self) -> Comparison:
        """The other runs."""
        unscored = self.unscored
        return Comparison([run for run in self.runs if run not in unscored])

    @property
    def by_data_version(self) -> dict[str | None, Comparison]:
        """The runs of each data version, in the order of the first run of each."""
        versions = dict.fromkeys(run.data_version for run in self.runs)
        return {
            version: Comparison([run for run in self.runs if run.data_version == version])
            for version in versions
        }

    @property
    def settings(self) -> dict[str, list[str | None]]:
        """The settings that differ: for each the value of every run, None where it has none."""
        keys = dict.fromkeys(key for run in self.runs for key in run.settings)
        values = {key: [run.settings.get(key) for run in self.runs] for key in keys}
        return {key: each for key, each in values.items() if len(set(each)) > 1}

    @property
    def warning(self) -> str | None:
        """Why the scores are not comparable; None if they are."""
        trained_on = {run.id: run.data_version for run in self.runs}
        scored_on = {run.id: run.evaluation.get("data_version") for run in self.runs}
        subjects = {
            "data version": trained_on,
            "data version of the evaluation": {} if scored_on == trained_on else scored_on,
            "label space": {run.id: run.evaluation.get("label_space") for run in self.runs},
            "evaluation split": {run.id: run.evaluation.get("split") for run in self.runs},
        }
        reasons = [
            f"{subject} {_by_value(values)}"
            for subject, values in subjects.items()
            if len({value for value in values.values() if value}) > 1
        ]
        gone = [run.id[:8] or "of a copied version" for run in self.runs if run.status == GONE]
        reasons += [f"run {name} is gone from MLflow" for name in gone]
        return f"the runs are not comparable: {'; '.join(reasons)}" if reasons else None

    @property
    def categories(self) -> list[str]:
        """Categories with an IoU in any run, in the order of the label space."""
        ordered = (name for run in self.runs for name in run.evaluation.get("categories", []))
        scored = dict.fromkeys(name for run in self.runs for name in run.iou)
        return [name for name in dict.fromkeys([*ordered, *scored]) if name in scored]

    def score(self, run: RunRecord, name: str) -> float | None:
        """One of ``SCORES``, 0 to 1; None if the run does not have it."""
        if name == "selection_miou":
            return max(run.selection_miou.values(), default=None)
        return run.scores.get(name)

    def best(self, name: str) -> float | None:
        """The highest value of a score; None if there is nothing to compare."""
        return self.highest([self.score(run, name) for run in self.runs])

    def highest(self, values: Sequence[float | None]) -> float | None:
        """The highest of one value for each run; None if there is nothing to compare."""
        present = [value for value in values if value is not None]
        return max(present) if len(present) > 1 and not self.warning else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that a run does not have is null."""
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
        text = "-" if value is None else f"{value:.3f}"
        return f"{text}*" if value is not None and value == best else f"{text} "


def epochs_of(run: RunRecord) -> str:
    """Epochs done and planned, with the status unless finished, such as ``3 of 60, failed``."""
    planned = run.settings.get("train.epochs")
    epochs = f"{run.epochs} of {planned}" if planned else str(run.epochs)
    return epochs if run.status == "finished" else f"{epochs}, {run.status}"


def _by_value(values: dict[str, str | None]) -> str:
    """Values by run id, such as ``val in 1a2b3c4d, train in 5e6f7a8b``."""
    run_ids: dict[str, list[str]] = {}
    for run_id, value in values.items():
        if value:
            run_ids.setdefault(value, []).append(run_id[:8])
    return ", ".join(f"{value} in {' and '.join(ids)}" for value, ids in run_ids.items())
