"""Tiny folders in the Cityscapes layout, for tests of what becomes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from streetseg.config.params import Params, load_params
from streetseg.images.encode import encode_png

FRAMES = {"train": {"aachen": 3, "bochum": 2}, "val": {"munster": 2}}


def write_frames(
    root: Path,
    frames: Mapping[str, Mapping[str, int]] = FRAMES,
    size: tuple[int, int] = (64, 128),
) -> Path:
    """Write random images with random Cityscapes ids; no two are alike."""
    rng = np.random.default_rng(0)
    for split, cities in frames.items():
        for city, count in cities.items():
            for number in range(count):
                name = f"{city}_000000_{number:06d}"
                ids = np.kron(rng.integers(0, 34, (8, 16)), np.ones((8, 8))).astype(np.uint8)
                ids = np.resize(ids, size) if size != (64, 128) else ids
                put(root, split, name, rng.integers(0, 255, (*size, 3), np.uint8), ids)
    return root


def put(root: Path, split: str, name: str, rgb: np.ndarray, ids: np.ndarray) -> None:
    """Write one frame."""
    image, label = image_path(root, split, name), label_path(root, split, name)
    for path, pixels in ((image, rgb), (label, ids)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(pixels))


def image_path(root: Path, split: str, name: str) -> Path:
    """Where the photograph of a frame is."""
    return root / "leftImg8bit" / split / name.split("_")[0] / f"{name}_leftImg8bit.png"


def label_path(root: Path, split: str, name: str) -> Path:
    """Where the label image of a frame is."""
    return root / "gtFine" / split / name.split("_")[0] / f"{name}_gtFine_labelIds.png"


def small_recipe(source: Path, prepared: Path, **settings: object) -> Params:
    """A recipe that prepares such a folder at 32x64 in one process.

    Args:
        source: the folder.
        prepared: where the dataset goes.
        settings: others, with ``__`` for the dot: ``prepare__workers=2``.
    """
    return load_params(
        overrides={
            "data.root": str(source),
            "data.prepared": str(prepared),
            "prepare.size": [32, 64],
            "prepare.workers": 1,
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
    )


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
