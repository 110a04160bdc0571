"""Counting the pixels of a frame, beside torchmetrics and smp, and beside predicting them.

    python benchmarks/evaluate.py [--rounds 15]

The peers are given int64 tensors and need not check them. The prediction is the truth of the
network's size, blurred and noisy, brought to native size as a network's answer is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torchmetrics
from harness import OUT, Claim, report, seconds, source_frames

from streetseg.config.params import load_params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import categories_at
from streetseg.metrics.confusion import (
    confusion_matrix,
    confusion_of_categories,
    score,
)
from streetseg.models.build import build_model
from streetseg.models.save import save_artifact


def likely_logits(categories: np.ndarray, count: int) -> np.ndarray:
    """Logits float32[count, H, W] of a network that is unsure near edges: uint8[H, W] is true."""
    random = np.random.default_rng(0)
    truth = categories == np.arange(count)[:, None, None]
    noisy = 4.0 * truth + random.normal(size=truth.shape)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in noisy]).astype(np.float32)


def peers(truth: np.ndarray, predicted: np.ndarray, ids: int) -> dict[str, Callable[[], object]]:
    """How others add the pixels of a frame to their counts."""
    true, guess = torch.from_numpy(truth).long(), torch.from_numpy(predicted).long()
    jaccard = torchmetrics.JaccardIndex("multiclass", num_classes=ids, validate_args=False)
    return {
        "torchmetrics": lambda: jaccard.update(guess, true),
        "smp": lambda: smp.metrics.get_stats(
            guess[None], true[None], mode="multiclass", num_classes=ids
        ),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    params = load_params(
        overrides={
            "data.root": str(source_frames(64)),
            "data.prepared": str(OUT / "prepared" / "evaluate"),
            "model.encoder_weights": "none",
        }
    )
    dataset = PreparedDataset(prepare(params))
    space, row = dataset.labels, int(dataset.rows("val")[0])
    truth = dataset.label_ids(row)
    logits = likely_logits(dataset.categories(row), len(space.names))
    categories = categories_at(logits, truth.shape)
    true_categories = space.category_of[truth]
    confusion = confusion_of_categories(truth, categories, space)
    counted = {
        "34 label ids": {
            "ours": lambda: confusion_of_categories(truth, categories, space),
            **peers(truth, space.representative_ids[categories], 34),
        },
        "8 categories": {
            "ours": lambda: confusion_matrix(true_categories, categories, 8),
            **peers(true_categories, categories, 8),
        },
    }
    claims = []
    for what, tasks in counted.items():
        took = {name: 1000 * value for name, value in seconds(tasks, rounds).items()}
        claims += [
            Claim(
                f"count the pixels of a 2048x1024 frame by {what}, against {peer}",
                took["ours"],
                took[peer],
                None,
                "ours / peer <= 0.333",
                "ms/frame",
            )
            for peer in ("torchmetrics", "smp")
        ]

    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        network = build_model(params.model, len(space.names)).eval()
        artifact = save_artifact(
            network, dataset, params, Path(scratch) / "model", run_id="benchmark", epoch=0
        )
        model, images = Segmenter(artifact), np.array(dataset.image(row))[None]
        tasks = {
            "network": lambda: model.logits(images),
            "count": counted["34 label ids"]["ours"],
            "score": lambda: score(confusion, space),
        }
        took = {name: 1000 * value for name, value in seconds(tasks, rounds).items()}
    claims.append(
        Claim(
            "count and score a 2048x1024 frame, against U-Net EfficientNet-Lite0 at 512x256",
            took["count"] + took["score"],
            None,
            took["network"],
            "ours / bound <= 0.05",
            "ms/frame",
        )
    )
    report("evaluate", claims)


if __name__ == "__main__":
    main()
