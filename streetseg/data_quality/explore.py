"""A page about a dataset: counts, class fractions, samples, augmentation and offenders."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from streetseg.config.params import Params, Train
from streetseg.core.sampling import evenly_spaced
from streetseg.data.collection import load_sources
from streetseg.data.dataset import PreparedDataset
from streetseg.data.frame_annotations import attach_pictures
from streetseg.data.labels import IGNORE, Category
from streetseg.data.prepare import write_dataset
from streetseg.data.splits import USED_SPLITS
from streetseg.data_quality.checks import category_shares, require_same_categories
from streetseg.data_quality.undefined import Undefined, define_all
from streetseg.data_quality.validation import LISTED, SHOWN, check
from streetseg.images.resize import resize_ids
from streetseg.reports.drawing import (
    jpeg_address,
    overlay,
    palette_address,
    shrink,
    thumbnail,
)
from streetseg.reports.html import write_page
from streetseg.training.augmentation import augment_on_device
from streetseg.training.loader import AugmentedFrames

SAMPLES, AUGMENTED, DRAWS, EXTREMES = 12, 3, 4, 3
"""Sample frames, augmented frames, augmentations of each, and frames per extreme."""
HEAT_FRAMES = 500
"""Frames of the maps of where categories lie."""
HEAT_SIZE, HEAT_STEPS = (48, 96), 16
"""(height, width) of a map, and its shades."""
HEAT_COLORS = [
    (round(255 - 196 * step), round(255 - 205 * step), round(255 - 135 * step))
    for step in np.linspace(0, 1, HEAT_STEPS)
]
FOLDED_FROM = 12
"""Places of a table that are not folded."""
SHOWN_CATEGORIES = 20
"""Categories that are not folded: of more, the most frequent."""


@dataclass(frozen=True)
class DataChanges:
    """The changes from one data version to another."""

    against: str
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """(height, width) of the prepared images before and now."""
    added: list[str]
    removed: list[str]
    changed: list[str]
    """Frames of the same name whose image or label differs."""
    shares: pd.DataFrame
    """Fractions of pixels: rows (split, category), columns ``before``, ``now`` and ``change``."""

    def __str__(self) -> str:
        (height, width), (new_height, new_width) = self.sizes
        sizes = (
            f", {width}x{height} became {new_width}x{new_height}" if len({*self.sizes}) > 1 else ""
        )
        return (
            f"since {self.against}: {len(self.added)} frames added, {len(self.removed)} removed, "
            f"{len(self.changed)} changed{sizes}"
        )


@dataclass(frozen=True)
class Survey:
    """Facts from the file names of a source; its images are not decoded."""

    counts: pd.DataFrame
    """The number of frames of each city (row) in each split (column)."""
    unused: Mapping[str, int]
    """The number of frames of each split that nothing uses."""
    undefined: list[Undefined]
    """Labels that the label space lacks, by the number of frames of the sample that hold them."""
    incomplete: list[str]
    """Missing files of frames that have only an image or only a label, relative to the root."""


@contextmanager
def sampled(params: Params, frames: int) -> Iterator[tuple[PreparedDataset, Survey]]:
    """Prepare a sample of ``frames`` frames, evenly from each split, in a temporary folder.

    Yields the sample, without unusable frames, and the survey of the complete source. Labels that
    the label space does not define are shown as ignored.

    Raises:
        StreetsegError: there is no source, or none of the sampled frames can be used.
    """
    source = load_sources(params.data)
    root = params.data.root
    found, unused = source.find_with_unused(root)
    all_frames, notes = attach_pictures(found, root)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    missing = [
        path.relative_to(root).as_posix()
        for frame in all_frames
        for path in (frame.image, frame.label)
        if not path.exists()
    ]
    groups = pd.DataFrame({"split": f.split, "city": f.city} for f in all_frames)
    sample: list[int] = []
    for split in USED_SPLITS:
        rows = np.flatnonzero(groups["split"] == split)
        count = max(1, round(frames * len(rows) / len(all_frames)))
        sample += rows[evenly_spaced(len(rows), count)].tolist()
    chosen = [all_frames[row] for row in sample]
    source, undefined = define_all(source, chosen, root, params.prepare.workers)
    skipping = params.prepare.model_copy(update={"on_error": "skip"})
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_dataset(
            source,
            chosen,
            params.model_copy(update={"prepare": skipping}),
            Path(scratch) / "sample",
        )
        yield PreparedDataset(folder), Survey(_counts(groups), unused, undefined, missing)


def compare(before: PreparedDataset, now: PreparedDataset, against: str) -> DataChanges:
    """The differing frames and class fractions; a StreetsegError if the categories differ."""
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
    return DataChanges(
        against=against,
        sizes=(before.size, now.size),
        added=_names(new.index.difference(old.index)),
        removed=_names(old.index.difference(new.index)),
        changed=_names(both[differ.to_numpy()]),
        shares=shares.assign(change=shares["now"] - shares["before"]),
    )


def explore(
    dataset: PreparedDataset,
    params: Params,
    page: Path,
    survey: Survey | None = None,
    changes: DataChanges | None = None,
) -> None:
    """Write the page; pass ``survey`` if the dataset is a sample of a source."""
    failures = [
        result
        for result in check(dataset, params.validation).results
        if result.offenders and result.check.table in ("frames", "skipped", "neighbours")
    ]
    counts = survey.counts if survey else _counts(dataset.index)
    by_frames = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    shares = category_shares(dataset, ["split", "city"])
    sampled_frames = dataset.index.groupby(["split", "city"]).size()
    shares = shares.loc[sampled_frames.sort_values(ascending=False, kind="stable").index]
    place, places = dataset.place_words
    heat_rows = dataset.evenly_spaced_rows(HEAT_FRAMES)
    split_shares = category_shares(dataset, ["split"])
    by_share = _by_share(dataset, split_shares)
    maps = heat_maps(dataset, heat_rows)
    write_page(
        page,
        "explore.html.j2",
        dataset=dataset,
        sample=survey is not None,
        counts=counts,
        place=place,
        places=places,
        folded_from=FOLDED_FROM,
        largest=list(by_frames.iterrows()),
        stacked=list(shares.iterrows()),
        shown_categories=SHOWN_CATEGORIES,
        categories=[dataset.labels.categories[number] for number in by_share],
        heat_maps=[maps[number] for number in by_share],
        heat_frames=len(heat_rows),
        unused=survey.unused if survey else {},
        undefined=survey.undefined if survey else [],
        incomplete=survey.incomplete if survey else [],
        sizes=dataset.index.groupby(["width", "height"]).size().sort_values(ascending=False),
        split_shares=split_shares,
        samples=dataset.evenly_spaced_rows(SAMPLES),
        augmented=[
            (row, _augmentations(dataset, row, params.train))
            for row in dataset.evenly_spaced_rows(AUGMENTED)
        ],
        extremes=_extremes(dataset),
        failures=failures,
        changes=changes,
        listed=LISTED,
        shown=SHOWN,
        thumbnail=lambda row: thumbnail(dataset, row),
    )


def heat_maps(
    dataset: PreparedDataset, rows: Sequence[int] | np.ndarray
) -> list[tuple[Category, str, float | None]]:
    """For each category a picture of where it lies in frames, and how often at most, 0 to 1.

    The last is None for a category that no frame shows.
    """
    height, width = HEAT_SIZE
    names = dataset.labels.names
    counts = np.zeros((len(names), height, width), np.int64)
    for row in rows:
        small = resize_ids(dataset.categories(row), HEAT_SIZE)
        for number in np.unique(small[small != IGNORE]):
            counts[number] += small == number
    pictures: list[tuple[Category, str, float | None]] = []
    for category, count in zip(dataset.labels.categories, counts, strict=True):
        peak = int(count.max())
        steps = (count * (HEAT_STEPS - 1) / max(1, peak)).round().astype(np.uint8)
        most = peak / max(1, len(rows)) if peak else None
        pictures.append((category, palette_address(steps, HEAT_COLORS), most))
    return pictures


def _by_share(dataset: PreparedDataset, shares: pd.DataFrame) -> list[int]:
    """Numbers of the categories as they are shown: many begin with the most frequent."""
    numbers = list(range(len(dataset.labels.names)))
    if len(numbers) > SHOWN_CATEGORIES:
        numbers.sort(key=lambda number: -shares[dataset.labels.names[number]].mean())
    return numbers


def _counts(frames: pd.DataFrame) -> pd.DataFrame:
    counts = pd.crosstab(frames["city"], frames["split"])
    return counts.reindex(columns=[split for split in USED_SPLITS if split in counts])


def _augmentations(dataset: PreparedDataset, row: int, recipe: Train) -> list[str]:
    """A frame and its augmentations in the first epochs, each above its labels."""
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
