"""Tiny folders in the layout of each data set, as published, for tests of what is found there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.images.encode import encode_png
from tests.support.cityscapes_layout import small_recipe

SIZE = (32, 64)

BDD_MASKS = "labels/drivable/masks/{split}/{name}.png"
BDD_MAPS = "drivable_maps/labels/{split}/{name}.png"
BDD_MAPS_2018 = "drivable_maps/labels/{split}/{name}_drivable_id.png"

BETAS = ("0.005", "0.01", "0.02")
FOG = "leftImg8bit_foggy/{{split}}/{{city}}/{{name}}_leftImg8bit_foggy_beta_{}.png"
FINE = "gtFine/{split}/{city}/{name}_gtFine_labelIds.png"

MAGENTA, RED, BLACK = (255, 0, 255), (255, 0, 0), (0, 0, 0)


def filled(ids: Iterable[int]) -> np.ndarray:
    """A label image in which each of ``ids`` occurs: uint8[32, 64]."""
    return np.resize(np.array(list(ids), np.uint8), SIZE)


def write(path: Path, pixels: np.ndarray) -> None:
    """Write an image in the format that the name ends with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        path.write_bytes(encode_png(pixels))
    else:
        path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def write_photo(path: Path) -> None:
    """Write a random photograph, always the same for a file of this name."""
    rng = np.random.default_rng(list(path.name.encode()))
    write(path, rng.integers(0, 255, (*SIZE, 3), np.uint8))


def in_red(ids: np.ndarray) -> np.ndarray:
    """Ids in the red channel, noise in the others: RGB uint8[H, W, 3]."""
    rgb = np.random.default_rng(0).integers(0, 256, (*ids.shape, 3), np.uint8)
    rgb[..., 0] = ids
    return rgb


def cityscapes(root: Path, ids: Iterable[int] = range(34)) -> Path:
    """Fine annotations of train and val, and test without ground truth."""
    for split, city, numbers in (
        ("train", "aachen", (9, 10)),
        ("train", "bad-honnef", (0,)),
        ("val", "munster", (0,)),
        ("test", "berlin", (0,)),
    ):
        for number in numbers:
            name = f"{city}/{city}_000000_{number:06d}"
            write_photo(root / f"leftImg8bit/{split}/{name}_leftImg8bit.png")
            if split != "test":
                labels = root / f"gtFine/{split}/{name}_gtFine"
                write(Path(f"{labels}_labelIds.png"), filled(ids))
                write(Path(f"{labels}_color.png"), np.zeros((*SIZE, 3), np.uint8))
    return root


def cityscapes_coarse(root: Path, *, fine: bool = True) -> Path:
    """Coarse annotations of road (7); the fine ones of val, if wanted, are of sky (23)."""
    for split, city in (("train", "aachen"), ("train_extra", "augsburg"), ("val", "munster")):
        for number in (9, 10):
            name = f"{split}/{city}/{city}_000000_{number:06d}"
            write_photo(root / f"leftImg8bit/{name}_leftImg8bit.png")
            write(root / f"gtCoarse/{name}_gtCoarse_labelIds.png", filled([7]))
            if fine and split != "train_extra":
                write(root / f"gtFine/{name}_gtFine_labelIds.png", filled([23]))
    return root


def foggy(root: Path) -> Path:
    """Three densities of fog on the images of :func:`cityscapes`, in the layout of Sakaridis."""
    cityscapes(root)
    for image in root.glob("leftImg8bit/*/*/*.png"):
        folder = Path(str(image.parent).replace("leftImg8bit", "leftImg8bit_foggy"))
        for beta in BETAS:
            write_photo(folder / f"{image.stem}_foggy_beta_{beta}.png")
    return root


def carla(
    root: Path, folder: str = "", labels: str = "CameraSeg", ids: Iterable[int] = range(13)
) -> Path:
    """Twelve frames, whose numbers are not padded."""
    for number in range(1, 13):
        write_photo(root / folder / f"CameraRGB/F61-{number}.png")
        write(root / folder / f"{labels}/F61-{number}.png", in_red(filled(ids)))
    return root


def bdd100k(root: Path, labels: str = BDD_MASKS, ids: Iterable[int] = range(3)) -> Path:
    """Two frames of train, one of val, and test without ground truth."""
    for split, name in (
        ("train", "0000f77c-6257be58"),
        ("train", "0000f77c-cb820c98"),
        ("val", "b1c66a42-6f7d68ca"),
        ("test", "cabc30fc-e7726578"),
    ):
        write_photo(root / f"images/100k/{split}/{name}.jpg")
        if split != "test":
            write(root / labels.format(split=split, name=name), filled(ids))
    return root


def kitti_road(root: Path, colors: Sequence[tuple[int, int, int]] = (MAGENTA, RED, BLACK)) -> Path:
    """Five frames of each kind of road, lanes beside them, and testing without ground truth."""
    for kind in ("um", "umm", "uu"):
        for number in range(5):
            write_photo(root / f"training/image_2/{kind}_{number:06d}.png")
            write_photo(root / f"testing/image_2/{kind}_{number:06d}.png")
            truth = np.array(colors, np.uint8)[filled(range(len(colors)))]
            write(root / f"training/gt_image_2/{kind}_road_{number:06d}.png", truth)
            if kind == "um":
                lane = np.full((*SIZE, 3), MAGENTA, np.uint8)
                write(root / f"training/gt_image_2/{kind}_lane_{number:06d}.png", lane)
    return root


OWN_LABELS: dict[str, Any] = {
    "name": "mine",
    "categories": [
        {"name": "ground", "color": [10, 20, 30]},
        {"name": "rest", "color": [40, 50, 60]},
    ],
    "labels": [
        {"id": 3, "name": "grass", "category": "ground", "color": [1, 2, 3]},
        {"id": 5, "name": "gravel", "category": "ground", "color": [4, 5, 6]},
        {"id": 8, "name": "house", "category": "rest", "color": [7, 8, 9]},
        {"id": 200, "name": "hood of the car", "color": [0, 0, 0]},
    ],
}
OWN_SOURCE: dict[str, Any] = {
    "label_space": "labels.yaml",
    "pairs": [{"images": "photos/{city}/{name}.jpg", "labels": "masks/{city}/{name}.png"}],
}


def own(
    folder: Path,
    source: dict[str, Any] | None = None,
    labels: dict[str, Any] | None = None,
) -> Path:
    """Write a source of one's own and its label space; returns the source's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.yaml").write_text(yaml.safe_dump({**OWN_LABELS, **(labels or {})}))
    (folder / "source.yaml").write_text(yaml.safe_dump({**OWN_SOURCE, **(source or {})}))
    return folder / "source.yaml"


def own_pictures(root: Path, encoding: str = "ids", pairs: Sequence[str] = ()) -> Path:
    """Ten frames of each of two towns, ``pairs`` being the patterns of photograph and label."""
    images, labels = pairs or OWN_SOURCE["pairs"][0].values()
    table = np.zeros((256, 3), np.uint8)
    for label in OWN_LABELS["labels"]:
        table[label["id"]] = label["color"]
    ids = filled(label["id"] for label in OWN_LABELS["labels"])
    drawn = {"ids": ids, "red": in_red(ids), "colors": table[ids]}[encoding]
    for city in ("north", "south"):
        for number in range(1, 11):
            split = "train" if city == "north" else "val"
            where = {"split": split, "city": city, "name": f"frame_{number}"}
            write_photo(root / images.format(**where))
            write(root / labels.format(**where), drawn)
    return root


def pair(images: str, labels: str, **more: str) -> dict[str, Any]:
    """What a source says of its one pair of patterns."""
    return {"pairs": [{"images": images, "labels": labels, **more}]}


def prepared(source: str | Path, root: Path, **more: object) -> PreparedDataset:
    """The dataset of a source's folder, made beside that."""
    recipe = small_recipe(root, Path(f"{root}-prepared"), data__source=str(source), **more)
    return PreparedDataset(prepare(recipe))
