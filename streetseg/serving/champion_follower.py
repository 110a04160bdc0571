"""Keeps the registry's champion loaded, and swaps models between two requests."""

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

from streetseg.config.params import Params
from streetseg.core.errors import NoSuchVersionError, StreetsegError, one_line
from streetseg.core.retry import Backoff
from streetseg.registry.local_copies import LocalCopies
from streetseg.registry.versions import ModelVersion, champion
from streetseg.serving.metrics import metrics
from streetseg.serving.served_model import ServedModel, open_model

logger = logging.getLogger("streetseg.serving")

MAX_PAUSE_S = 300.0
"""Longest pause between two attempts to load a version, or a local copy, that failed to load."""
NO_MODEL_POLL_S = 2.0
"""Longest pause between two polls while there is no model to answer with."""


class _RetryTimer:
    def __init__(self, first_s: float) -> None:
        self._backoff = Backoff(first_s, MAX_PAUSE_S)
        self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due_at

    def postpone(self) -> None:
        self._due_at = time.monotonic() + self._backoff.next()


@dataclass(frozen=True)
class _FailedVersion:
    version: str
    problem: str
    retry: _RetryTimer


class ChampionFollower:
    """Polls the registry and holds the model that answers.

    A new champion is loaded beside the old model, warmed up and checked against its stored example,
    then replaces it. The old model finishes its requests. If the champion cannot be loaded, or the
    registry is unreachable, the current model stays. After a restart without the registry, the
    version that served last is loaded from its local copy.

    Attributes:
        current: the model that answers; None while there is none.
        problem: why ``current`` is not, or may not be, the champion; empty if all is well.
        checked: when the registry answered last; None if never.
    """

    def __init__(self, params: Params, folder: Path = Path()) -> None:
        """Follow ``registry.model_name``, or serve only ``serve.model``, relative to ``folder``."""
        self.current: ServedModel | None = None
        self.problem = "the champion is being loaded"
        self.checked: datetime | None = None
        self._params = params
        self._folder = folder
        self._aliases: list[str] = []
        self._failed: _FailedVersion | None = None
        self._cache_retry = _RetryTimer(params.serve.poll_seconds)
        self._poll_requested, self._stopped = threading.Event(), threading.Event()

    @cached_property
    def _copies(self) -> LocalCopies:
        """Created by the first poll: a pinned model needs no cache."""
        return LocalCopies(Path(self._params.serve.cache), self._params.registry)

    @property
    def version(self) -> str:
        """The version that answers; empty if there is none."""
        return self.current.version if self.current else ""

    def start(self) -> None:
        """Load a model, then keep following the champion in a background thread."""
        if self._params.serve.model:
            self._load_pinned(self._folder / self._params.serve.model)
            return
        # The next poll comes in a few seconds, whereas MLflow's own retries take minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        self.poll()
        threading.Thread(target=self._follow, name="follow-champion", daemon=True).start()

    def poll_now(self) -> None:
        """Poll without waiting for the interval, and retry a version that failed."""
        self._failed = None
        self._poll_requested.set()

    def stop(self) -> None:
        """End the background thread."""
        self._stopped.set()
        self._poll_requested.set()

    def poll(self) -> None:
        """Query the registry once, and swap the model if the champion is another version."""
        problem = ""
        try:
            self._load_champion(self._find_champion())
        except NoSuchVersionError as error:
            problem = f"{error}; the service takes it as soon as there is one"
        except StreetsegError as error:
            problem = str(error)
            if self.current is None:
                self._load_cached()
        except Exception as error:  # the thread must survive
            problem = f"{type(error).__name__}: {one_line(error)}"
            logger.exception("the champion could not be followed")
        if problem and problem != self.problem:
            logger.error(problem)
        self.problem = problem
        metrics().followed.set(0 if problem else 1)

    def status(self) -> dict[str, Any]:
        """The follower's part of ``GET /model``."""
        checked = self.checked.isoformat(timespec="seconds") if self.checked else None
        return {
            "aliases": self._aliases,
            "champion_checked": checked,
            "problem": self.problem or None,
        }

    def _follow(self) -> None:
        while True:
            pause = self._params.serve.poll_seconds * random.uniform(0.8, 1.2)
            self._poll_requested.wait(pause if self.current else min(pause, NO_MODEL_POLL_S))
            self._poll_requested.clear()
            if self._stopped.is_set():
                return
            self.poll()

    def _find_champion(self) -> ModelVersion:
        found = champion(self._params.registry)
        self.checked = datetime.now(UTC)
        return found

    def _load_champion(self, version: ModelVersion) -> None:
        """Swap to the champion unless it answers already or has failed a short while ago."""
        if self.current and self.current.segmenter.artifact == self._copies.folder(version):
            self._aliases = version.aliases
            return
        failed = self._failed  # read once: another thread may reset it
        if failed and failed.version != version.version:
            failed = None
        if failed and not failed.retry.is_due:
            raise StreetsegError(failed.problem)
        try:
            model = self._open_copy(version)
        except Exception as error:
            metrics().swaps.labels("failed").inc()
            reason = one_line(error, 400)
            problem = f"the champion, version {version.version}, cannot be loaded: {reason}"
            if self.current:
                problem += f"; version {self.current.version} goes on"
            retry = failed.retry if failed else _RetryTimer(self._params.serve.poll_seconds)
            retry.postpone()
            self._failed = _FailedVersion(version.version, problem, retry)
            raise StreetsegError(problem) from None
        self._failed = None
        self._aliases = version.aliases
        self._swap(model)
        self._copies.used(model.segmenter.artifact)

    def _load_cached(self) -> None:
        if not self._cache_retry.is_due:
            return
        try:
            for folder in self._copies.latest():
                try:
                    model = open_model(folder, self._params)
                except Exception as error:  # a damaged file may raise anything
                    logger.error("%s cannot be opened: %s", folder, one_line(error))
                    continue
                return self._swap(model)
        except Exception:  # the thread must survive
            logger.exception("the version that served last cannot be loaded")
        self._cache_retry.postpone()

    def _load_pinned(self, folder: Path) -> None:
        try:
            self._swap(open_model(folder, self._params))
            self.problem = ""
            metrics().followed.set(1)
        except Exception as error:  # a damaged file may raise anything
            self.problem = f"serve.model: {folder} cannot be served: {one_line(error, 400)}"
            logger.error(self.problem)

    def _open_copy(self, version: ModelVersion) -> ServedModel:
        """Open the local copy of a version; a damaged one is fetched again."""
        was_cached = self._copies.folder(version).exists()
        folder = self._copies.fetch(version)
        opened = self._copies.identity(version)
        try:
            return open_model(folder, self._params)
        except Exception:
            self._copies.drop(version, opened)
            if not was_cached:
                raise
        return open_model(self._copies.fetch(version), self._params)

    def _swap(self, model: ServedModel) -> None:
        old, self.current = self.current, model
        if old:
            metrics().set_answering(old.info.name, old.version, False)
        metrics().set_answering(model.info.name, model.version, True)
        metrics().swaps.labels("loaded").inc()
        logger.info("version %s answers now; before it: %s", model.version, old and old.version)
