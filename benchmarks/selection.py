"""Whether chosen frames teach a model more than as many drawn at random.

    python benchmarks/selection.py [--seeds 20] [--real FOLDER]

A linear classifier on the frozen features of EfficientNet-Lite0 (ImageNet weights, strides 8, 16
and 32) learns some frames of one city. Of a pool of another city, frames are chosen as `streetseg
select` does, and learnt too, with the weight of the first. The mean IoU is that of other frames of
the new city. Each seed has other frames for all three; strategies of a seed share them. `--real` is
a folder in the layout of Cityscapes: a sixth of its train frames is learnt first, the others are
the pool, its val frames are scored.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from harness import OUT, Claim, report

from streetseg.config.params import load_params
from streetseg.data.collection import load_sources
from streetseg.data.frames import prepare_frame
from streetseg.data.labels import IGNORE
from streetseg.data.near_duplicates import read_hashes
from streetseg.images.resize import resize_ids
from streetseg.labelling.select_scores import (
    category_fractions,
    nearest,
    rarity,
    uncertainty,
    unit_vectors,
)
from streetseg.labelling.select_strategies import STRATEGIES, Candidates, choose
from streetseg.metrics.confusion import category_iou, confusion_matrix
from streetseg.models.build import SegmentationModel, build_model
from streetseg.synth import write_cityscapes

CHOSEN, RANDOM_DRAWS = 8, 5
"""Frames to label, and draws per seed whose mean stands for random."""
RIDGE, SHARPNESS = 0.01, 10.0
"""Penalty as a fraction of the mean square of a feature; factor that makes logits of scores."""


@dataclass(frozen=True)
class Frames:
    """Frames and what a classifier needs of them."""

    features: np.ndarray
    """float32[N, h, w, D] of every eighth pixel; the last of D is 1."""
    mirrored: np.ndarray
    """Those of the mirror image, mirrored back."""
    categories: np.ndarray
    """uint8[N, H, W]."""
    squares: np.ndarray
    """Sums of the outer products of features: float64[N, D, D]."""
    targets: np.ndarray
    """Sums of features by category: float64[N, D, C]."""
    embeddings: np.ndarray
    """float32[N, d]."""
    phashes: np.ndarray
    """uint8[N, 32]."""


def frames_of(root: Path, split: str, size: tuple[int, int]) -> Frames:
    """All frames of a split of a folder in the layout of Cityscapes."""
    params = load_params(overrides={"data.root": str(root)})
    layout = load_sources(params.data)
    model = build_model(params.model, 2).eval()
    columns: dict[str, list[np.ndarray]] = {field.name: [] for field in fields(Frames)}
    phashes = []
    for frame in layout.find(root):
        if frame.split != split:
            continue
        prepared = prepare_frame(frame, size, layout.labels)
        points, deepest = features_of(model, prepared.rgb)
        mirrored, _ = features_of(model, prepared.rgb[:, ::-1])
        truth = resize_ids(prepared.categories, points.shape[:2]).ravel()
        labelled = points.reshape(len(truth), -1)[truth != IGNORE]
        of_category = np.eye(256, len(layout.labels.names), dtype=np.float32)[
            truth[truth != IGNORE]
        ]
        columns["features"].append(points)
        columns["mirrored"].append(mirrored[:, ::-1])
        columns["categories"].append(prepared.categories)
        columns["squares"].append(labelled.T @ labelled)
        columns["targets"].append(labelled.T @ of_category)
        columns["embeddings"].append(deepest / np.linalg.norm(deepest))
        phashes.append(prepared.measures["phash"])
    columns["phashes"] = list(read_hashes(phashes))
    return Frames(**{name: np.stack(column) for name, column in columns.items()})


def features_of(model: SegmentationModel, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features float32[h, w, D] of an image, and the means of its deepest ones."""
    pixels = torch.from_numpy(rgb[None].copy()).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        levels = model.encoder((pixels - model.mean) / model.std)[-3:]
    grid = tuple(levels[0].shape[2:])
    planes = [torch.nn.functional.interpolate(each, grid, mode="bilinear") for each in levels]
    points = torch.cat([*planes, torch.ones(1, 1, *grid)], dim=1)[0].permute(1, 2, 0)
    return points.numpy(), levels[-1][0].mean(dim=(1, 2)).numpy()


def learn(parts: list[tuple[Frames, np.ndarray]]) -> np.ndarray:
    """Least-squares weights float64[D, C] of the rows of some frames; each part counts alike."""
    squares = sum(frames.squares[rows].mean(axis=0, dtype=float) for frames, rows in parts)
    targets = sum(frames.targets[rows].mean(axis=0, dtype=float) for frames, rows in parts)
    penalty = RIDGE * float(np.diag(squares).mean()) * np.eye(len(squares))
    return np.linalg.solve(squares + penalty, targets)


def miou(weights: np.ndarray, frames: Frames, rows: np.ndarray) -> float:
    """The mean IoU over the categories that occur, without void, in percent."""
    counts = np.zeros((256, 256), np.int64)
    for row in rows:
        truth = frames.categories[row]
        scores = (frames.features[row] @ weights).astype(np.float32)
        predicted = cv2.resize(scores, truth.shape[::-1]).argmax(axis=2).astype(np.uint8)
        counts += confusion_matrix(truth, predicted)
    categories = weights.shape[1]
    iou = category_iou(counts[:categories, :categories])
    return 100 * float(np.nanmean(iou[1:]))  # the first is void


def candidates_of(
    weights: np.ndarray, base: tuple[Frames, np.ndarray], pool: tuple[Frames, np.ndarray]
) -> Candidates:
    """What `streetseg select` knows of a pool."""
    frames, rows = pool
    known, known_rows = base
    scores, fractions = [], []
    for row in rows:
        logits, mirrored = (
            SHARPNESS * (features[row] @ weights).transpose(2, 0, 1)
            for features in (frames.features, frames.mirrored)
        )
        scores.append(uncertainty(logits, mirrored))
        fractions.append(category_fractions(logits))
    entropy, margin, disagreement = np.array(scores).T
    usual = np.bincount(known.categories[known_rows].ravel(), minlength=256)[: weights.shape[1]]
    centre = known.embeddings[known_rows].mean(axis=0)
    vectors = unit_vectors(frames.embeddings[rows], centre)
    _, distance = nearest(vectors, unit_vectors(known.embeddings[known_rows], centre))
    return Candidates(
        frames.phashes[rows],
        {
            "entropy": entropy,
            "margin": margin,
            "disagreement": disagreement,
            "rarity": rarity(np.array(fractions), usual.astype(float)),
            "distance": distance,
        },
        vectors,
    )


def scores_of(
    base: tuple[Frames, np.ndarray],
    pool: tuple[Frames, np.ndarray],
    scored: tuple[Frames, np.ndarray],
) -> dict[str, float]:
    """The mean IoU by strategy; ``none`` is before, ``all`` after labelling the whole pool."""
    weights = learn([base])
    candidates = candidates_of(weights, base, pool)
    scores = {
        "none": miou(weights, *scored),
        "all": miou(learn([base, pool]), *scored),
    }
    for by in STRATEGIES:
        draws = []
        for seed in range(RANDOM_DRAWS if by == "random" else 1):
            picks, _ = choose(candidates, by, CHOSEN, duplicate_bits=32, seed=seed)
            chosen = pool[1][[pick.row for pick in picks]]
            draws.append(miou(learn([base, (pool[0], chosen)]), *scored))
        scores[by] = float(np.mean(draws))
    return scores


def drawn_streets(seeds: int) -> list[dict[str, float]]:
    """An invented city, and another that looks otherwise."""
    cities = []
    for number, (name, count) in enumerate((("base", 33), ("new", 96))):
        root = OUT / "selection" / f"drawn-{name}"
        write_cityscapes(root, frames={"train": count}, cities=1, size=(64, 128), seed=number)
        cities.append(frames_of(root, "train", (64, 128)))
    base, new = cities
    results = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        known, order = rng.permutation(len(base.features)), rng.permutation(len(new.features))
        pool, scored = np.split(order, [2 * len(order) // 3])
        known = known[: len(known) // 2]
        results.append(scores_of((base, known), (new, pool), (new, scored)))
    return results


def photographs(real: Path, seeds: int) -> list[dict[str, float]]:
    """A sixth of the train frames as the base, the others as the pool."""
    frames, val = (frames_of(real, split, (192, 256)) for split in ("train", "val"))
    scored = val, np.arange(len(val.features))
    results = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(frames.features))
        base, pool = np.split(order, [len(order) // 6])
        results.append(scores_of((frames, base), (frames, pool), scored))
    return results


def claims_of(kind: str, results: list[dict[str, float]]) -> list[Claim]:
    """A claim for each strategy: its mean IoU beside that of random."""
    claims = []
    for name in (key for key in results[0] if key not in ("random", "all")):
        gains = [scores[name] - scores["random"] for scores in results]
        better = sum(gain > 0 for gain in gains)
        error = np.std(gains, ddof=1) / len(gains) ** 0.5
        claims.append(
            Claim(
                f"{kind}, {CHOSEN} frames by {name} ({np.mean(gains):+.2f} ± {error:.2f}, better "
                f"in {better} of {len(gains)} seeds); peer: random; bound: all",
                float(np.mean([scores[name] for scores in results])),
                float(np.mean([scores["random"] for scores in results])),
                float(np.mean([scores["all"] for scores in results])),
                "-",
                "% mIoU",
            )
        )
    return claims


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    claims = claims_of("drawn streets", drawn_streets(options.seeds))
    if options.real:
        claims += claims_of("photographs", photographs(options.real, options.seeds))
    report("selection", claims)


if __name__ == "__main__":
    main()
