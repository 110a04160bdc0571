"""Which frames to choose: strategies, and the greedy choice that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.labelling.select_scores import distance_of

UNCERTAIN_AND_RARE = ("entropy", "disagreement", "rarity")
"""The scores of the strategy ``weighted``."""


@dataclass(frozen=True)
class Candidates:
    """The frames that may be chosen, one per row."""

    hashes: np.ndarray
    """Perceptual hashes uint8[N, B]."""
    scores: dict[str, np.ndarray]
    """``entropy``, ``margin``, ``disagreement``, ``rarity`` and, if there are known frames,
    ``distance`` to the nearest: float[N]."""
    vectors: np.ndarray | None = None
    """Embeddings of length 1: float32[N, d]."""


class Pick(NamedTuple):
    """A chosen candidate."""

    row: int
    gap: float | None
    """Distance of its embedding to the nearest known or chosen frame before it; None without."""


class Strategy(NamedTuple):
    """What is largest for the next frame to choose."""

    weight: Callable[[Candidates, int], np.ndarray]
    """A weight of each candidate float[N], by candidates and seed."""
    spread: bool = False
    """Whether distances count too, as :func:`choose` describes."""


def ranks(values: np.ndarray) -> np.ndarray:
    """The fraction of values that are no larger, above 0 to 1: float64[N]; equal if values are."""
    return np.searchsorted(np.sort(values), values, side="right") / max(1, len(values))


def _score(name: str) -> Callable[[Candidates, int], np.ndarray]:
    def weight(candidates: Candidates, seed: int) -> np.ndarray:
        if name not in candidates.scores:
            raise StreetsegError(
                "--by distance needs embeddings and the frames that the model was trained on: name "
                "the prepared dataset with --data, or choose another --by"
            )
        return ranks(candidates.scores[name] * (-1 if name == "margin" else 1))

    return weight


def _random(candidates: Candidates, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(candidates.hashes)) + 1.0


def _equal(candidates: Candidates, seed: int) -> np.ndarray:
    if candidates.vectors is None:
        raise StreetsegError("--by spread needs embeddings, which this model has not")
    return np.ones(len(candidates.hashes))


def _uncertain_and_rare(candidates: Candidates, seed: int) -> np.ndarray:
    return np.mean([ranks(candidates.scores[name]) for name in UNCERTAIN_AND_RARE], axis=0)


STRATEGIES = {
    "weighted": Strategy(_uncertain_and_rare, spread=True),
    "spread": Strategy(_equal, spread=True),
    **{
        name: Strategy(_score(name))
        for name in ("entropy", "margin", "disagreement", "rarity", "distance")
    },
    "random": Strategy(_random),
}


def choose(
    candidates: Candidates, by: str, count: int, *, duplicate_bits: int, seed: int = 0
) -> tuple[list[Pick], int]:
    """Choose up to ``count`` frames one after another, none of which is like a chosen one.

    Each is the candidate with the largest weight. A strategy that spreads takes that with the
    largest product of weight and distance to the nearest frame that is known or chosen: weighted
    k-center greedy. Sener and Savarese, Active Learning for Convolutional Neural Networks: A
    Core-Set Approach, ICLR 2018, algorithm 1. Of equal ones the first is chosen.

    Args:
        duplicate_bits: candidates whose perceptual hash differs from that of a chosen frame in at
            most so many bits are left out; -1 for none.

    Returns:
        The chosen frames in order, and how many candidates were left out as near duplicates.

    Raises:
        StreetsegError: the strategy needs what the candidates do not have.
    """
    strategy, vectors = STRATEGIES[by], candidates.vectors
    weights = strategy.weight(candidates, seed)
    gaps = candidates.scores.get("distance", np.full(len(weights), np.inf)).astype(float)
    free, picks, duplicates = np.ones(len(weights), bool), list[Pick](), 0
    while len(picks) < count and free.any():
        utility = weights
        if strategy.spread and np.isfinite(gaps[0]):
            utility = weights * gaps
        row = int(np.where(free, utility, -1).argmax())
        picks.append(Pick(row, float(gaps[row]) if np.isfinite(gaps[row]) else None))
        free[row] = False
        if vectors is not None:
            gaps = np.minimum(gaps, distance_of(vectors @ vectors[row]))
        unequal = np.bitwise_count(candidates.hashes ^ candidates.hashes[row]).sum(axis=1)
        alike = free & (unequal.astype(int) <= duplicate_bits)
        free[alike] = False
        duplicates += int(alike.sum())
    return picks, duplicates
