"""Drift: whether the images that are served look like those that the model was scored on.

Each image gives an :class:`Observation`: how much of each category is predicted, how bright and
sharp it is, and how sure the network is. The evaluation sums up those of its frames as a
:class:`Reference`, and registering stores that with the version. The service holds a rolling window
of its own observations against it, by the population stability index (PSI). With p the fraction of
the reference in a bin and q that of the window, PSI = sum over the bins of (q - p) ln(q / p).

Sources: Siddiqi, Credit Risk Scorecards, Wiley 2006 (the index, and its thresholds 0.1 and 0.25).
Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk
Model Validation, 2020: of two samples of n and m from one distribution, in B bins,
PSI / (1/n + 1/m) follows chi-square with B - 1 degrees of freedom. So chance alone gives
(B - 1) (1/n + 1/m) on average: 0.1 at n = 500, m = 100 and 10 bins, where simulation finds 0.10 as
well, and more than 0.1 in 45 % of all windows. The thresholds alone would cry wolf; here nothing
counts as moved that chance explains.
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
from streetseg.data.frames import brightness, sharpness
from streetseg.inference.artifact import REFERENCE
from streetseg.metrics.confusion import plain_number

STEP = 4
"""Of the network's answer every so many rows and columns are looked at."""
MAX_BINS, FRAMES_PER_BIN = 10, 10
MINIMUM = 200
"""Observations below which there is no verdict: at 200, held against 500 frames, what chance
explains (0.195) is below ``DRIFTED``; at 100 (0.335) it is not."""
MOVED, DRIFTED = 0.1, 0.25
CHANCE = 0.001
"""Probability that a feature which has not changed is above what chance is said to explain."""

NO_REFERENCE, TOO_FEW = "no reference", "too few"
VERDICTS = (NO_REFERENCE, TOO_FEW, "stable", "moved", "drifted")
"""From the mildest to the worst."""


@dataclass(frozen=True)
class Observation:
    """What is watched of one image."""

    shares: np.ndarray
    """Of each category in the prediction: float64[C], 0 to 1."""
    brightness: float
    """Mean grey value, 0 to 255."""
    sharpness: float
    """Variance of the Laplacian, in squared grey values."""
    confidence: float
    """Mean of the largest probability of each pixel, 1 / C to 1."""


def observe(rgb: np.ndarray, logits: np.ndarray) -> Observation:
    """What is watched of an image, the same for the reference and for what is served.

    Brightness and sharpness are those of the prepared index. Shares and confidence are of the
    pixels on a grid of ``STEP``.

    Args:
        rgb: uint8[height, width, 3], the image at the network's size.
        logits: float32[C, height, width], the network's answer.
    """
    seen = np.ascontiguousarray(logits[:, STEP // 2 :: STEP, STEP // 2 :: STEP])
    largest = 1 / np.exp(seen - seen.max(axis=0)).sum(axis=0)
    pixels = np.bincount(seen.argmax(axis=0).ravel(), minlength=len(seen))
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return Observation(
        shares=pixels / largest.size,
        brightness=brightness(gray),
        sharpness=sharpness(gray),
        confidence=float(largest.mean()),
    )


@dataclass(frozen=True)
class Distribution:
    """Values of a feature, in bins that each hold about as many of them."""

    mean: float
    edges: list[float]
    """Rising. The first bin is up to the first edge, the last above the last; an edge belongs to
    the bin below it. So a value that is frequent, such as the share 0 of a category that most
    frames lack, has a bin of its own, and there are fewer bins."""
    counts: list[int]
    """Frames in each bin, one more than there are edges."""

    @classmethod
    def of(cls, values: np.ndarray) -> Distribution:
        """The distribution of float[frames], in ten bins, or fewer of ten frames each."""
        bins = int(np.clip(len(values) // FRAMES_PER_BIN, 2, MAX_BINS))
        edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])).tolist()
        return cls(float(values.mean()), edges, _counts(values, edges).tolist())

    def psi(self, values: np.ndarray) -> float:
        """Population stability index of float[n]; half a frame more in each bin, so that none is
        empty.
        """
        p, q = (
            (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
            for counts in (np.array(self.counts), _counts(values, self.edges))
        )
        return float(((q - p) * np.log(q / p)).sum())

    def psi_by_chance(self, observations: int) -> float:
        """What so many observations exceed in one of a thousand cases though nothing changed."""
        from scipy.special import chdtri

        sampling = 1 / sum(self.counts) + 1 / observations
        return float(chdtri(len(self.edges), CHANCE)) * sampling


def _counts(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)


@dataclass(frozen=True)
class Reference:
    """How each feature is distributed over the frames that the model was evaluated on.

    These are frames that it has not trained on (the split ``val``): on those it has, it is
    surer than it will be in service, so that each window would seem to have drifted. They are
    predictions, not the truth: what the service can compare with. The evaluation runs the network
    over them in any case, so that the reference is of all of them and costs nothing more.
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
        """Sum up the observations of a split; there must be one at least."""
        columns = np.stack([_row(each) for each in observations]).T
        names = feature_names(categories)
        distributions = (Distribution.of(column) for column in columns)
        features = dict(zip(names, distributions, strict=True))
        return cls(data_version, split, len(observations), features)

    @classmethod
    def load(cls, artifact: Path) -> Reference | None:
        """The reference of a model artifact; None if it has none.

        Raises:
            StreetsegError: its file is damaged.
        """
        path = Path(artifact) / REFERENCE
        try:
            return cls.from_dict(json.loads(path.read_text())) if path.exists() else None
        except (OSError, ValueError, TypeError, KeyError):
            raise StreetsegError(
                f"cannot read {path}: without it drift is not watched; register the model again"
            ) from None

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Reference:
        """From what :meth:`to_dict` gave."""
        features = {name: Distribution(**each) for name, each in plain["features"].items()}
        return cls(**plain | {"features": features})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def feature_names(categories: Sequence[str]) -> list[str]:
    """Names of what is watched, in the order of the columns."""
    return [*(f"share_{name}" for name in categories), "brightness", "sharpness", "confidence"]


def _row(observation: Observation) -> np.ndarray:
    """float64[features]."""
    rest = (observation.brightness, observation.sharpness, observation.confidence)
    return np.append(observation.shares, rest)


class DriftWatch:
    """The last observations of one model version, held against its reference. Thread-safe."""

    def __init__(self, categories: Sequence[str], reference: Reference | None, window: int) -> None:
        """Watch a model that tells ``categories`` apart.

        Args:
            categories: their names, in the order of the shares.
            reference: None for a model that has none: it is watched, and nothing is concluded.
            window: how many observations are remembered, at least ``MINIMUM`` for a verdict.
        """
        self.reference = reference
        self._names = feature_names(categories)
        self._values = np.zeros((window, len(self._names)))
        self._seen = 0
        self._lock = threading.Lock()

    def add(self, observation: Observation) -> None:
        """Remember an observation; it takes the place of the oldest once the window is full."""
        row = _row(observation)
        with self._lock:
            self._values[self._seen % len(self._values)] = row
            self._seen += 1

    def state(self) -> dict[str, Any]:
        """How it stands, in plain data for JSON.

        Returns:
            ``verdict``, the worst of all features; ``seen`` since the start; ``window``, of which
            so many are remembered, and ``window_size``, at most; ``minimum`` for a verdict;
            ``reference``, what it is of, or None; and of each of ``features`` its ``verdict``,
            ``reference_mean`` and ``window_mean``, ``psi``, ``psi_by_chance``, and the bins:
            ``edges``, ``reference_counts``, ``window_counts``. What does not exist is None.
            A PSI of too few observations is not told, as it would only mislead.
        """
        with self._lock:
            seen, values = self._seen, self._values[: self._seen].copy()
        features = {
            name: self._feature(name, column)
            for name, column in zip(self._names, values.T, strict=True)
        }
        reference = self.reference
        return {
            "verdict": max((each["verdict"] for each in features.values()), key=VERDICTS.index),
            "seen": seen,
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
        usual = self.reference.features[name] if self.reference else None
        verdict = NO_REFERENCE if usual is None else TOO_FEW
        psi = by_chance = None
        if usual and len(values) >= MINIMUM:
            psi, by_chance = usual.psi(values), usual.psi_by_chance(len(values))
            verdict = _verdict(psi, by_chance)
        return {
            "verdict": verdict,
            "reference_mean": plain_number(usual.mean) if usual else None,
            "window_mean": plain_number(float(values.mean())) if len(values) else None,
            "psi": None if psi is None else plain_number(psi),
            "psi_by_chance": None if by_chance is None else plain_number(by_chance),
            "edges": usual.edges if usual else None,
            "reference_counts": usual.counts if usual else None,
            "window_counts": _counts(values, usual.edges).tolist() if usual else None,
        }


def _verdict(psi: float, by_chance: float) -> str:
    if psi < max(MOVED, by_chance):
        return "stable"
    return "moved" if psi < DRIFTED else "drifted"
