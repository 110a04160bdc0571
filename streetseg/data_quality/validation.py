"""Checks of a prepared dataset before training, run by Great Expectations."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.config.params import Validate
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data_quality.checks import (
    CRITICAL,
    WARNING,
    Check,
    checks,
    require_same_categories,
    split_table,
    tables,
)
from streetseg.reports.drawing import thumbnail
from streetseg.reports.html import write_page

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context import AbstractDataContext

NAMED, LISTED, SHOWN = 3, 200, 6
"""Offenders named in a message, listed on the page, and shown there as images."""


@dataclass(frozen=True)
class CheckResult:
    """A check and the rows that break it."""

    check: Check
    offenders: list[str]
    rows: list[int]
    """Rows of the index to show, if the offenders are frames."""
    asked: bool = True
    """False if the settings or the data leave nothing to check."""

    def __str__(self) -> str:
        more = len(self.offenders) - NAMED
        named = ", ".join(self.offenders[:NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{self.check.meaning} ({named})"

    @property
    def outcome(self) -> str:
        """The severity of a failed check, else ``passed`` or ``not asked``."""
        if self.offenders:
            return self.check.severity
        return "passed" if self.asked else "not asked"


@dataclass(frozen=True)
class Validation:
    """The result of every check."""

    results: list[CheckResult]

    @property
    def critical(self) -> list[str]:
        """Failures that make training on this dataset pointless."""
        return self._failed(CRITICAL)

    @property
    def warnings(self) -> list[str]:
        """Failures that make a score less meaningful."""
        return self._failed(WARNING)

    def require(self) -> None:
        """Raise a StreetsegError that names the critical failures, if there are any."""
        if self.critical:
            raise StreetsegError("the data is not fit to train on: " + "; ".join(self.critical))

    def _failed(self, severity: str) -> list[str]:
        return [str(r) for r in self.results if r.offenders and r.check.severity == severity]


def check(
    dataset: PreparedDataset, params: Validate, reference: PreparedDataset | None = None
) -> Validation:
    """Check the index of a dataset.

    The cities of ``reference`` give the usual range of each category's fraction.

    Raises:
        StreetsegError: the reference has different categories.
    """
    if reference:
        require_same_categories(reference, dataset)
    context = _context()
    all_checks = checks(params, dataset)
    results = [
        result
        for name, table in tables(dataset, params, reference).items()
        for result in _run(context, name, table, [c for c in all_checks if c.table == name])
    ]
    results = [replace(result, asked=_asked(result.check, params, reference)) for result in results]
    return Validation(sorted(results, key=lambda r: (not r.offenders, r.check.severity)))


def validate(
    dataset: PreparedDataset,
    params: Validate,
    page: Path,
    reference: PreparedDataset | None = None,
) -> Validation:
    """Run :func:`check`, and write the results as an HTML page with thumbnails."""
    validation = check(dataset, params, reference)
    write_page(
        page,
        "validation.html.j2",
        dataset=dataset,
        results=validation.results,
        counts=Counter(result.outcome for result in validation.results),
        place=dataset.place_words[0],
        places=dataset.place_words[1],
        splits=split_table(dataset, params),
        reference=params.reference,
        listed=LISTED,
        shown=SHOWN,
        thumbnail=lambda row: thumbnail(dataset, row),
    )
    return validation


def _asked(check: Check, params: Validate, reference: PreparedDataset | None) -> bool:
    """Whether the settings ask for a check."""
    if check.table == "shares":
        return reference is not None
    if check.table == "neighbours":
        return params.near_duplicate_bits >= 0
    return True


def _context() -> AbstractDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _run(
    context: AbstractDataContext, name: str, table: pd.DataFrame, checks: list[Check]
) -> list[CheckResult]:
    import great_expectations as gx
    from great_expectations.expectations.metadata_types import FailureSeverity

    if table.empty or not checks:
        return [CheckResult(check, [], []) for check in checks]
    suite = gx.ExpectationSuite(
        name=name,
        expectations=[
            gx.expectations.ExpectColumnValuesToBeBetween(
                column=check.column,
                min_value=check.minimum,
                max_value=check.maximum,
                severity=FailureSeverity(check.severity),
                meta={"check": number},
            )
            for number, check in enumerate(checks)
        ],
    )
    numbered = table.reset_index(drop=True).rename_axis("number").reset_index()
    batch = context.data_sources.pandas_default.read_dataframe(numbered)
    result_format: dict[str, Any] = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": ["number"],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = batch.validate(suite, result_format=result_format).results
    return [_check_result(result, checks, table) for result in results]


def _check_result(
    result: ExpectationValidationResult, checks: list[Check], table: pd.DataFrame
) -> CheckResult:
    assert result.expectation_config is not None
    check = checks[result.expectation_config.meta["check"]]
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{check.table}: {check.column}: {result.exception_info}")
    numbers = [row["number"] for row in result.result.get("unexpected_index_list") or []]
    names = table[check.name_column].iloc[numbers].tolist()
    rows = {
        "frames": numbers,
        "neighbours": table.iloc[numbers].filter(["row", "other"]).to_numpy().ravel().tolist(),
    }
    return CheckResult(check, names, rows.get(check.table, []))
