"""The model that answers: always the champion, changed between two requests."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.config.params import Params
from streetseg.core.errors import NoSuchVersionError, StreetsegError, one_line
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import check_onnx
from streetseg.registry.local_copies import LocalCopies, read_version_info
from streetseg.registry.versions import CHAMPION, ModelVersion, find
from streetseg.serving.batching import Batcher
from streetseg.serving.engine import threads_of
from streetseg.serving.metrics import metrics
from streetseg.serving.observer import Observer
from streetseg.tracking.store import connect, sqlite_path, store_of

logger = logging.getLogger("streetseg.serving")

MAX_PAUSE_S = 300.0
"""Seconds, at most, between two tries to load a version, or a copy, that could not be loaded."""


@dataclass
class _Pause:
    """Between two tries; twice as long each time, up to ``MAX_PAUSE_S``."""

    seconds: float
    until: float = 0.0
    """On the monotonic clock."""

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def begin(self) -> None:
        self.until = time.monotonic() + min(self.seconds, MAX_PAUSE_S)
        self.seconds *= 2


@dataclass
class _Refusal:
    """A version that could not be loaded, and why."""

    version: str
    words: str
    pause: _Pause


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version that was loaded, warmed and checked."""

    segmenter: Segmenter
    told: dict[str, Any]
    """As ``GET /model`` tells it."""
    batcher: Batcher
    """Gives the logits float32[C, h, w] of an image uint8[h, w, 3] at the network's size."""
    watch: Observer

    @property
    def version(self) -> str:
        """Its number in the registry."""
        return self.told["version"]

    def is_version(self, other: ModelVersion) -> bool:
        """Whether it is that version, of that registry."""
        return (self.version, self.told["run_id"]) == (other.version, other.run_id)


class ChampionFollower:
    """Holds the champion, and looks again and again whether it is still that version.

    A new champion is loaded beside the old one, warmed, compared with its stored example, and then
    takes its place; requests that the old one has begun it also ends. If the new one cannot be
    loaded, or the registry does not answer, the old one stays and ``problem`` says why. After a
    restart without the registry the version that served last is taken from this machine.

    Attributes:
        current: what answers; None as long as there is nothing.
        problem: why ``current`` is not, or may not be, the champion; empty if all is well.
        checked: when the registry was last asked and answered; None if never.
    """

    def __init__(self, params: Params, folder: Path = Path()) -> None:
        """Follow ``registry.model_name``, or hold the model in ``serve.model`` alone.

        Args:
            params: the recipe.
            folder: to which the path ``serve.model`` is relative.
        """
        self.current: ServedModel | None = None
        self.problem = "the champion is being loaded"
        self.checked: datetime | None = None
        self._params = params
        self._folder = folder
        self._aliases: list[str] = []
        self._refusal: _Refusal | None = None
        self._rest = _Pause(params.serve.poll_seconds)
        self._woken, self._ended = threading.Event(), threading.Event()

    @cached_property
    def _copies(self) -> LocalCopies:
        """Made with the first look: a model that is held needs none."""
        return LocalCopies(Path(self._params.serve.cache), self._params.registry)

    def start(self) -> None:
        """Look once, then on in a thread of its own."""
        if self._params.serve.model:
            self._hold(self._folder / self._params.serve.model)
            return
        # A service asks again in a few seconds: MLflow's own patience is minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        self.look()
        threading.Thread(target=self._follow, name="follow-champion", daemon=True).start()

    def wake(self) -> None:
        """Look now: somebody says that the champion moved."""
        self._refusal = None
        self._woken.set()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._woken.set()

    def look(self) -> None:
        """Ask the registry once, and change the model if the champion is another."""
        problem = ""
        try:
            self._take(self._champion())
        except NoSuchVersionError as error:
            problem = f"{error}; the service takes it as soon as there is one"
        except StreetsegError as error:
            problem = str(error)
            if self.current is None:
                self._take_last()
        except Exception as error:  # the thread must live on
            problem = f"{type(error).__name__}: {one_line(error)}"
            logger.exception("the champion could not be followed")
        if problem and problem != self.problem:
            logger.error(problem)
        self.problem = problem
        metrics().followed.set(0 if problem else 1)

    def told(self) -> dict[str, Any]:
        """How following goes, as ``GET /model`` tells it."""
        checked = self.checked.isoformat(timespec="seconds") if self.checked else None
        return {
            "aliases": self._aliases,
            "champion_checked": checked,
            "problem": self.problem or None,
        }

    def _follow(self) -> None:
        while True:
            pause = self._params.serve.poll_seconds * random.uniform(0.8, 1.2)
            self._woken.wait(pause if self.current else min(pause, 2.0))
            self._woken.clear()
            if self._ended.is_set():
                return
            self.look()

    def _champion(self) -> ModelVersion:
        """The version that is champion now."""
        registry = self._params.registry
        if (database := sqlite_path(store_of(registry))) and not database.exists():
            raise StreetsegError(
                f"there is no registry at {database}: run 'make demo', or set MLFLOW_TRACKING_URI"
            )
        champion = find(connect(registry), registry.model_name, CHAMPION)
        self.checked = datetime.now(UTC)
        return champion

    def _take(self, champion: ModelVersion) -> None:
        version = champion.version
        if self.current and self.current.is_version(champion):
            self._aliases = champion.aliases
            return
        refusal = self._refusal  # which another thread may take back
        if refusal and refusal.version != version:
            refusal = None
        if refusal and not refusal.pause.over:
            raise StreetsegError(refusal.words)
        try:
            model = self._open_copy(champion)
        except Exception as error:
            metrics().swaps.labels("failed").inc()
            stays = f"; version {self.current.version} goes on" if self.current else ""
            words = f"the champion, version {version}, cannot be loaded: {one_line(error, 400)}"
            pause = refusal.pause if refusal else _Pause(self._params.serve.poll_seconds)
            pause.begin()
            self._refusal = _Refusal(version, words + stays, pause)
            raise StreetsegError(words + stays) from None
        self._refusal = None
        self._aliases = champion.aliases
        self._answer_with(model)
        self._copies.used(model.segmenter.artifact)

    def _take_last(self) -> None:
        """Answer with the version that served last, if it is on this machine."""
        if not self._rest.over:
            return
        try:
            for folder in self._copies.latest():
                try:
                    model = open_model(folder, self._params)
                except Exception as error:  # whatever a damaged file leads to
                    logger.error("%s cannot be opened: %s", folder, one_line(error))
                    continue
                return self._answer_with(model)
        except Exception:  # the thread must live on
            logger.exception("the version that served last cannot be taken")
        self._rest.begin()

    def _answer_with(self, model: ServedModel) -> None:
        before, self.current = self.current, model
        if before:
            metrics().version.labels(before.told["name"], before.version).set(0)
        metrics().version.labels(model.told["name"], model.version).set(1)
        metrics().swaps.labels("loaded").inc()
        logger.info(
            "version %s answers now; before it: %s", model.version, before and before.version
        )

    def _open_copy(self, version: ModelVersion) -> ServedModel:
        was_here = self._copies.folder(version).exists()
        try:
            return open_model(self._copies.fetch(version), self._params)
        except Exception:
            if not was_here:
                self._copies.drop(version)
                raise
        self._copies.drop(version)  # damaged: the registry's may be whole
        return open_model(self._copies.fetch(version), self._params)

    def _hold(self, folder: Path) -> None:
        try:
            self._answer_with(open_model(folder, self._params))
            self.problem = ""
            metrics().followed.set(1)
        except Exception as error:  # whatever a damaged file leads to
            self.problem = f"serve.model: {folder} cannot be served: {one_line(error, 400)}"
            logger.error(self.problem)


def open_model(folder: Path, params: Params) -> ServedModel:
    """Load a model, check it on its stored example, and run it once in each size of batch.

    Raises:
        StreetsegError: it cannot be loaded, or computes something else than it should.
    """
    settings = params.serve
    segmenter = Segmenter(folder, threads=threads_of(settings))
    check_onnx(folder, segmenter)
    for size in range(2, settings.batch_size + 1):
        segmenter.logits(np.zeros((size, *segmenter.size, 3), np.uint8))
    told = {
        **read_version_info(folder),
        "size": list(segmenter.size),
        "device": segmenter.device,
        "precision": segmenter.precision,
        "serving_since": datetime.now(UTC).isoformat(timespec="seconds"),
        "label_space": segmenter.labels.to_dict(),
    }
    batcher = Batcher(segmenter.logits, settings.batch_size)
    return ServedModel(segmenter, told, batcher, Observer(segmenter, told["version"], settings))
