"""Training end to end: our loader and step against PNGs and the step that tutorials teach.

    python benchmarks/train.py [--batches 3] [--rounds 7]

The peer decodes PNGs of the network's size, augments, normalises and converts them on the CPU, and
trains the same network in float32 with the losses of smp. It uses 0 or 2 workers, whichever is
faster; on a GPU one per core, like ours. The bound is our step on a batch already on the device. On
a GPU two networks are trained at 1024x512, each also compiled; else the default one at 512x256.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from typing import Any

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from albumentations.pytorch import ToTensorV2
from harness import OUT, Claim, report, seconds, source_frames
from loader import PngFolder, write_pngs
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from streetseg.config.params import Augment, Params, load_params
from streetseg.core.parallel import cores
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE
from streetseg.data.prepare import prepare
from streetseg.models.build import build_model, network_name
from streetseg.training.augmentation import augment_on_device
from streetseg.training.device import choose_device, training_forward
from streetseg.training.initial_state import initial_state
from streetseg.training.loader import EpochBatches, training_loader
from streetseg.training.losses import category_weights, segmentation_loss
from streetseg.training.optimization import freeze_encoder, optimizer_step

Step = Callable[[Tensor, Tensor], None]
"""Trains on a batch of images and categories on the device."""

ON_CPU: list[tuple[dict[str, Any], float]] = [
    ({"prepare.size": [256, 512], "train.batch_size": 4}, 1.2)
]
ON_GPU: list[tuple[dict[str, Any], float]] = [
    (
        {
            "prepare.size": [512, 1024],
            "train.num_workers": cores(),
            "train.compile": compiled,
            "model.architecture": architecture,
            "model.encoder": encoder,
        },
        goal,
    )
    for architecture, encoder, goal in (("Unet", "efficientnet-b3", 3), ("Segformer", "mit_b3", 2))
    for compiled in (False, True)
]
"""Settings that differ from the default recipe, and the goal as a multiple of the peer's rate."""


def our_step(params: Params, dataset: PreparedDataset, device: torch.device) -> Step:
    """A step of ``streetseg train``."""
    settings = params.train
    state = initial_state(params, dataset, batches_per_epoch=1, device=device)
    state.model.train()
    freeze_encoder(state.model, 1 - settings.unfreeze)
    forward = training_forward(state.model, settings, device)
    pixels = np.ones(len(dataset.labels.names))
    weights = category_weights(pixels, settings.loss.class_weight_power).to(device)

    def step(images: Tensor, categories: Tensor) -> None:
        segmentation_loss(forward(images), categories, settings.loss, weights).backward()
        optimizer_step(state, settings)

    return step


def usual_step(params: Params, dataset: PreparedDataset, device: torch.device) -> Step:
    """The same network in float32, with the losses of smp and PyTorch."""
    network = build_model(params.model, len(dataset.labels.names)).network.to(device).train()
    forward = torch.compile(network) if params.train.compile else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=params.train.learning_rate)
    dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE)
    cross_entropy = nn.CrossEntropyLoss(ignore_index=IGNORE)

    def step(images: Tensor, categories: Tensor) -> None:
        optimizer.zero_grad()
        logits = forward(images)
        (dice(logits, categories) + cross_entropy(logits, categories)).backward()
        optimizer.step()

    return step


def usual_augmentation(augment: Augment, size: tuple[int, int]) -> A.Compose:
    """Augmentation of the same kinds as our default, then normalisation and conversion."""
    smallest, largest = augment.scale
    return A.Compose(
        [
            A.HorizontalFlip(p=augment.flip),
            A.RandomScale((smallest - 1, largest - 1), p=1),
            A.RandomCrop(*size, pad_if_needed=True, fill_mask=IGNORE),
            A.ColorJitter(
                *((1 - limit, 1 + limit) for limit in (augment.brightness, augment.contrast)),
                saturation=(1 - augment.saturation, 1 + augment.saturation),
                hue=(-augment.hue, augment.hue),
                p=1,
            ),
            A.Normalize(),
            ToTensorV2(),
        ]
    )


def usual_loader(pngs: PngFolder, frames: int, params: Params, workers: int) -> DataLoader:
    """This many of the PNGs, repeated as needed, in batches."""
    return DataLoader(
        Subset(pngs, np.resize(np.arange(len(pngs)), frames).tolist()),
        batch_size=params.train.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def train_on(step: Step, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> None:
    """Train on each batch, and wait for the device."""
    for images, categories in batches:
        step(images, categories)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def train_peer(step: Step, loader: DataLoader, device: torch.device) -> None:
    """Train on the usual batches, each moved to the device."""
    on_device = (
        (images.to(device, non_blocking=True), masks.to(device, non_blocking=True).long())
        for images, masks in loader
    )
    train_on(step, on_device, device)


def rates(params: Params, batches: int, rounds: int, device: torch.device) -> dict[str, float]:
    """Frames/s of ours, of the bound, and of the peer with each number of workers."""
    height, width = params.prepare.size
    dataset = PreparedDataset(prepare(params))
    frames = batches * params.train.batch_size
    rows = np.resize(dataset.rows("train"), frames)
    loader = training_loader(
        dataset,
        EpochBatches(rows, params.train.batch_size, seed=0),
        params.train.augment,
        params.train.num_workers,
    )
    ours, usual = (build(params, dataset, device) for build in (our_step, usual_step))
    ready = augment_on_device(next(iter(loader)), device)
    pngs = PngFolder(
        write_pngs(dataset, OUT / f"png-{width}x{height}"),
        usual_augmentation(params.train.augment, dataset.size),
    )
    tasks = {
        "ours": lambda: train_on(
            ours, (augment_on_device(batch, device) for batch in loader), device
        ),
        "bound": lambda: train_on(ours, repeat(ready, batches), device),
    }
    for workers in (cores(),) if device.type == "cuda" else (0, 2):
        peer = usual_loader(pngs, frames, params, workers)
        tasks[f"peer, {workers} workers"] = partial(train_peer, usual, peer, device)
    for task in tasks.values():
        task()
    return {name: frames / took for name, took in seconds(tasks, rounds).items()}


def main() -> None:
    """Measure and report."""
    cv2.setNumThreads(1)  # in every process that loads frames
    device = choose_device("auto")
    on_gpu = device.type == "cuda"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=48 if on_gpu else 3, help="in a round")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    claims = []
    for settings, goal in ON_GPU if on_gpu else ON_CPU:
        height, width = settings["prepare.size"]
        params = load_params(
            overrides={
                "data.root": str(source_frames(64)),
                "data.prepared": str(OUT / "prepared" / f"train-{width}x{height}"),
                "model.encoder_weights": "none",
                **settings,
            }
        )
        rate = rates(params, arguments.batches, arguments.rounds, device)
        ours, bound, *peers = rate.values()
        network = f"{network_name(params.model)}{', compiled' * params.train.compile}"
        machine = torch.cuda.get_device_name(device) if on_gpu else f"{cores()} cores"
        claims.append(
            Claim(
                f"train {network} at {width}x{height} on {machine}",
                ours,
                max(peers),
                bound,
                f"ours / peer >= {goal}, ours / bound >= 0.95",
                "frames/s",
                why="loading a batch and moving it take a hundredth of the step; the rest is other "
                "work on the host: runs gave 0.88 to 1.07",
            )
        )
    report("train", claims)


if __name__ == "__main__":
    main()
