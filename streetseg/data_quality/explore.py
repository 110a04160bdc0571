"""A page about a data set that a person would show to a colleague."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from streetseg.config.params import Params, Train
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import write_dataset
from streetseg.data.sources import SPLITS, load_source
from streetseg.data_quality.checks import category_shares, require_same_categories
from streetseg.data_quality.validation import LISTED, SHOWN, check
from streetseg.reports.drawing import jpeg_address, overlay, shrink, thumbnail
from streetseg.reports.html import write_page
from streetseg.training.augmentation import augment_on_device
from streetseg.training.loader import AugmentedFrames

SAMPLES, AUGMENTED, DRAWS, EXTREMES = 12, 3, 4, 3
"""Frames shown as samples, augmented, how often each, and frames at either end of a measure."""


@dataclass(frozen=True)
class Comparison:
    """What changed from one data version to another."""

    against: str
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """(height, width) of the prepared images before and now."""
    came: list[str]
    went: list[str]
    changed: list[str]
    """Frames of the same name whose image or labels differ."""
    shares: pd.DataFrame
    """A row for each split and category: ``before``, ``now`` and ``moved``."""

    def __str__(self) -> str:
        (height, width), (new_height, new_width) = self.sizes
        sizes = (
            f", {width}x{height} became {new_width}x{new_height}" if len({*self.sizes}) > 1 else ""
        )
        return (
            f"since {self.against}: {len(self.came)} frames came, {len(self.went)} went, "
            f"{len(self.changed)} changed{sizes}"
        )


@dataclass(frozen=True)
class Survey:
    """What is known of a whole source without decoding it."""

    counts: pd.DataFrame
    """Frames of each city (row) in each split (column)."""
    incomplete: list[str]
    """Pictures that are missing beside their partner, below the root."""


@contextmanager
def sampled(params: Params, frames: int) -> Iterator[tuple[PreparedDataset, Survey]]:
    """Prepare a sample of the source in a scratch folder, skipping what cannot be used.

    Args:
        params: the source is ``params.data``.
        frames: how many to take, evenly through each split.

    Yields:
        The sample, and what is known of the whole source.

    Raises:
        StreetsegError: no source there, or not one frame of it can be used.
    """
    source = load_source(params.data.source)
    found = source.find(params.data.root)
    root = params.data.root
    missing = [
        path.relative_to(root).as_posix()
        for frame in found
        for path in (frame.image, frame.label)
        if not path.exists()
    ]
    names = pd.DataFrame({"split": [f.split for f in found], "city": [f.city for f in found]})
    taken: list[int] = []
    for split in SPLITS:
        rows = np.flatnonzero(names["split"] == split)
        number = min(len(rows), max(1, round(frames * len(rows) / len(found))))
        taken += rows[np.linspace(0, len(rows) - 1, number).round().astype(int)].tolist()
    skipping = params.prepare.model_copy(update={"on_error": "skip"})
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_dataset(
            source,
            [found[number] for number in taken],
            params.model_copy(update={"prepare": skipping}),
            Path(scratch) / "sample",
        )
        yield PreparedDataset(folder), Survey(_counts(names), missing)


def compare(before: PreparedDataset, now: PreparedDataset, against: str) -> Comparison:
    """Say which frames came, went and changed, and how the class shares moved.

    Raises:
        StreetsegError: the two have other categories.
    """
    require_same_categories(before, now)
    content = ["image_hash", "label_hash"]
    old, new = (d.index.set_index(["split", "frame"])[content] for d in (before, now))
    both = old.index.intersection(new.index)
    differ = (old.loc[both] != new.loc[both]).any(axis=1)
    shares = pd.DataFrame(
        {
            "before": category_shares(before, ["split"]).stack(),
            "now": category_shares(now, ["split"]).stack(),
        }
    ).fillna(0.0)
    return Comparison(
        against=against,
        sizes=(before.size, now.size),
        came=_names(new.index.difference(old.index)),
        went=_names(old.index.difference(new.index)),
        changed=_names(both[differ.to_numpy()]),
        shares=shares.assign(moved=shares["now"] - shares["before"]),
    )


def explore(
    dataset: PreparedDataset,
    params: Params,
    page: Path,
    survey: Survey | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Write the page.

    Args:
        dataset: prepared, or a prepared sample of a source.
        params: bounds of the checks and the augmentation to show.
        page: the HTML file to write.
        survey: what is known of the whole source, if the dataset is a sample of it.
        comparison: what changed since another version.
    """
    outcomes = [
        outcome
        for outcome in check(dataset, params.validation).outcomes
        if outcome.offenders and outcome.check.table in ("frames", "skipped", "neighbours")
    ]
    write_page(
        page,
        "explore.html.j2",
        dataset=dataset,
        sample=survey is not None,
        counts=survey.counts if survey else _counts(dataset.index),
        incomplete=survey.incomplete if survey else [],
        sizes=dataset.index.groupby(["width", "height"]).size().sort_values(ascending=False),
        split_shares=category_shares(dataset, ["split"]),
        city_shares=category_shares(dataset, ["split", "city"]),
        samples=dataset.evenly_spaced_rows(SAMPLES),
        augmented=[
            (row, _augmentations(dataset, row, params.train))
            for row in dataset.evenly_spaced_rows(AUGMENTED)
        ],
        extremes=_extremes(dataset),
        outcomes=outcomes,
        comparison=comparison,
        listed=LISTED,
        shown=SHOWN,
        thumbnail=lambda row: thumbnail(dataset, row),
    )


def _counts(names: pd.DataFrame) -> pd.DataFrame:
    counts = pd.crosstab(names["city"], names["split"])
    return counts.reindex(columns=[split for split in SPLITS if split in counts])


def _augmentations(dataset: PreparedDataset, row: int, recipe: Train) -> list[str]:
    """The frame and what training sees of it in the first epochs, each above its labels."""
    frames = AugmentedFrames(dataset, recipe.augment, recipe.seed)
    batch = frames[[(epoch, row) for epoch in range(1, DRAWS + 1)]]
    pixels, categories = (
        part.byte().numpy() for part in augment_on_device(batch, torch.device("cpu"))
    )
    pairs = [(dataset.image(row), dataset.categories(row)), *zip(pixels, categories, strict=True)]
    return [
        jpeg_address(shrink(np.concatenate([rgb, overlay(rgb, ids, dataset.labels)]), 320))
        for rgb, ids in pairs
    ]


def _extremes(dataset: PreparedDataset) -> list[tuple[str, list[int]]]:
    """Frames at either end of a measure."""
    index = dataset.index
    ends: Sequence[tuple[str, pd.Series]] = (
        ("darkest", index["brightness"]),
        ("brightest", -index["brightness"]),
        ("least sharp", index["sharpness"]),
        ("fewest labelled pixels", dataset.labelled_pixels),
    )
    return [(name, values.nsmallest(EXTREMES).index.tolist()) for name, values in ends]


def _names(pairs: pd.Index) -> list[str]:
    return [f"{split}/{frame}" for split, frame in pairs]
