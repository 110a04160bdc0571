"""Whether chosen frames teach a model more than as many drawn at random.

    python benchmarks/selection.py [--seeds 3] [--by weighted spread ...] [--real FOLDER]

A base model learns one city: Linknet on EfficientNet-Lite0 with ImageNet weights, which are frozen.
Of a pool of another city, some frames are chosen by `streetseg select` and learnt too, half of each
batch. The mean IoU is that of other frames of the new city. For each seed, drawn cities, weights,
batches and draws are others; strategies of a seed share all of them. `--real` is a folder in the
layout of Cityscapes: a sixth of its train frames is learnt first, the others are the pool, its val
frames are scored. Finished seeds are kept in `outputs/bench/selection` and not repeated.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from harness import OUT, Claim, report
from torch.nn import functional

from streetseg.config.params import Params, load_params
from streetseg.core.storage import Storage
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE
from streetseg.data.prepare import prepare
from streetseg.labelling.select import Choice, SelectOptions
from streetseg.labelling.select_ledger import Ledger, Table
from streetseg.labelling.select_measure import measure_known, measure_pool
from streetseg.labelling.select_network import ScoringNetwork
from streetseg.labelling.select_strategies import choose
from streetseg.metrics.confusion import category_iou, confusion_matrix
from streetseg.models.build import SegmentationModel, build_model
from streetseg.models.save import save_artifact
from streetseg.synth import write_cityscapes

STRATEGIES = ("weighted", "spread", "cover", "weighted-cover", "entropy")
CHOSEN, BATCH = 8, 8
BASE_STEPS, STEPS = 150, 100
HELD_OUT, PAIRS = 32, 1
"""Frames that are scored, and pairs of cities; drawing takes the most time."""
RANDOM_DRAWS = 2
"""Per seed, whose mean stands for random."""
DRAWN = {"train": 33}, {"train": 96}
"""Frames of the base city, and of the new one, 32 of which are scored."""

Frames = tuple[torch.Tensor, torch.Tensor]
"""Images uint8[N, H, W, 3] and categories int64[N, H, W]."""


@dataclass(frozen=True)
class Task:
    """A city that a model knows, and one that it does not."""

    base: PreparedDataset
    new: PreparedDataset
    """Its train split is the pool, its val split is scored."""
    pool: Path
    """The images of the pool."""
    params: Params


def prepared(root: Path, folder: Path, size: tuple[int, int]) -> tuple[PreparedDataset, Params]:
    """A folder in the layout of Cityscapes, and the settings it was prepared with."""
    params = load_params(
        overrides={
            "data.root": str(root),
            "data.prepared": str(folder),
            "prepare.size": size,
            "prepare.workers": 1,
            "model.architecture": "Linknet",
        }
    )
    return PreparedDataset(prepare(params)), params


def drawn_task(seed: int, scratch: Path) -> Task:
    """Two invented cities; a third of the frames of the new one is scored, the rest the pool."""
    roots = scratch / "base", scratch / "new"
    block, pair = divmod(seed, PAIRS)
    for number, (root, count) in enumerate(zip(roots, DRAWN, strict=True)):
        drawn = OUT / "selection" / f"drawn-{pair}" / root.name
        write_cityscapes(
            drawn, frames=count, cities=1, size=(64, 128), seed=2 * pair + number, workers=1
        )
        images = sorted((drawn / "leftImg8bit" / "train").rglob("*.png"))
        rolled = np.roll(np.array(images), block * HELD_OUT).tolist()
        scored = set(rolled[-HELD_OUT:]) if number else set(images[:1])  # the base's is not used
        for image in images:
            _link(image, root, "val" if image in scored else "train")
    return _task(roots, scratch, (64, 128))


def real_task(real: Path, seed: int, scratch: Path) -> Task:
    """A sixth of the train frames as the base, the others as the pool."""
    images = sorted((real / "leftImg8bit" / "train").rglob("*.png"))
    order = np.random.default_rng(seed).permutation(len(images))
    base = {images[number] for number in order[: len(images) // 6]}
    held_out = sorted((real / "leftImg8bit" / "val").rglob("*.png"))
    roots = scratch / "base", scratch / "new"
    for image in images:
        _link(image, roots[image not in base], "train")
    for image in held_out:
        _link(image, roots[0], "val")
        _link(image, roots[1], "val")
    return _task(roots, scratch, (64, 96))


def _link(image: Path, root: Path, split: str) -> None:
    """Give a folder in the layout of Cityscapes a frame of another."""
    label = f"{image.stem.removesuffix('_leftImg8bit')}_gtFine_labelIds.png"
    city = image.parent.name
    for kind, name in (("leftImg8bit", image.name), ("gtFine", label)):
        target = root / kind / split / city / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((image.parents[3] / kind / image.parents[1].name / city / name).resolve())


def _task(roots: tuple[Path, Path], scratch: Path, size: tuple[int, int]) -> Task:
    base, params = prepared(roots[0], scratch / "prepared-base", size)
    new, _ = prepared(roots[1], scratch / "prepared-new", size)
    return Task(base, new, roots[1] / "leftImg8bit" / "train", params)


def frames(dataset: PreparedDataset, rows: np.ndarray) -> Frames:
    """The arrays of some rows."""
    images = np.stack([dataset.image(int(row)) for row in rows])
    categories = np.stack([dataset.categories(int(row)) for row in rows])
    return torch.from_numpy(images), torch.from_numpy(categories).long()


def batches(parts: list[Frames], steps: int, seed: int) -> Iterator[Frames]:
    """Batches with equal shares of the parts, half of them mirrored."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        drawn = [rng.integers(len(images), size=BATCH // len(parts)) for images, _ in parts]
        images = torch.cat([part[0][rows] for part, rows in zip(parts, drawn, strict=True)])
        categories = torch.cat([part[1][rows] for part, rows in zip(parts, drawn, strict=True)])
        if rng.random() < 0.5:
            images, categories = images.flip(2), categories.flip(2)
        yield images, categories


def learn(
    model: SegmentationModel, parts: list[Frames], steps: int, rate: float, seed: int
) -> None:
    """Train in place, with a cosine schedule."""
    torch.manual_seed(seed)
    model.train()
    model.encoder.requires_grad_(False).eval()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for images, categories in batches(parts, steps, seed):
        loss = functional.cross_entropy(model(images), categories, ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def miou(model: SegmentationModel, scored: Frames, names: list[str]) -> float:
    """The mean IoU over the categories that occur, without void, in percent."""
    counts = np.zeros((256, 256), np.int64)
    with torch.inference_mode():
        for image, truth in zip(*scored, strict=True):
            predicted = model(image[None])[0].argmax(dim=0)
            counts += confusion_matrix(
                truth.numpy().astype(np.uint8), predicted.numpy().astype(np.uint8)
            )
    iou = category_iou(counts[: len(names), : len(names)])
    return 100 * float(
        np.nanmean([each for each, name in zip(iou, names, strict=True) if name != "void"])
    )


def chosen_rows(
    task: Task, artifact: Path, scratch: Path, strategies: list[str]
) -> dict[str, np.ndarray]:
    """The rows of the new dataset that each strategy chooses; ``random 0`` is a draw."""
    network = ScoringNetwork(artifact, threads=1)
    origin = Storage(str(task.pool))
    stamps = {path: stamp for path, stamp in origin.stamps().items() if path.endswith(".png")}
    pool_ledger, known_ledger = (
        Ledger(scratch / f"{each}.jsonl", "") for each in ("pool", "known")
    )
    measure_pool(origin, stamps, network, pool_ledger, 50_000_000)
    known = measure_known(task.base, network, known_ledger)
    pool = Table.of(pool_ledger.read(stamps), len(stamps))
    choice = Choice(pool, known, task.base, network, SelectOptions())
    row_of = {name: row for row, name in enumerate(task.new.index["image_hash"])}
    chosen = {}
    for name in strategies:
        by, _, draw = name.partition(" ")
        picks, _ = choose(choice.candidates, by, CHOSEN, duplicate_bits=32, seed=int(draw or 0))
        hashes = [pool.image_hashes[choice.rows[pick.row]] for pick in picks]
        chosen[name] = np.array([row_of[each] for each in hashes])
    return chosen


def scores_of(
    task: Task, seed: int, scratch: Path, strategies: list[str], again: bool
) -> dict[str, float]:
    """The mean IoU by strategy; ``none`` is before, ``all`` after labelling the whole pool.

    ``again`` measures the strategies alone.
    """
    names = task.base.labels.names
    torch.manual_seed(seed)
    base = frames(task.base, task.base.rows("train"))
    scored = frames(task.new, task.new.rows("val"))
    model = build_model(task.params.model, len(names))
    learn(model, [base], BASE_STEPS, 3e-3, seed)
    artifact = save_artifact(
        copy.deepcopy(model), task.base, task.params, scratch / "model", run_id="", epoch=0
    )
    pool = task.new.rows("train")
    draws = [] if again else [f"random {draw}" for draw in range(RANDOM_DRAWS)]
    chosen = chosen_rows(task, artifact, scratch, [*strategies, *draws])
    if not again:
        chosen["all"] = pool
    scores = {"none": miou(model, scored, names)}
    for name, rows in chosen.items():
        tuned = copy.deepcopy(model)
        learn(tuned, [base, frames(task.new, rows)], STEPS, 2e-3, seed + 1)
        scores[name] = miou(tuned, scored, names)
        print(f"  {name}: {scores[name]:.2f}", flush=True)
    drawn = [scores.pop(name) for name in draws]
    return scores | ({"random": float(np.mean(drawn))} if drawn else {})


def run(kind: str, seed: int, real: Path | None, strategies: list[str]) -> dict[str, float]:
    """The scores of a seed, from an earlier call if there was one."""
    path = OUT / "selection" / f"{kind}-{seed}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in strategies if name not in known]
    if known and not missing:
        return known
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"{kind} {seed}", flush=True)
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        scratch = Path(folder)
        task = real_task(real, seed, scratch) if real else drawn_task(seed, scratch)
        scores = known | scores_of(task, seed, scratch, missing, bool(known))
    path.write_text(json.dumps(scores) + "\n")
    return scores


def claims_of(kind: str, results: list[dict[str, float]]) -> list[Claim]:
    """A claim for each strategy: its mean IoU beside that of random."""
    claims = []
    for name in (key for key in results[0] if key != "random"):
        gains = [scores[name] - scores["random"] for scores in results]
        error = np.std(gains, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        claims.append(
            Claim(
                f"{kind}, {CHOSEN} frames by {name}, {len(results)} seeds; peer: random; "
                f"difference {np.mean(gains):+.2f} ± {error:.2f}",
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
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    kinds = ({"photographs": options.real} if options.real else {}) | {"drawn streets": None}
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for seed in range(options.seeds):
        for kind, real in kinds.items():
            results[kind].append(run(kind, seed, real, options.by))
    report(
        "selection", [claim for kind, found in results.items() for claim in claims_of(kind, found)]
    )


if __name__ == "__main__":
    main()
