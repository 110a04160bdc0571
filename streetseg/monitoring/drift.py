"""Drift: whether the images a service receives look like those the model was scored on.

The service compares a rolling window of :class:`Observation` with the :class:`Reference` of the
evaluation, by the population stability index. With p the fraction of the reference in a bin and q
that of the window, PSI = sum over the bins of (q - p) ln(q / p).

Sources: Siddiqi, Credit Risk Scorecards, Wiley 2006 (the index, and its thresholds 0.1 and 0.25).
Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk
Model Validation, 2020: for two samples of n and m from one distribution, in B bins, PSI /
(1/n + 1/m) follows chi-square with B - 1 degrees of freedom. At n = 500, m = 100 and 10 bins,
chance alone gives 0.1 on average, and in simulation more than 0.1 in 45 % of all windows. So a
feature counts as moved only if chance does not explain it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.images.measures import brightness, sharpness
from streetseg.inference.artifact import REFERENCE
from streetseg.metrics.confusion import plain_number

STEP = 4
"""Only every fourth row and column of the logits is evaluated."""
MAX_BINS, FRAMES_PER_BIN = 10, 10
MINIMUM = 200
"""Observations needed for a verdict: against 500 frames, chance explains a PSI of 0.195 at 200
observations, below ``DRIFTED``, but 0.335 at 100."""
MOVED, DRIFTED = 0.1, 0.25
CHANCE = 0.001
"""Probability that an unchanged feature exceeds the PSI that chance explains."""

NO_REFERENCE, TOO_FEW = "no reference", "too few"
VERDICTS = (NO_REFERENCE, TOO_FEW, "stable", "moved", "drifted")
"""From the mildest to the worst."""


@dataclass(frozen=True)
class Observation:
    """The monitored features of one image."""

    shares: np.ndarray
    """Predicted fraction of each category: float64[C], 0 to 1."""
    brightness: float
    """Mean grey value, 0 to 255."""
    sharpness: float
    """Variance of the Laplacian, in squared grey values."""
    confidence: float
    """Mean of the largest probability of each pixel, 1 / C to 1."""


def observe(rgb: np.ndarray, logits: np.ndarray) -> Observation:
    """Observe an image uint8[height, width, 3] and its logits float32[C, height, width].

    Brightness and sharpness are computed as for the prepared index. Shares and confidence come from
    the pixels on a grid of ``STEP``.
    """
    sampled = np.ascontiguousarray(logits[:, STEP // 2 :: STEP, STEP // 2 :: STEP])
    confidence = 1 / np.exp(sampled - sampled.max(axis=0)).sum(axis=0)
    pixels = np.bincount(sampled.argmax(axis=0).ravel(), minlength=len(sampled))
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return Observation(
        shares=pixels / confidence.size,
        brightness=brightness(gray),
        sharpness=sharpness(gray),
        confidence=float(confidence.mean()),
    )


@dataclass(frozen=True)
class Distribution:
    """The values of a feature, in bins of about equal counts."""

    mean: float
    edges: list[float]
    """Increasing; an edge belongs to the bin below it. A frequent value, such as the share 0 of a
    rare category, has a bin of its own, and the number of bins shrinks."""
    counts: list[int]
    """Frames in each bin, one more than there are edges."""

    @classmethod
    def of(cls, values: np.ndarray) -> Distribution:
        """The distribution of float[frames]: ten bins, or fewer with ten frames each."""
        bins = int(np.clip(len(values) // FRAMES_PER_BIN, 2, MAX_BINS))
        edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])).tolist()
        return cls(float(values.mean()), edges, _counts(values, edges).tolist())

    def psi(self, values: np.ndarray) -> float:
        """PSI of float[n] against this distribution; half a frame is added to each bin."""
        p, q = (
            (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
            for counts in (np.array(self.counts), _counts(values, self.edges))
        )
        return float(((q - p) * np.log(q / p)).sum())

    def psi_by_chance(self, observations: int) -> float:
        """The PSI that chance alone exceeds in ``CHANCE`` of all cases, for n observations."""
        from scipy.special import chdtri

        sampling = 1 / sum(self.counts) + 1 / observations
        return float(chdtri(len(self.edges), CHANCE)) * sampling


def _counts(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)


@dataclass(frozen=True)
class Reference:
    """The distribution of each feature over the frames that the model was evaluated on.

    On training frames the model is more confident than in service: every window would seem to have
    drifted. The shares come from predictions, as a service has no truth to compare.
    """

    data_version: str
    split: str
    frames: int
    features: dict[str, Distribution]
    """``share_<category>`` of each category, ``brightness``, ``sharpness``, ``confidence``."""

    @classmethod
    def of(
        cls,
        observations: Sequence[Observation],
        categories: Sequence[str],
        data_version: str,
        split: str,
    ) -> Reference:
        """Summarise the observations of a split, at least one."""
        columns = np.stack([_row(each) for each in observations]).T
        names = feature_names(categories)
        distributions = (Distribution.of(column) for column in columns)
        features = dict(zip(names, distributions, strict=True))
        return cls(data_version, split, len(observations), features)

    @classmethod
    def load(cls, artifact: Path) -> Reference | None:
        """The reference of a model artifact; None if it has none.

        Raises:
            StreetsegError: the file is damaged.
        """
        path = Path(artifact) / REFERENCE
        try:
            return cls.from_dict(json.loads(path.read_text())) if path.exists() else None
        except (OSError, ValueError, TypeError, KeyError):
            raise StreetsegError(
                f"cannot read {path}: without it drift is not watched; register the model again"
            ) from None

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Reference:
        """Read what :meth:`to_dict` wrote."""
        features = {name: Distribution(**each) for name, each in content["features"].items()}
        return cls(**content | {"features": features})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def feature_names(categories: Sequence[str]) -> list[str]:
    """Names of the monitored features, in the order of the columns."""
    return [*(f"share_{name}" for name in categories), "brightness", "sharpness", "confidence"]


def _row(observation: Observation) -> np.ndarray:
    """The features in the order of :func:`feature_names`: float64[features]."""
    scalars = (observation.brightness, observation.sharpness, observation.confidence)
    return np.append(observation.shares, scalars)


class DriftWatch:
    """Compares the last observations of a model version with its reference. Thread-safe."""

    def __init__(self, categories: Sequence[str], reference: Reference | None, window: int) -> None:
        """Start without observations; without a reference there is never a verdict.

        Of the last ``window`` observations, ``MINIMUM`` are needed for a verdict.
        """
        self.reference = reference
        self._names = feature_names(categories)
        self._values = np.zeros((window, len(self._names)))
        self._count = 0
        self._lock = threading.Lock()

    def add(self, observation: Observation) -> None:
        """Keep an observation; in a full window it replaces the oldest."""
        row = _row(observation)
        with self._lock:
            self._values[self._count % len(self._values)] = row
            self._count += 1

    def state(self) -> dict[str, Any]:
        """The current comparison, as plain data for JSON; missing values are None.

        ``verdict`` is the worst of all features, ``seen`` counts the observations since the start,
        ``window`` those kept, ``window_size`` the most that can be, and ``minimum`` those a verdict
        needs. Each of ``features`` has ``verdict``, ``reference_mean``, ``window_mean``, ``psi``,
        ``psi_by_chance``, and the bins: ``edges``, ``reference_counts``, ``window_counts``. The PSI
        of too few observations is None, as it would mislead.
        """
        with self._lock:
            count, values = self._count, self._values[: self._count].copy()
        features = {
            name: self._feature(name, column)
            for name, column in zip(self._names, values.T, strict=True)
        }
        reference = self.reference
        return {
            "verdict": max((each["verdict"] for each in features.values()), key=VERDICTS.index),
            "seen": count,
            "window": len(values),
            "window_size": len(self._values),
            "minimum": MINIMUM,
            "reference": reference
            and {
                "data_version": reference.data_version,
                "split": reference.split,
                "frames": reference.frames,
            },
            "features": features,
        }

    def _feature(self, name: str, values: np.ndarray) -> dict[str, Any]:
        reference = self.reference.features[name] if self.reference else None
        verdict = NO_REFERENCE if reference is None else TOO_FEW
        psi = by_chance = None
        if reference and len(values) >= MINIMUM:
            psi, by_chance = reference.psi(values), reference.psi_by_chance(len(values))
            verdict = _verdict(psi, by_chance)
        return {
            "verdict": verdict,
            "reference_mean": plain_number(reference.mean) if reference else None,
            "window_mean": plain_number(float(values.mean())) if len(values) else None,
            "psi": None if psi is None else plain_number(psi),
            "psi_by_chance": None if by_chance is None else plain_number(by_chance),
            "edges": reference.edges if reference else None,
            "reference_counts": reference.counts if reference else None,
            "window_counts": _counts(values, reference.edges).tolist() if reference else None,
        }


def _verdict(psi: float, by_chance: float) -> str:
    if psi < max(MOVED, by_chance):
        return "stable"
    return "moved" if psi < DRIFTED else "drifted"
