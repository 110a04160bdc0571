"""Scores of frames, distances, and the greedy choice, on numbers that can be checked by hand."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from streetseg.cli.select import By
from streetseg.core.errors import StreetsegError
from streetseg.data.near_duplicates import nearest_hashes, read_hashes
from streetseg.labelling.select_scores import (
    category_fractions,
    nearest,
    rarity,
    uncertainty,
    unit_vectors,
)
from streetseg.labelling.select_strategies import STRATEGIES, Candidates, choose, ranks


def logits_of(*probabilities: tuple[float, ...]) -> np.ndarray:
    """float32[C, 1, pixels] of one tuple per pixel."""
    return np.log(np.array(probabilities, np.float32).T[:, None, :])


def test_uncertainty_of_a_sure_and_an_unsure_pixel() -> None:
    half, sure = (0.5, 0.5, 1e-12, 1e-12), (1.0, 1e-12, 1e-12, 1e-12)
    entropy, margin, disagreement = uncertainty(logits_of(half, sure), logits_of(sure, half))
    assert entropy == pytest.approx(0.25, abs=1e-5), "log 2 / log 4 for one of two pixels"
    assert margin == pytest.approx(0.5, abs=1e-5)
    assert disagreement == 0
    other = (1e-12, 1.0, 1e-12, 1e-12)
    assert uncertainty(logits_of(sure, sure), logits_of(sure, other))[2] == 0.5
    even = uncertainty(logits_of((0.25,) * 4), logits_of((0.25,) * 4))
    assert even[:2] == pytest.approx((1, 0), abs=1e-6)


def test_rarity_is_the_mean_information_of_a_pixel() -> None:
    usual = np.array([75.0, 25.0, 0.0])
    fractions = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    expected = [-np.log(0.75), -(np.log(0.75) + np.log(0.25)) / 2, -np.log(1e-5)]
    assert rarity(fractions, usual) == pytest.approx(expected)
    assert rarity(np.zeros((1, 3)), usual) == 0, "a frame of void alone"
    assert category_fractions(logits_of((0.9, 0.1), (0.9, 0.1), (0.2, 0.8))).tolist() == [
        pytest.approx(2 / 3), pytest.approx(1 / 3),
    ]  # fmt: skip


def test_distances_are_euclidean_between_directions_from_the_centre() -> None:
    centre = np.array([1.0, 1.0])
    vectors = unit_vectors(np.array([[3, 1], [1, 9]], np.float16), centre)
    assert vectors.tolist() == [[1, 0], [0, 1]]
    others = unit_vectors(np.array([[-5, 1], [1, 2], [2, 2]], np.float16), centre)
    numbers, distances = nearest(vectors, others)
    assert numbers.tolist() == [2, 1]
    assert distances.tolist() == pytest.approx([(2 - 2**0.5) ** 0.5, 0], abs=1e-3)


def test_bits_to_the_nearest_hash() -> None:
    hashes = np.array([[0b1111_0000, 0], [0, 1]], np.uint8)
    others = np.array([[0b1111_0001, 1], [0b1000_0000, 1]], np.uint8)
    numbers, bits = nearest_hashes(hashes, others)
    assert (numbers.tolist(), bits.tolist()) == ([0, 1], [2, 1])
    assert read_hashes(["00" * 31 + "ff"]).tolist() == [[0] * 31 + [255]]
    assert read_hashes([]).shape == (0, 32)


def test_equal_values_have_equal_ranks() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [1, 0.25, 1, 0.5]


def directions(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def candidates(vectors: np.ndarray | None, count: int = 0, **scores: list[float]) -> Candidates:
    """With hashes that all differ in many bits, and scores of 0.5 unless given."""
    count = count or (0 if vectors is None else len(vectors))
    rng = np.random.default_rng(0)
    same = [0.5] * count
    columns = {"entropy": same, "margin": same, "disagreement": same, "rarity": same} | scores
    return Candidates(
        rng.integers(0, 256, (count, 32), np.uint8),
        {name: np.array(values) for name, values in columns.items()},
        vectors,
    )


def rows(found: Candidates, by: str, count: int, bits: int = 32, seed: int = 0) -> list[int]:
    return [pick.row for pick in choose(found, by, count, duplicate_bits=bits, seed=seed)[0]]


def test_spread_takes_what_is_farthest_from_all_known_and_chosen() -> None:
    vectors = directions(10, 20, 90, 100, 180)
    _, distance = nearest(vectors, directions(0))
    found = candidates(vectors, distance=distance.tolist())
    picks, _ = choose(found, "spread", 3, duplicate_bits=32)
    assert [pick.row for pick in picks] == [4, 2, 1], "farthest from 0, between 0 and 180, the gap"
    gaps = [2 * np.sin(np.deg2rad(angle) / 2) for angle in (180, 90, 20)]
    assert [pick.gap for pick in picks] == pytest.approx(gaps, abs=1e-3)
    assert rows(candidates(vectors), "spread", 2) == [0, 4], "without known frames, from the first"


def test_weighted_prefers_the_uncertain_of_equally_far_frames() -> None:
    vectors = directions(0, 90, 180, 270)
    found = candidates(vectors, entropy=[0.1, 0.2, 0.9, 0.3])
    assert rows(found, "weighted", 1) == [2]
    assert rows(found, "weighted", 2) == [2, 0], "the opposite weighs more than the unsure beside"
    assert rows(candidates(None, 4, entropy=[0.1, 0.2, 0.9, 0.3]), "weighted", 2) == [2, 3]


@pytest.mark.parametrize(
    ("by", "expected"),
    [("entropy", [1, 0]), ("margin", [2, 0]), ("rarity", [0, 2]), ("disagreement", [2, 1])],
)
def test_a_score_by_itself_takes_the_highest(by: str, expected: list[int]) -> None:
    found = candidates(
        None, 3,
        entropy=[0.2, 0.9, 0.1], margin=[0.3, 0.8, 0.1],
        rarity=[3, 1, 2], disagreement=[0, 0.1, 0.2],
    )  # fmt: skip
    assert rows(found, by, 2) == expected


def test_near_duplicates_of_chosen_frames_are_skipped_and_counted() -> None:
    found = candidates(None, 4, entropy=[0.9, 0.8, 0.7, 0.1])
    found.hashes[1] = found.hashes[0]
    found.hashes[1, 0] ^= 0b111
    for bits, expected, duplicates in ((3, [0, 2, 3], 1), (2, [0, 1, 2], 0), (-1, [0, 1, 2], 0)):
        picks, left_out = choose(found, "entropy", 3, duplicate_bits=bits)
        assert ([pick.row for pick in picks], left_out) == (expected, duplicates)


def test_random_is_a_draw_by_the_seed_without_repeats() -> None:
    found = candidates(None, 50)
    draws = [rows(found, "random", 10, seed=seed) for seed in range(200)]
    assert draws[0] == rows(found, "random", 10)
    assert all(len(set(draw)) == 10 for draw in draws)
    counts = np.bincount(np.concatenate(draws), minlength=50)
    assert counts.min() > 15, "each frame about 40 times"
    assert counts.max() < 70


def test_a_strategy_says_what_it_lacks() -> None:
    assert get_args(By) == tuple(STRATEGIES), "the command offers them all"
    with pytest.raises(StreetsegError, match="--by spread needs embeddings, which this"):
        rows(candidates(None, 3), "spread", 1)
    with pytest.raises(StreetsegError, match="--by distance needs embeddings and the frames"):
        rows(candidates(directions(0, 1)), "distance", 1)


def test_all_candidates_are_taken_if_there_are_fewer() -> None:
    assert sorted(rows(candidates(directions(0, 90, 180)), "spread", 9)) == [0, 1, 2]
