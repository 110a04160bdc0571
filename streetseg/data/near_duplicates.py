"""Frames that are nearly the same, by the perceptual hashes of the prepared index."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

CHUNK = 128
"""Hashes that are compared with all others at a time."""


def read_hashes(phashes: Iterable[str]) -> np.ndarray:
    """Hashes as in the index, hexadecimal digits, as uint8[N, 32]."""
    rows = [np.frombuffer(bytes.fromhex(each), np.uint8) for each in phashes]
    return np.stack(rows) if rows else np.empty((0, 32), np.uint8)


def nearest_hashes(hashes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For hashes uint8[N, B], the nearest of others[M, B], at least one.

    Returns its number int64[N] and how many bits differ int64[N].
    """
    numbers, bits = np.empty(len(hashes), np.int64), np.empty(len(hashes), np.int64)
    signs_of_others = _signs(others).T
    for start in range(0, len(hashes), CHUNK):
        part = slice(start, start + CHUNK)
        equal_minus_unequal = _signs(hashes[part]) @ signs_of_others
        numbers[part] = equal_minus_unequal.argmax(axis=1)
        bits[part] = (8 * hashes.shape[1] - equal_minus_unequal.max(axis=1)) // 2
    return numbers, bits


def _signs(hashes: np.ndarray) -> np.ndarray:
    """float32[N, 8 * B]: 1 or -1 for each bit."""
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1
