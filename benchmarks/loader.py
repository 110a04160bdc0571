"""Feeding the training loop: the prepared dataset against a folder of PNGs, augmented alike.

    python benchmarks/loader.py [--frames 64] [--rounds 5]

A single process loads, so frames/s are those of one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from harness import OUT, Claim, report, seconds, source_frames
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from streetseg.config.params import load_params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.data.sources import Frame, load_source
from streetseg.training.augmentation import build_augmentation
from streetseg.training.loader import EpochBatches, training_loader

SIZES = ((256, 512), (512, 1024))


def read(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """A PNG as OpenCV decodes it."""
    pixels = cv2.imread(str(path), flags)
    assert pixels is not None, path
    return pixels


class PngFolder(Dataset[tuple[Tensor, Tensor]]):
    """Frames and masks as PNGs, decoded at each access."""

    def __init__(self, folder: Path, augmentation: A.Compose) -> None:
        """The pairs in ``folder``."""
        self.images = sorted(folder.glob("*_image.png"))
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        path = self.images[row]
        image = cv2.cvtColor(read(path), cv2.COLOR_BGR2RGB)
        mask = read(path.with_name(path.name.replace("_image", "_mask")), cv2.IMREAD_UNCHANGED)
        augmented = self.augmentation(image=image, mask=mask)
        return torch.as_tensor(augmented["image"]), torch.as_tensor(augmented["mask"])


class PublishedFolder(Dataset[tuple[Tensor, Tensor]]):
    """Cityscapes as published: decoded, remapped and resized at each access."""

    def __init__(self, frames: list[Frame], size: tuple[int, int], augmentation: A.Compose) -> None:
        """These frames, at ``size`` (height, width)."""
        self.frames = frames
        self.height, self.width = size
        self.table = load_source("cityscapes").labels.category_of
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        frame, size = self.frames[row], (self.width, self.height)
        image = cv2.cvtColor(read(frame.image), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.LUT(read(frame.label, cv2.IMREAD_UNCHANGED), self.table)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        augmented = self.augmentation(image=image, mask=mask)
        return torch.from_numpy(augmented["image"]), torch.from_numpy(augmented["mask"])


def write_pngs(dataset: PreparedDataset, folder: Path) -> Path:
    """The train frames of a prepared dataset as PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in dataset.rows("train"):
        name = dataset.index["frame"][row]
        bgr = cv2.cvtColor(np.array(dataset.image(row)), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{name}_image.png"), bgr)
        cv2.imwrite(str(folder / f"{name}_mask.png"), np.array(dataset.categories(row)))
    return folder


def consume(loader: DataLoader[Any]) -> None:
    """Load every batch."""
    for _ in loader:
        pass


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    root = source_frames(arguments.frames)
    claims = []
    for height, width in SIZES:
        params = load_params(
            overrides={
                "data.root": str(root),
                "data.prepared": str(OUT / "prepared" / f"loader-{width}x{height}"),
                "prepare.size": [height, width],
            }
        )
        dataset = PreparedDataset(prepare(params))
        rows = dataset.rows("train")
        batch = params.train.batch_size
        augmentation = build_augmentation(params.train.augment, dataset.size, dataset.labels)
        pngs = PngFolder(write_pngs(dataset, OUT / f"png-{width}x{height}"), augmentation)
        published = [f for f in load_source("cityscapes").find(root) if f.split == "train"]
        loaders = {
            "ours": training_loader(
                dataset, EpochBatches(rows, batch, seed=0), params.train.augment, workers=0
            ),
            "png": DataLoader(pngs, batch_size=batch, shuffle=True),
            "published": DataLoader(
                PublishedFolder(published, dataset.size, augmentation),
                batch_size=batch,
                shuffle=True,
            ),
        }
        tasks = {name: (lambda loader=loader: consume(loader)) for name, loader in loaders.items()}
        rate = {n: len(rows) / took for n, took in seconds(tasks, arguments.rounds).items()}
        for name, peer in (("png", "PNGs of that size"), ("published", "Cityscapes as published")):
            claims.append(
                Claim(
                    f"load and augment {width}x{height}, against {peer}",
                    rate["ours"],
                    rate[name],
                    None,
                    "ours / peer >= 5",
                    "frames/s, one core",
                    why="over a third of our time is resizing the random window, which both do; "
                    "the rest is the fixed cost of Python and albumentations per frame. Larger "
                    "frames pass; resizing on the GPU would help",
                )
            )
    report("loader", claims)


if __name__ == "__main__":
    main()
