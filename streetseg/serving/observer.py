"""Records answered images: drift, hard frames, and figures for Prometheus."""

from __future__ import annotations

from itertools import count
from math import nan

from streetseg.config.params import Serve
from streetseg.inference.segmenter import Segmenter
from streetseg.monitoring.drift import DriftWatch, Reference, feature_names, observe
from streetseg.monitoring.hard_frames import HardFrames
from streetseg.serving.metrics import metrics
from streetseg.serving.segmented import Segmented

PSI_EVERY = 50
"""Images between two updates of the drift gauges."""


class Observer:
    """Observes the answers of one model version. Thread-safe."""

    def __init__(self, segmenter: Segmenter, version: str, settings: Serve) -> None:
        """Start an empty drift window; StreetsegError if the model's drift reference is damaged."""
        self._categories = segmenter.labels.names
        reference = Reference.load(segmenter.artifact)
        self.drift = DriftWatch(self._categories, reference, settings.drift_window)
        self._hard_frames = HardFrames(settings, self._categories, version)
        self._count = count(1)
        for name in feature_names(self._categories):  # the previous version's values are outdated
            metrics().drift.labels(name).set(nan)

    def observe(self, segmented: Segmented) -> None:
        """Record one image and the network's answer to it."""
        observation = observe(*segmented.shown)
        self.drift.add(observation)
        self._hard_frames.offer(segmented.upload, observation)
        metrics().confidence.observe(observation.confidence)
        for category, share in zip(self._categories, observation.shares, strict=True):
            metrics().share.labels(category).observe(float(share))
        if next(self._count) % PSI_EVERY == 0:
            for name, feature in self.drift.state()["features"].items():
                if feature["psi"] is not None:
                    metrics().drift.labels(name).set(feature["psi"])
