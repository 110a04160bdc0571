"""Two versions of a model side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from streetseg.config.params import Registry
from streetseg.core.terminal import table_of
from streetseg.registry.versions import ModelVersion, find
from streetseg.tracking.compare_runs import SCORES, Comparison
from streetseg.tracking.read import read_run
from streetseg.tracking.store import connect

if TYPE_CHECKING:
    from streetseg.tracking.read import RunRecord

ORIGINS = ("data_version", "git_revision", "recipe", "architecture", "encoder", "weights_sha256")
"""Tags with the origin of a version."""


class VersionDiff:
    """How two versions differ: settings, scores, data and code."""

    def __init__(self, params: Registry, first: str, second: str) -> None:
        """Read two versions, each by its number or alias.

        Raises:
            StreetsegError: no such version, or its run is gone.
        """
        client = connect(params)
        self.versions: list[ModelVersion] = [
            find(client, params.model_name, which) for which in (first, second)
        ]
        self.runs: list[RunRecord] = [read_run(client, each.run_id) for each in self.versions]
        self.comparison = Comparison(self.runs)

    def scores(self) -> dict[str, list[float | None]]:
        """Each score that either has, 0 to 1, ``IoU <category>`` last."""
        score, categories = self.comparison.score, self.comparison.categories
        rows = {title: [score(run, key) for run in self.runs] for key, title in SCORES.items()}
        rows |= {f"IoU {name}": [run.iou.get(name) for run in self.runs] for name in categories}
        return {title: values for title, values in rows.items() if values != [None, None]}

    def origins(self) -> dict[str, list[str | None]]:
        """Each of ``ORIGINS``, of the first and the second version."""
        return {key: [each.tags.get(key) for each in self.versions] for key in ORIGINS}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; each list has a value for the first and the second version."""
        return {
            "versions": [version.to_dict() for version in self.versions],
            "warning": self.comparison.warning,
            "origins": self.origins(),
            "scores": self.scores(),
            "settings": self.comparison.settings,
        }

    def table(self) -> Table:
        """For a terminal: a column for each version; a star marks the better score."""
        table = table_of("", *(f"version {each.title}" for each in self.versions))
        table.add_row("run", *(run.id for run in self.runs))
        _add_rows(table, self.origins())
        table.add_section()
        for title, values in self.scores().items():
            best = self.comparison.highest(values)
            table.add_row(escape(title), *(self.comparison.marked(v, best) for v in values))
        table.add_section()
        _add_rows(table, self.comparison.settings)
        return table


def _add_rows(table: Table, rows: dict[str, list[str | None]]) -> None:
    for title, values in rows.items():
        table.add_row(escape(title), *(escape(value or "-") for value in values))
