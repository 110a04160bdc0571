"""Checks of a prepared dataset before a model is trained on it (Great Expectations)."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import dataclass
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
class Outcome:
    """A check and the rows that break it."""

    check: Check
    offenders: list[str]
    rows: list[int]
    """Rows of the index to look at, if the offenders are frames."""

    def __str__(self) -> str:
        more = len(self.offenders) - NAMED
        named = ", ".join(self.offenders[:NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{self.check.meaning} ({named})"


@dataclass(frozen=True)
class Validation:
    """The outcome of every check."""

    outcomes: list[Outcome]

    @property
    def critical(self) -> list[str]:
        """Reasons not to train on this dataset."""
        return self._failed(CRITICAL)

    @property
    def warnings(self) -> list[str]:
        """Things to know before trusting a score."""
        return self._failed(WARNING)

    def require(self) -> None:
        """Stop if there is a critical failure.

        Raises:
            StreetsegError: naming the failures.
        """
        if self.critical:
            raise StreetsegError("the data is not fit to train on: " + "; ".join(self.critical))

    def _failed(self, severity: str) -> list[str]:
        return [str(o) for o in self.outcomes if o.offenders and o.check.severity == severity]


def check(
    dataset: PreparedDataset, params: Validate, reference: PreparedDataset | None = None
) -> Validation:
    """Check the index of a dataset.

    Args:
        dataset: the dataset.
        params: bounds.
        reference: a dataset whose cities say which class shares are usual.

    Raises:
        StreetsegError: the reference has other categories.
    """
    if reference:
        require_same_categories(reference, dataset)
    context = _context()
    every = list(checks(params, dataset.cities_are_places))
    outcomes = [
        outcome
        for name, table in tables(dataset, params, reference).items()
        for outcome in _run(context, name, table, [check for check in every if check.table == name])
    ]
    return Validation(sorted(outcomes, key=lambda o: (not o.offenders, o.check.severity)))


def validate(
    dataset: PreparedDataset,
    params: Validate,
    page: Path,
    reference: PreparedDataset | None = None,
) -> Validation:
    """Check as :func:`check` does, and write the outcome as an HTML page with thumbnails."""
    found = check(dataset, params, reference)
    write_page(
        page,
        "validation.html.j2",
        dataset=dataset,
        outcomes=found.outcomes,
        counts=Counter(o.check.severity if o.offenders else "passed" for o in found.outcomes),
        splits=split_table(dataset, params),
        reference=params.reference,
        listed=LISTED,
        shown=SHOWN,
        thumbnail=lambda row: thumbnail(dataset, row),
    )
    return found


def _context() -> AbstractDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _run(
    context: AbstractDataContext, name: str, table: pd.DataFrame, checks: list[Check]
) -> list[Outcome]:
    """Hold a table against its checks."""
    import great_expectations as gx
    from great_expectations.expectations.metadata_types import FailureSeverity

    if table.empty or not checks:
        return [Outcome(check, [], []) for check in checks]
    suite = gx.ExpectationSuite(
        name=name,
        expectations=[
            gx.expectations.ExpectColumnValuesToBeBetween(
                column=check.column,
                min_value=check.least,
                max_value=check.most,
                severity=FailureSeverity(check.severity),
                meta={"check": number},
            )
            for number, check in enumerate(checks)
        ],
    )
    numbered = table.reset_index(drop=True).rename_axis("number").reset_index()
    batch = context.data_sources.pandas_default.read_dataframe(numbered)
    how: dict[str, Any] = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": ["number"],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = batch.validate(suite, result_format=how).results
    return [_outcome(result, checks, table) for result in results]


def _outcome(
    result: ExpectationValidationResult, checks: list[Check], table: pd.DataFrame
) -> Outcome:
    assert result.expectation_config is not None
    check = checks[result.expectation_config.meta["check"]]
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{check.table}: {check.column}: {result.exception_info}")
    numbers = [row["number"] for row in result.result.get("unexpected_index_list") or []]
    names = table[check.named_by].iloc[numbers].tolist()
    rows = {
        "frames": numbers,
        "neighbours": table.iloc[numbers].filter(["row", "other"]).to_numpy().ravel().tolist(),
    }
    return Outcome(check, names, rows.get(check.table, []))
