"""Checks of a prepared dataset: tables about it, and bounds on their columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from streetseg.config.params import Validate
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.near_duplicates import nearest_hashes, read_hashes
from streetseg.data.splits import SPLITS

SMALL_SHARE = 0.001
"""Tolerance beyond the reference's range of a fraction, for a few stray pixels."""

CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True)
class Check:
    """Bounds on a column of a table about the dataset, and the meaning of a value outside them."""

    table: str
    column: str
    severity: str
    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    name_column: str = "name"
    """The column that names the rows in a message."""


def checks(params: Validate, dataset: PreparedDataset) -> list[Check]:
    """All checks, with bounds from the settings."""
    return [
        *_split_checks(params, dataset.cities_are_places),
        Check("skipped", "skipped", WARNING, "a frame could not be used", maximum=0),
        *_frame_checks(params, dataset.better_size(params.max_aspect_change)),
        Check(
            "neighbours",
            "bits",
            WARNING,
            "an image is nearly the same as one in another split, which flatters the score",
            minimum=params.near_duplicate_bits + 1,
        ),
        Check(
            "categories",
            "frames",
            WARNING,
            f"a category is in fewer than {params.min_category_frames} frames, too few for its "
            "score to mean much",
            minimum=params.min_category_frames,
        ),
        Check(
            "labels",
            "frames",
            WARNING,
            "a label that the benchmark scores never occurs",
            minimum=1,
        ),
        Check(
            "shares",
            "outside",
            WARNING,
            "the fraction of a category in a city is outside the range of the reference's cities",
            maximum=0,
        ),
    ]


def _split_checks(params: Validate, cities_are_places: bool) -> Iterator[Check]:
    splits = partial(Check, "splits")
    yield splits("frames_short", CRITICAL, "a split has too few frames", maximum=0)
    yield splits(
        "skipped_share",
        CRITICAL,
        f"more than {params.max_skipped:.0%} of a split could not be used",
        maximum=params.max_skipped,
    )
    if cities_are_places:
        yield Check("cities", "splits", WARNING, "a city is in more than one split", maximum=1)
        yield splits(
            "single_city",
            WARNING,
            "a split has only one city, so its score holds for that city alone",
            maximum=0,
        )


def _frame_checks(params: Validate, better_size: str) -> Iterator[Check]:
    frames = partial(Check, "frames")
    labels = partial(Check, "frames", name_column="label")
    darkest, brightest = params.brightness
    yield frames("with_this_name", CRITICAL, "frames share a name", maximum=1)
    yield frames("splits_of_image", CRITICAL, "an image is in more than one split", maximum=1)
    if params.source_size:
        height, width = params.source_size
        yield frames("other_size", CRITICAL, f"a frame is not {width}x{height}", maximum=0)
    else:
        yield frames("other_size", WARNING, "frames differ in size", maximum=0)
    yield frames(
        "aspect_change",
        WARNING,
        better_size or f"resizing changes the aspect by more than {params.max_aspect_change:.0%}",
        maximum=params.max_aspect_change,
    )
    yield labels("unknown_ids", CRITICAL, "a label holds ids that are not defined", maximum=0)
    yield labels("labelled_pixels", CRITICAL, "a label is all void", minimum=1)
    yield labels(
        "void_share",
        WARNING,
        f"more than {params.max_void_share:.0%} of a label is void",
        maximum=params.max_void_share,
    )
    yield frames("brightness", WARNING, "an image is nearly black", minimum=darkest)
    yield frames("brightness", WARNING, "an image is nearly white", maximum=brightest)
    yield frames("sharpness", WARNING, "an image is blank or blurred", minimum=params.sharpness)
    for column, quality in (("brightness", "bright or dark"), ("sharpness", "sharp or blurred")):
        yield frames(
            f"{column}_deviation",
            WARNING,
            f"an image is far more {quality} than the rest of its split",
            maximum=params.max_deviation,
        )


def tables(
    dataset: PreparedDataset, params: Validate, reference: PreparedDataset | None
) -> dict[str, pd.DataFrame]:
    """The tables to check, by name; ``frames`` has the rows of the index."""
    return {
        "frames": _frames(dataset, params),
        "skipped": pd.DataFrame(
            {"name": dataset.skipped["error"], "skipped": np.ones(len(dataset.skipped))}
        ),
        "neighbours": near_duplicates(dataset.index, params.near_duplicate_bits),
        "splits": split_table(dataset, params),
        "cities": _cities(dataset),
        "categories": _categories(dataset),
        "labels": _labels(dataset),
        "shares": _shares(dataset, params, reference),
    }


def near_duplicates(index: pd.DataFrame, bits: int) -> pd.DataFrame:
    """Frames of other splits whose nearest training frame is a near duplicate.

    Near duplicates have perceptual hashes that differ in at most ``bits`` of 256 bits. Identical
    files are left out, since another check reports them. The columns are ``name``, ``row`` and
    ``other`` (rows of the index), and ``bits``, the distance.
    """
    columns = ["name", "row", "other", "bits"]
    if bits < 0:
        return pd.DataFrame(columns=columns)
    hashes = read_hashes(index["phash"])
    split, content = index["split"].to_numpy(), index["image_hash"].to_numpy()
    images = index["image"].to_numpy()
    train, others = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
    if not train.size:
        return pd.DataFrame(columns=columns)
    nearest, distances = nearest_hashes(hashes[others], hashes[train])
    duplicates = [
        (f"{images[row]} and {images[other]}", row, other, int(distance))
        for row, other, distance in zip(others, train[nearest], distances, strict=True)
        if distance <= bits and content[other] != content[row]
    ]
    return pd.DataFrame(duplicates, columns=columns)


def require_same_categories(reference: PreparedDataset, dataset: PreparedDataset) -> None:
    """Raise a StreetsegError if the datasets have different categories."""
    if reference.labels.names != dataset.labels.names:
        raise StreetsegError(
            f"the reference has the categories {', '.join(reference.labels.names)}, the data "
            f"{', '.join(dataset.labels.names)}: name a reference of the same label space"
        )


def category_shares(dataset: PreparedDataset, by: list[str]) -> pd.DataFrame:
    """The fraction of each category (column) per group by index columns ``by`` (row), sorted."""
    columns = [f"pixels_{name}" for name in dataset.labels.names]
    sums = dataset.index.groupby(by)[columns].sum()
    return sums.set_axis(dataset.labels.names, axis=1).div(sums.sum(axis=1).clip(lower=1), axis=0)


def _frames(dataset: PreparedDataset, params: Validate) -> pd.DataFrame:
    index, labels = dataset.index, dataset.labels
    height, width = dataset.size
    sizes = index["height"].astype(str) + "x" + index["width"].astype(str)
    expected = "x".join(map(str, params.source_size)) if params.source_size else sizes.mode()[0]
    table = index[["label", "brightness", "sharpness"]].assign(
        name=index["image"],
        with_this_name=index.groupby("frame")["frame"].transform("size"),
        splits_of_image=index.groupby("image_hash")["split"].transform("nunique"),
        other_size=(sizes != expected).astype(int),
        aspect_change=(width / height * index["height"] / index["width"] - 1).abs()
        * (dataset.fit == "stretch"),
        unknown_ids=[sum(not labels.known[i] for i in ids) for ids in index["label_ids"]],
        labelled_pixels=dataset.labelled_pixels,
        void_share=1 - dataset.labelled_pixels / dataset.shown_pixels,
    )
    for column, values in (
        ("brightness", index["brightness"]),
        ("sharpness", np.log(index["sharpness"] + 1)),
    ):
        table[f"{column}_deviation"] = values.groupby(index["split"]).transform(_deviation)
    return table


def _deviation(values: pd.Series) -> pd.Series:
    """|value - median| / max(1.4826 MAD, 5 % of the median): Rousseeuw and Croux, 1993."""
    distance = (values - values.median()).abs()
    return distance / max(1.4826 * distance.median(), 0.05 * abs(values.median()), 1e-9)


def split_table(dataset: PreparedDataset, params: Validate) -> pd.DataFrame:
    """The number of frames, skipped frames and cities of each split."""
    frames = dataset.index.groupby("split").size().reindex(SPLITS, fill_value=0)
    skipped = dataset.skipped.groupby("split").size().reindex(SPLITS, fill_value=0)
    cities = dataset.index.groupby("split")["city"].nunique().reindex(SPLITS, fill_value=0)
    needed = pd.Series(params.min_frames).reindex(SPLITS, fill_value=1)
    table = pd.DataFrame(
        {
            "frames": frames,
            "frames_short": (needed - frames).clip(lower=0),
            "skipped": skipped,
            "skipped_share": skipped / (frames + skipped).clip(lower=1),
            "cities": cities,
            "single_city": (cities == 1).astype(int),
        }
    )
    return table.rename_axis("name").reset_index()


def _cities(dataset: PreparedDataset) -> pd.DataFrame:
    splits = dataset.index.groupby("city")["split"].nunique()
    return splits.rename_axis("name").reset_index(name="splits")


def _categories(dataset: PreparedDataset) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"name": f"{name} in {split}", "frames": int((of_split[f"pixels_{name}"] > 0).sum())}
            for split, of_split in (
                (split, dataset.index[dataset.index["split"] == split]) for split in SPLITS
            )
            for name in dataset.labels.names
        ]
    )


def _labels(dataset: PreparedDataset) -> pd.DataFrame:
    present = dataset.index["label_ids"].explode().value_counts()
    return pd.DataFrame(
        [
            {"name": label.name, "frames": int(present.get(label.id, 0))}
            for label in dataset.labels.drawn
            if not label.ignore_in_eval
        ]
    )


def _shares(
    dataset: PreparedDataset, params: Validate, reference: PreparedDataset | None
) -> pd.DataFrame:
    """How far the fraction of each category in each city is outside the reference's range."""
    if reference is None:
        return pd.DataFrame({"name": pd.Series(dtype=object), "outside": pd.Series(dtype=float)})
    shares, usual = (category_shares(each, ["split", "city"]) for each in (dataset, reference))
    low = usual.min() * (1 - params.share_tolerance) - SMALL_SHARE
    high = usual.max() * (1 + params.share_tolerance) + SMALL_SHARE
    outside = (low - shares).clip(lower=0) + (shares - high).clip(lower=0)
    rows = [
        {
            "name": f"{name} in {split}/{city}: {shares[name].iloc[row]:.2%}, reference "
            f"{usual[name].min():.2%} to {usual[name].max():.2%}",
            "outside": outside[name].iloc[row],
        }
        for row, (split, city) in enumerate(shares.index.tolist())
        for name in dataset.labels.names
    ]
    return pd.DataFrame(rows)
