"""Checks of a prepared dataset before a model is trained on it (Great Expectations)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetseg.config import Validate
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.report import template
from streetseg.sources import SPLITS

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult

CRITICAL, WARNING = "critical", "warning"
NAMED = 3
"""Offenders named in a message; the page names more."""


@dataclass(frozen=True)
class Check:
    """A bound on a column of one of the tables about a dataset, and what breaking it means."""

    table: str
    column: str
    severity: str
    meaning: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Outcome:
    """A check and the rows that break it."""

    check: Check
    offenders: list[str]

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


def validate(dataset: PreparedDataset, params: Validate, report: Path) -> Validation:
    """Check the index of a dataset and write the outcome as an HTML page.

    Args:
        dataset: the dataset.
        params: bounds.
        report: the HTML file to write.
    """
    tables = _tables(dataset, params)
    checks = list(_checks(params))
    outcomes = [
        outcome
        for name, table in tables.items()
        for outcome in _run(name, table, [check for check in checks if check.table == name])
    ]
    outcomes.sort(key=lambda o: (not o.offenders, o.check.severity))
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(
        template("validation.html.j2").render(
            dataset=dataset, outcomes=outcomes, splits=tables["splits"]
        )
    )
    return Validation(outcomes)


def _checks(params: Validate) -> Iterator[Check]:
    frames = "frames"
    darkest, brightest = params.brightness
    yield Check("splits", "frames_short", CRITICAL, "a split has too few frames", most=0)
    yield Check(frames, "with_this_name", CRITICAL, "frames share a name", most=1)
    yield Check(frames, "splits_of_image", CRITICAL, "an image is in more than one split", most=1)
    yield Check(frames, "splits_of_city", WARNING, "a city is in more than one split", most=1)
    yield Check(
        "splits", "cities", WARNING, "a split has one city only, so its score is of that city", 2
    )
    yield Check(frames, "sizes", WARNING, "frames differ in size", most=1)
    yield Check(
        frames,
        "aspect_change",
        WARNING,
        f"resizing changes the aspect by more than {params.max_aspect_change:.0%}",
        most=params.max_aspect_change,
    )
    yield Check(
        frames,
        "void_share",
        WARNING,
        f"more than {params.max_void_share:.0%} of a frame is void",
        most=params.max_void_share,
    )
    yield Check(frames, "brightness", WARNING, "a picture is nearly black", darkest)
    yield Check(frames, "brightness", WARNING, "a picture is nearly white", most=brightest)
    yield Check(frames, "sharpness", WARNING, "a picture is blank or blurred", params.sharpness)
    yield Check(
        "categories",
        frames,
        WARNING,
        f"a category is in fewer than {params.min_category_frames} frames, too few for its score "
        "to mean much",
        params.min_category_frames,
    )
    yield Check("labels", frames, WARNING, "a label that the benchmark scores never occurs", 1)


def _tables(dataset: PreparedDataset, params: Validate) -> dict[str, pd.DataFrame]:
    """What is checked: a row for each frame, split, category in a split, and label."""
    index = dataset.index
    pixels = index.filter(like="pixels_")
    height, width = dataset.size
    frames = pd.DataFrame(
        {
            "name": index["frame"],
            "with_this_name": index.groupby("frame")["frame"].transform("size"),
            "splits_of_image": index.groupby("image_hash")["split"].transform("nunique"),
            "splits_of_city": index.groupby("city")["split"].transform("nunique"),
            "sizes": len(index[["height", "width"]].drop_duplicates()),
            "aspect_change": np.abs(width / height * index["height"] / index["width"] - 1),
            "void_share": index.get("pixels_void", 0) / pixels.sum(axis=1),
            "brightness": index["brightness"],
            "sharpness": index["sharpness"],
        }
    )
    by_split = index.groupby("split")
    count = by_split.size().reindex(SPLITS, fill_value=0)
    needed = pd.Series(params.min_frames).reindex(SPLITS)
    splits = pd.DataFrame(
        {
            "name": list(SPLITS),
            "frames": count.to_numpy(),
            "frames_short": (needed - count).clip(lower=0).to_numpy(),
            "cities": by_split["city"].nunique().reindex(SPLITS, fill_value=0).to_numpy(),
        }
    )
    categories = pd.DataFrame(
        [
            {
                "name": f"{category} in {split}",
                "frames": int(
                    (pixels.loc[index["split"] == split, f"pixels_{category}"] > 0).sum()
                ),
            }
            for split in SPLITS
            for category in dataset.labels.names
        ]
    )
    present = index["label_ids"].explode().value_counts()
    labels = pd.DataFrame(
        [
            {"name": label.name, "frames": int(present.get(label.id, 0))}
            for label in dataset.labels.labels
            if not label.ignore_in_eval
        ]
    )
    return {"frames": frames, "splits": splits, "categories": categories, "labels": labels}


def _run(name: str, table: pd.DataFrame, checks: list[Check]) -> list[Outcome]:
    """Hold a table against its checks."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.metadata_types import FailureSeverity

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
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
    asset = context.data_sources.add_pandas("prepared").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
    how: dict[str, Any] = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": ["name"],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = batch.validate(suite, result_format=how).results
    return [_outcome(result, checks) for result in results]


def _outcome(result: ExpectationValidationResult, checks: list[Check]) -> Outcome:
    assert result.expectation_config is not None
    offenders = result.result.get("unexpected_index_list") or []
    return Outcome(
        checks[result.expectation_config.meta["check"]], [row["name"] for row in offenders]
    )
