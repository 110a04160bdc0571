"""What a frame would teach a model: scores of its prediction, and distances of frames.

Sources: Settles, Active Learning Literature Survey, University of Wisconsin-Madison 2009, sec. 3.1
(entropy and margin). Golestaneh and Kitani, Importance of Self-Consistency in Active Learning for
Semantic Segmentation, BMVC 2020 (disagreement with the mirror image).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streetseg.inference.upsampling import softmax

CHUNK = 1024
"""Frames that are compared with all others at a time."""
SMALLEST_FRACTION = 1e-5
"""Of a category that training frames do not show."""


def uncertainty(logits: np.ndarray, mirrored: np.ndarray) -> tuple[float, float, float]:
    """Entropy, margin and disagreement of a frame, each 0 to 1: means over its pixels.

    ``logits`` and those of the mirror image, mirrored back, are float32[C, h, w]. The entropy is a
    fraction of log C. The margin is that of the two largest probabilities: small is uncertain. The
    disagreement is the fraction of pixels whose category is another in the mirror image.
    """
    probabilities = softmax(logits)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=0).mean()
    second, first = np.partition(probabilities, -2, axis=0)[-2:]
    disagreement = np.mean(logits.argmax(axis=0) != mirrored.argmax(axis=0))
    return float(entropy / np.log(len(logits))), float((first - second).mean()), float(disagreement)


def category_fractions(logits: np.ndarray) -> np.ndarray:
    """The predicted fraction of each category: float64[C] of logits float32[C, h, w]."""
    counts = np.bincount(logits.argmax(axis=0).ravel(), minlength=len(logits))
    return counts / counts.sum()


def rarity(fractions: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """How rare the categories of frames are: float64[N], in nats.

    The cross entropy of the ``usual`` fractions float[C] relative to those of each frame,
    float[N, C]: the mean information of a pixel's category.
    """
    information = -np.log(np.maximum(usual / max(usual.sum(), 1e-12), SMALLEST_FRACTION))
    return fractions @ information / np.maximum(fractions.sum(axis=1), 1e-12)


def unit_vectors(embeddings: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Directions from the centre float[d] of embeddings float[N, d]: float32[N, d].

    Features of a network are mostly positive; without a centre all frames would look alike.
    """
    vectors = embeddings.astype(np.float32) - centre.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def nearest(vectors: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For unit vectors float32[N, d], the nearest of others[M, d], at least one.

    Returns its number int64[N] and the Euclidean distance float32[N], 0 to 2.
    """
    numbers, distances = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for part in chunks(len(vectors)):
        cosines = vectors[part] @ others.T
        numbers[part] = cosines.argmax(axis=1)
        distances[part] = distance_of(cosines.max(axis=1))
    return numbers, distances


def distance_of(cosines: np.ndarray) -> np.ndarray:
    """The Euclidean distance of unit vectors, 0 to 2."""
    return np.sqrt(np.maximum(2 - 2 * cosines, 0))


def chunks(count: int) -> Iterator[slice]:
    """So many rows, ``CHUNK`` at a time."""
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))
