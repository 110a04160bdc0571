"""What is noted of each image: drift, frames that are hard, and figures for Prometheus."""

from __future__ import annotations

from itertools import count
from math import nan

from streetseg.config.params import Serve
from streetseg.inference.segmenter import Segmenter
from streetseg.monitoring.drift import DriftWatch, Reference, feature_names, observe
from streetseg.monitoring.hard_frames import HardFrames
from streetseg.serving.engine import Segmented
from streetseg.serving.metrics import metrics

PSI_EVERY = 50
"""Pictures after which the drift is computed anew for Prometheus."""


class Observer:
    """Watches one model version. Thread-safe."""

    def __init__(self, segmenter: Segmenter, version: str, settings: Serve) -> None:
        """Begin with nothing seen.

        Raises:
            StreetsegError: the model's reference is damaged.
        """
        self._categories = segmenter.labels.names
        reference = Reference.load(segmenter.artifact)
        self.drift = DriftWatch(self._categories, reference, settings.drift_window)
        self._hard_frames = HardFrames(settings, self._categories, version)
        self._count = count(1)
        for name in feature_names(self._categories):  # another version's values hold no longer
            metrics().drift.labels(name).set(nan)

    def see(self, seen: Segmented) -> None:
        """Note what was seen in an image."""
        observation = observe(seen.small, seen.logits)
        self.drift.add(observation)
        self._hard_frames.offer(seen.data, observation)
        metrics().confidence.observe(observation.confidence)
        for category, share in zip(self._categories, observation.shares, strict=True):
            metrics().share.labels(category).observe(float(share))
        if next(self._count) % PSI_EVERY == 0:
            for name, feature in self.drift.state()["features"].items():
                if feature["psi"] is not None:
                    metrics().drift.labels(name).set(feature["psi"])
