"""Metrics for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from streetseg import __version__
from streetseg.core.provenance import git_revision

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram, Metric

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class Metrics:
    """All metrics of the service.

    ``prometheus_client`` is imported when they are created: BentoML must first set up the folder
    through which worker processes share their figures.
    """

    def __init__(self) -> None:
        """Register them; possible once in a process."""
        from prometheus_client import Counter, Gauge, Histogram

        def histogram(
            name: str, about: str, *labels: str, buckets: tuple[float, ...] = SECONDS
        ) -> Histogram:
            return Histogram(f"streetseg_{name}", about, labels, buckets=buckets)

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"streetseg_{name}", about, labels)

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"streetseg_{name}", about, labels, multiprocess_mode="livemostrecent")

        self.requests = histogram(
            "request_seconds", "From the first byte of a request to its answer", "route", "status"
        )
        self.errors = counter("errors", "Requests that were answered with an error", "kind")
        self.stage = histogram("stage_seconds", "Work on an image, without waiting", "stage")
        self.queue = histogram("queue_seconds", "Waiting for a thread or the network", "stage")
        self.batch = histogram(
            "batch_pictures", "Pictures the network looked at together", buckets=BATCHES
        )
        self.in_hand = Gauge(
            "streetseg_uploads_in_hand", "Uploads being worked on", multiprocess_mode="livesum"
        )
        self.share = histogram(
            "class_share", "Share of each category in an image", "category", buckets=SHARES
        )
        self.confidence = histogram(
            "confidence", "Mean probability of the chosen category in an image", buckets=SHARES
        )
        self.version = gauge("model_version", "1 for the version that answers", "name", "version")
        self.build = gauge(
            "build_info",
            "1 for the program and the version that answer",
            *("version", "revision", "model", "model_version"),
        )
        self._program = (__version__, git_revision())
        self.swaps = counter("swaps", "Changes of the model, and those that failed", "outcome")
        self.followed = gauge("registry_followed", "1 if the champion is known to answer, else 0")
        self.drift = gauge("drift_psi", "Population stability index of a feature", "feature")

    def set_answering(self, name: str, version: str, answers: bool) -> None:
        """Record whether a version of a model answers."""
        self.version.labels(name, version).set(answers)
        self.build.labels(*self._program, name, version).set(answers)


class WorkerProcesses:
    """A collector of CPU time, memory and open files of each worker, by the label ``pid``."""

    def collect(self) -> Iterable[Metric]:
        """The ``process_*`` metrics of ``prometheus_client``; those that ended have none."""
        from prometheus_client import Metric, ProcessCollector

        folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        families: dict[str, Metric] = {}
        for pid in sorted({path.stem.split("_")[-1] for path in folder.glob("gauge_live*.db")}):
            for one in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                family = families.setdefault(
                    one.name, Metric(one.name, one.documentation, one.type)
                )
                for sample in one.samples:
                    family.add_sample(sample.name, {"pid": pid}, sample.value)
        return families.values()


@cache
def metrics() -> Metrics:
    """The metrics of this process."""
    return Metrics()


def exposition() -> tuple[bytes, str]:
    """The figures of all worker processes in Prometheus' text format, and its media type."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        registry.register(WorkerProcesses())
    return generate_latest(registry), CONTENT_TYPE_LATEST
