"""How often the gate passes a model that is no better than the champion, on frames that correlate.

    python benchmarks/gate.py [--trials 1000]

Two models are equally good: the logit of a hit varies with the drive (sd 0.3) and the frame
(sd 0.4), for each model on its own. The gate asks for 95 %, so 5 % should pass. The peer is the
gate before: frames drawn with replacement, read as Student's t with frames - 1 degrees of
freedom.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from harness import Claim, report
from scipy.special import ndtri, stdtr

from streetseg.config.params import Gate
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import ChampionScores, Evaluation, FrameScore
from streetseg.metrics.confusion import Scores, category_iou, category_miou, mean_iou

CATEGORIES = ["flat", "construction", "object", "nature", "sky", "human", "vehicle"]
LEVEL = Gate(miou_floor=0, protected=[]).confidence
RESAMPLES = 1000
DESIGNS = {
    "3 drives of 8 frames": ([8] * 3, 0.3),
    "3 drives of 100 frames": ([100] * 3, 0.3),
    "10 drives of 10 frames": ([10] * 10, 0.3),
    "30 drives of 10 frames": ([10] * 30, 0.3),
    "10 drives of 1 to 50 frames": ([50, 20, 10, 5, 5, 5, 2, 1, 1, 1], 0.3),
    "24 independent frames": ([1] * 24, 0.0),
    "100 independent frames": ([1] * 100, 0.0),
    "10 drives of 10 independent frames": ([10] * 10, 0.0),
}
"""The frames of each drive, and the standard deviation of the drives' effect in logits."""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="The gate's false passes on correlated frames.")
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    claims = []
    for name, (frames, spread) in DESIGNS.items():
        random = np.random.default_rng(0)
        drives = np.repeat(np.arange(len(frames)), frames).astype(str)
        passed = np.zeros(2)
        for _ in range(trials):
            pair = simulate(drives, spread, random)
            passed += [passes(*pair, drives), passes_by_frames(*pair, random)]
        ours, peer = (100 * passed / trials).tolist()
        claims.append(
            Claim(
                f"equally good models that pass at 95 %, {name}; peer: frames drawn",
                ours,
                peer,
                5.0,
                "ours >= 3, ours <= 7",
                "%",
            )
        )
    report("gate", claims)


def simulate(
    drives: np.ndarray, spread: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The confusion of two equally good models on the same frames: int64[F, C, C] each."""
    n_frames, n_categories = len(drives), len(CATEGORIES)
    truth = random.integers(0, 2000, (n_frames, n_categories))
    ease = random.normal(1.5, 0.5, (n_frames, n_categories))
    _, drive = np.unique(drives, return_inverse=True)
    pair = []
    for _ in range(2):
        effect = random.normal(0, spread, drive.max() + 1)[drive] + random.normal(0, 0.4, n_frames)
        hits = random.binomial(truth, 1 / (1 + np.exp(-ease - effect[:, None])))
        counts = np.zeros((n_frames, n_categories, n_categories), np.int64)
        for category in range(n_categories):
            half = (truth - hits)[:, category] // 2
            counts[:, category, category] = hits[:, category]
            counts[:, category, (category + 1) % n_categories] = half
            counts[:, category, (category + 2) % n_categories] = (truth - hits)[:, category] - half
        pair.append(counts)
    return pair[0], pair[1]


def passes(challenger: np.ndarray, champion: np.ndarray, drives: np.ndarray) -> bool:
    """Whether the gate is open for the challenger."""
    total, miou = challenger.sum(axis=0), category_miou(champion.sum(axis=0))
    iou = dict(zip(CATEGORIES, category_iou(total).tolist(), strict=True))
    score = category_miou(total)
    evaluation = Evaluation(
        data_version="simulated",
        split="val",
        run_id="challenger",
        label_space="simulated",
        scores=Scores(score, score, iou, iou, iou, iou, iou, score, total),
        frames=[FrameScore(str(number), math.nan) for number in range(len(challenger))],
        n_seen_in_training=0,
        champion=ChampionScores(
            "1", "champion", "simulated", "simulated", CATEGORIES, 0, miou, miou, counts=champion
        ),
        metrics={},
        counts=challenger,
        drives=drives,
    )
    return judge(evaluation, Gate(miou_floor=0, protected=[])).passed


def passes_by_frames(
    challenger: np.ndarray, champion: np.ndarray, random: np.random.Generator
) -> bool:
    """Whether the paired bootstrap over frames calls the challenger better."""
    n_frames, n_categories = challenger.shape[:2]
    drawn = random.multinomial(n_frames, np.full(n_frames, 1 / n_frames), RESAMPLES).astype(float)
    mious = [
        mean_iou(
            category_iou(
                (drawn @ counts.reshape(n_frames, -1)).reshape(-1, n_categories, n_categories)
            )
        )
        for counts in (challenger, champion)
    ]
    fraction = ((mious[0] > mious[1]).sum() + 0.5) / (RESAMPLES + 1)
    quantile = ndtri(fraction) * math.sqrt((n_frames - 1) / n_frames)
    return bool(stdtr(n_frames - 1, quantile) >= LEVEL)


if __name__ == "__main__":
    main()
