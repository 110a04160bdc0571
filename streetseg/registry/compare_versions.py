"""Two versions of a model side by side."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from streetseg.config.params import Registry
from streetseg.core.terminal import table_of
from streetseg.registry.versions import ModelVersion, find
from streetseg.tracking.compare_runs import SCORES, Comparison
from streetseg.tracking.read import GONE, RunRecord, read_run
from streetseg.tracking.store import connect
from streetseg.tracking.training_runs import flatten

ORIGINS = ("data_version", "git_revision", "recipe", "architecture", "encoder", "weights_sha256")
"""Tags with the origin of a version."""


class VersionDiff:
    """How two versions differ: settings, scores, data and code."""

    def __init__(self, params: Registry, first: str, second: str) -> None:
        """Read two versions, each by its number or alias.

        If the run of either is gone, settings and scores are those of the versions' tags.

        Raises:
            StreetsegError: no such version, or the registry does not answer.
        """
        client = connect(params)
        self.versions: list[ModelVersion] = [
            find(client, params.model_name, which) for which in (first, second)
        ]
        runs = [read_run(client, each.run_id) for each in self.versions]
        self.runs: list[RunRecord] = [run for run in runs if run]
        if len(self.runs) < len(runs):
            self.runs = [
                replace(run or _gone_run(version), settings=_settings_of(version))
                for version, run in zip(self.versions, runs, strict=True)
            ]
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
        run_ids = [f"{run.id} (gone)" if run.status == GONE else run.id for run in self.runs]
        table.add_row("run", *run_ids)
        _add_rows(table, self.origins())
        table.add_section()
        for title, values in self.scores().items():
            best = self.comparison.highest(values)
            table.add_row(escape(title), *(self.comparison.marked(v, best) for v in values))
        table.add_section()
        _add_rows(table, self.comparison.settings)
        return table


def _gone_run(version: ModelVersion) -> RunRecord:
    """The run of a version as far as the version's tags know it."""
    tags = version.tags
    return RunRecord(
        id=version.run_id,
        name="",
        started=version.registered,
        status=GONE,
        data_version=tags.get("data_version"),
        settings={},
        loss={},
        selection_miou={},
        scores={key: float(tags[key]) for key in ("miou", "miou_official") if key in tags},
        iou={},
        evaluation={"data_version": tags.get("scored_on")},
    )


def _settings_of(version: ModelVersion) -> dict[str, str]:
    """Settings of network and training by the version's tag; none if it was copied without."""
    with suppress(KeyError, ValueError, AttributeError):  # somebody edited it
        settings = flatten(json.loads(version.tags["settings"]))
        return {key: str(value) for key, value in settings.items()}
    return {}


def _add_rows(table: Table, rows: dict[str, list[str | None]]) -> None:
    for title, values in rows.items():
        table.add_row(escape(title), *(escape(value or "-") for value in values))
