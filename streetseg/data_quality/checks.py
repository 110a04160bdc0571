"""What a prepared dataset is checked for: tables about it, and bounds on their columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from streetseg.config.params import Validate
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.sources import SPLITS

SMALL_SHARE = 0.001
"""A share may always be this far outside the reference's range: a few pixels tell nothing."""

CHUNK = 128
"""Frames that are compared with all others at once."""

CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True)
class Check:
    """A bound on a column of one of the tables about a dataset, and what breaking it means."""

    table: str
    column: str
    severity: str
    meaning: str
    least: float | None = None
    most: float | None = None
    named_by: str = "name"
    """The column that tells which rows break it."""


def checks(params: Validate, cities_are_places: bool) -> Iterator[Check]:
    """Every check, with the bounds that the params set."""
    darkest, brightest = params.brightness
    yield Check("splits", "frames_short", CRITICAL, "a split has too few frames", most=0)
    yield Check(
        "splits",
        "skipped_share",
        CRITICAL,
        f"more than {params.max_skipped:.0%} of a split could not be used",
        most=params.max_skipped,
    )
    yield Check("skipped", "skipped", WARNING, "a frame could not be used", most=0)
    yield Check("frames", "with_this_name", CRITICAL, "frames share a name", most=1)
    yield Check("frames", "splits_of_image", CRITICAL, "an image is in more than one split", most=1)
    yield Check(
        "neighbours",
        "bits",
        WARNING,
        "an image is nearly the same as one in another split, which flatters the score",
        least=params.near_duplicate_bits + 1,
    )
    if cities_are_places:
        yield Check("cities", "splits", WARNING, "a city is in more than one split", most=1)
        yield Check(
            "splits",
            "single_city",
            WARNING,
            "a split has one city only, so its score is of that city",
            most=0,
        )
    if params.source_size:
        height, width = params.source_size
        yield Check("frames", "other_size", CRITICAL, f"a frame is not {width}x{height}", most=0)
    else:
        yield Check("frames", "other_size", WARNING, "frames differ in size", most=0)
    yield Check(
        "frames",
        "aspect_change",
        WARNING,
        f"resizing changes the aspect by more than {params.max_aspect_change:.0%}",
        most=params.max_aspect_change,
    )
    yield Check(
        "frames",
        "unknown_ids",
        CRITICAL,
        "a label holds ids that are not defined",
        most=0,
        named_by="label",
    )
    yield Check("frames", "labelled_pixels", CRITICAL, "a label is all void", 1, named_by="label")
    yield Check(
        "frames",
        "void_share",
        WARNING,
        f"more than {params.max_void_share:.0%} of a label is void",
        most=params.max_void_share,
        named_by="label",
    )
    yield Check("frames", "brightness", WARNING, "an image is nearly black", darkest)
    yield Check("frames", "brightness", WARNING, "an image is nearly white", most=brightest)
    yield Check("frames", "sharpness", WARNING, "an image is blank or blurred", params.sharpness)
    for column, what in (("brightness", "bright or dark"), ("sharpness", "sharp or blurred")):
        yield Check(
            "frames",
            f"{column}_deviation",
            WARNING,
            f"an image is far more {what} than the rest of its split",
            most=params.max_deviation,
        )
    yield Check(
        "categories",
        "frames",
        WARNING,
        f"a category is in fewer than {params.min_category_frames} frames, too few for its score "
        "to mean much",
        params.min_category_frames,
    )
    yield Check("labels", "frames", WARNING, "a label that the benchmark scores never occurs", 1)
    yield Check(
        "shares",
        "outside",
        WARNING,
        "the fraction of a category in a city is outside what the reference's cities hold",
        most=0,
    )


def tables(
    dataset: PreparedDataset, params: Validate, reference: PreparedDataset | None
) -> dict[str, pd.DataFrame]:
    """What is checked, by name; the rows of ``frames`` are those of the index."""
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
    """Frames outside train beside the train frame that is nearest, if it is very near.

    Near is a perceptual hash that differs in at most ``bits`` of 256. Files that are equal to the
    last byte are not among them.

    Returns:
        Columns ``name``, ``row`` and ``other`` (rows of the index), and ``bits``.
    """
    columns = ["name", "row", "other", "bits"]
    if bits < 0:
        return pd.DataFrame(columns=columns)
    bytes_ = np.frombuffer(bytes.fromhex("".join(index["phash"])), np.uint8)
    signs = np.unpackbits(bytes_.reshape(len(index), -1), axis=1).astype(np.float32) * 2 - 1
    split, content = index["split"].to_numpy(), index["image_hash"].to_numpy()
    images = index["image"].to_numpy()
    train, others = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
    signs_of_train = signs[train].T
    found = []
    for rows in np.split(others, range(CHUNK, len(others), CHUNK)) if train.size else ():
        alike = signs[rows] @ signs_of_train  # number of equal bits less that of unequal ones
        nearest = alike.argmax(axis=1)
        distance = (signs.shape[1] - alike[np.arange(len(rows)), nearest]) / 2
        for row, near, apart in zip(rows, train[nearest], distance, strict=True):
            if apart <= bits and content[near] != content[row]:
                found.append((f"{images[row]} and {images[near]}", row, near, int(apart)))
    return pd.DataFrame(found, columns=columns)


def require_same_categories(reference: PreparedDataset, dataset: PreparedDataset) -> None:
    """Stop if the two cannot be compared.

    Raises:
        StreetsegError: naming both lists of categories.
    """
    if reference.labels.names != dataset.labels.names:
        raise StreetsegError(
            f"the reference has the categories {', '.join(reference.labels.names)}, the data "
            f"{', '.join(dataset.labels.names)}: name a reference of the same label space"
        )


def category_shares(dataset: PreparedDataset, by: list[str]) -> pd.DataFrame:
    """The fraction of each category (a column) in each group of frames (a row), sorted.

    Args:
        dataset: the dataset.
        by: the columns of the index that tell the groups apart, such as split and city.
    """
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
        aspect_change=(width / height * index["height"] / index["width"] - 1).abs(),
        unknown_ids=[sum(not labels.known[i] for i in ids) for ids in index["label_ids"]],
        labelled_pixels=dataset.labelled_pixels,
        void_share=1 - dataset.labelled_pixels / (height * width),
    )
    for column, values in (
        ("brightness", index["brightness"]),
        ("sharpness", np.log(index["sharpness"] + 1)),
    ):
        table[f"{column}_deviation"] = values.groupby(index["split"]).transform(_deviation)
    return table


def _deviation(values: pd.Series) -> pd.Series:
    """How many robust standard deviations each value is from the median.

    The standard deviation is taken as 1.4826 median absolute deviations, at least 5 % of the
    median. Source: Rousseeuw and Croux, Alternatives to the Median Absolute Deviation, 1993.
    """
    distance = (values - values.median()).abs()
    return distance / max(1.4826 * distance.median(), 0.05 * abs(values.median()), 1e-9)


def split_table(dataset: PreparedDataset, params: Validate) -> pd.DataFrame:
    """Frames, skipped frames and cities of each split."""
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
            {"name": label.name, "frames": int(present.get(label.id % 256, 0))}
            for label in dataset.labels.labels
            if not label.ignore_in_eval
        ]
    )


def _shares(
    dataset: PreparedDataset, params: Validate, reference: PreparedDataset | None
) -> pd.DataFrame:
    """How far the fraction of each category in each city is outside the reference's range."""
    if reference is None:
        return pd.DataFrame({"name": pd.Series(dtype=object), "outside": pd.Series(dtype=float)})
    shares, known = (category_shares(each, ["split", "city"]) for each in (dataset, reference))
    low = known.min() * (1 - params.share_tolerance) - SMALL_SHARE
    high = known.max() * (1 + params.share_tolerance) + SMALL_SHARE
    outside = (low - shares).clip(lower=0) + (shares - high).clip(lower=0)
    rows = [
        {
            "name": f"{name} in {split}/{city}: {shares[name].iloc[row]:.2%}, reference "
            f"{known[name].min():.2%} to {known[name].max():.2%}",
            "outside": outside[name].iloc[row],
        }
        for row, (split, city) in enumerate(shares.index.tolist())
        for name in dataset.labels.names
    ]
    return pd.DataFrame(rows)
