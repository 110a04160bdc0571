"""What a program that runs an exported graph needs to know of the model, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streetseg import __version__
from streetseg.config.params import Model
from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.data.sources import load_source
from streetseg.models.build import network_name

RESIZE = {
    "stretch": "resize the image to the size",
    "pad": "resize the image to fit into the size, its aspect ratio kept, and center it on black",
    "crop": "cut out the largest centered part with the aspect ratio of the size, and resize it",
}
FILTER = (
    "averaging areas (OpenCV: INTER_AREA), or bilinearly (INTER_LINEAR) if a side grows; the "
    "same aspect ratio at 4, 8, ... times the size: halve again and again"
)
UPSAMPLING = (
    "interpolate the logits of each category bilinearly, half-pixel centers, to the size of the "
    "image, then take the category of the largest"
)


def describe(config: Mapping[str, Any], labels: LabelSpace) -> dict[str, Any]:
    """Categories, size, pre- and post-processing, versions and licence of a model.

    ``config`` is the artifact's ``config.json``.
    """
    fit = config.get("fit", "stretch")
    return {
        "streetseg_version": __version__,
        "network": network_name(
            Model(**config["model"] | {"encoder_weights": "none", "init_from": None})
        ),
        "run_id": config["run_id"],
        "git_revision": config["git_revision"],
        "data_version": config["data_version"],
        "data_licence": _licences(config["params"].get("data", {})),
        "categories": labels.names,
        "colors": [list(category.color) for category in labels.categories],
        "size": list(config["size"]),
        "fit": fit,
        "preprocessing": f"decode to RGB, turned as Exif says; {RESIZE[fit]}, {FILTER}",
        "postprocessing": UPSAMPLING if fit == "stretch" else f"undo the {fit}: {UPSAMPLING}",
    }


def _licences(data: Mapping[str, Any]) -> str:
    """The licences of the data sets in the settings ``data``, as far as they are known here."""
    names = [each["source"] for each in data.get("sources") or []] or [data.get("source", "")]
    return "; ".join(dict.fromkeys(_licence(name) for name in names))


def _licence(source: str) -> str:
    try:
        licence = load_source(source).licence
    except StreetsegError:
        licence = None
    return f"{Path(source).name}: {licence or 'unknown'}"
