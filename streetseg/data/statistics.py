"""Figures of a prepared dataset for DVC: what changed between two data versions.

``python -m streetseg.data.statistics data/prepared data/statistics`` is the stage ``statistics`` of
``dvc.yaml``. The files are beside the prepared dataset, so they have no part in its data version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import exit_on_error
from streetseg.data.dataset import PreparedDataset

METRICS, CATEGORIES = "metrics.json", "categories.csv"
FRAMES, BRIGHTNESS = "frames.csv", "brightness.csv"
BIN = 16
"""Width of a bin of brightness, of 0 to 255."""


def write_statistics(dataset: PreparedDataset, folder: Path) -> None:
    """Write ``METRICS`` and the tables for ``dvc plots``; the folder is made."""
    index = dataset.index
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / METRICS, json.dumps(metrics(dataset), indent=1) + "\n")
    fractions = class_fractions(dataset)
    tables = {CATEGORIES: fractions.rename_axis("category").reset_index(name="fraction")}
    by_place = index["city"].value_counts().sort_index()
    tables[FRAMES] = by_place.rename_axis("place").reset_index(name="frames")
    lower = (index["brightness"] // BIN * BIN).astype(int)
    shares = lower.value_counts(normalize=True).reindex(range(0, 256, BIN), fill_value=0.0)
    tables[BRIGHTNESS] = shares.rename_axis("brightness").reset_index(name="share of frames")
    for name, table in tables.items():
        write_atomic(folder / name, table.to_csv(index=False, float_format="%.6f"))


def metrics(dataset: PreparedDataset) -> dict[str, Any]:
    """Frames in all, by split and by condition, mean brightness (0 to 255), class fractions."""
    index = dataset.index
    by_split = {split: int(n) for split, n in index["split"].value_counts().sort_index().items()}
    result: dict[str, Any] = {
        "frames": {"all": len(index), **by_split},
        "places": int(index["city"].nunique()),
        "brightness": round(float(index["brightness"].mean()), 3),
        "class_fraction": {
            name: round(value, 6) for name, value in class_fractions(dataset).items()
        },
    }
    if "condition" in index:
        conditions = index.loc[index["condition"] != "", "condition"].value_counts().sort_index()
        result["frames_by_condition"] = {name: int(n) for name, n in conditions.items()}
    return result


def class_fractions(dataset: PreparedDataset) -> pd.Series:
    """The fraction of each category in the labelled pixels, 0 to 1, in order of the label space."""
    pixels = dataset.category_pixels(np.arange(len(dataset.index)))
    return pd.Series(pixels / max(pixels.sum(), 1), dataset.labels.names)


def main() -> None:
    """Write the figures of the prepared dataset ``argv[1]`` to the folder ``argv[2]``."""
    with exit_on_error():
        write_statistics(PreparedDataset(Path(sys.argv[1])), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
