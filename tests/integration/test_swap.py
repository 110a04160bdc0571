"""The champion changes, the registry dies, a worker dies: no client should notice."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import yaml
from mlflow import MlflowClient

from scripts.servers import running
from streetseg.config.params import Params
from streetseg.images.decode import decode_ids
from streetseg.images.encode import encode_png
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.versions import CHAMPION
from tests.conftest import Trained
from tests.support.live_service import service_environment
from tests.support.mlflow_server import KillableServer
from tests.support.serving_registry import registered, rolled

pytestmark = pytest.mark.slow

CLIENTS, WORKERS, PATIENCE = 3, 2, 120.0
RGB = np.random.default_rng(0).integers(0, 255, (80, 150, 3), np.uint8)


@dataclass
class Load:
    """Clients that ask one after another, and check each answer against its version's mask."""

    url: str
    masks: dict[str, np.ndarray]
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        image = encode_png(RGB)
        while not self.stop.is_set():
            try:
                # Each request on a connection of its own, as many clients are.
                answer = httpx.post(f"{self.url}/segment", files={"image": image}, timeout=60)
            except httpx.TransportError as error:
                self.lost.append(repr(error))
                continue
            version = answer.headers.get("X-Model-Version", "")
            if answer.status_code != 200:
                self.wrong.append(f"{answer.status_code} {answer.text}")
            elif not np.array_equal(decode_ids(answer.content), self.masks[version]):
                self.wrong.append(f"another mask than that of version {version}")
            self.answers[version] += 1

    def until_all_are_of(self, version: str) -> None:
        """Until ten answers in a row are of a version: each worker has changed."""
        last = Counter(self.answers)

        def ten() -> bool:
            nonlocal last
            since = self.answers - last
            if set(since) - {version}:
                last = Counter(self.answers)
            return since[version] >= 10

        until(ten)

    def until_more(self, count: int) -> None:
        """Until so many more answers have come."""
        goal = self.answers.total() + count
        until(lambda: self.answers.total() >= goal)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableServer]:
    server = KillableServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    server.wait()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def models(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"1": trained.artifact, "2": rolled(trained.artifact, folder / "rolled")}


@pytest.fixture(scope="module")
def registry(params: Params, mlflow: KillableServer, models: dict[str, Path]) -> MlflowClient:
    recipe = params.override(
        {"registry.tracking_uri": mlflow.url, "registry.model_name": "swapped"}
    )
    return registered(recipe, models)


@pytest.fixture(scope="module")
def service(
    params: Params,
    mlflow: KillableServer,
    registry: MlflowClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, psutil.Process]]:
    """A real server with two workers: its address and its process."""
    folder = tmp_path_factory.mktemp("service")
    recipe = params.override(
        {
            "registry.tracking_uri": mlflow.url,
            "registry.model_name": "swapped",
            "serve.cache": str(folder / "cache"),
            "serve.workers": WORKERS,
            "serve.poll_seconds": 0.5,
        }
    )
    (folder / "params.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    command = [sys.executable, "-m", "bentoml", "serve", "service:StreetSegmenter"]
    command += ["--host", "127.0.0.1", "--port", "PORT"]
    log, environment = folder / "service.log", service_environment(folder)
    with running(command, "/readyz", log, environment) as server:
        yield server.url, psutil.Process(server.process.pid)


def workers(server: psutil.Process) -> list[psutil.Process]:
    """The processes that answer."""

    def answers(process: psutil.Process) -> bool:
        try:
            return "_bentoml_impl.worker.service" in process.cmdline()
        except psutil.Error:  # it has just ended
            return False

    return [each for each in server.children(recursive=True) if answers(each)]


@pytest.fixture
def load(service: tuple[str, psutil.Process], models: dict[str, Path]) -> Iterator[Load]:
    masks = {version: Segmenter(artifact).predict(RGB) for version, artifact in models.items()}
    asking = Load(service[0], masks)
    threads = [threading.Thread(target=asking.ask, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    yield asking
    asking.stop.set()
    for thread in threads:
        thread.join(60)


def test_the_champion_changes_under_load_and_no_request_fails(
    load: Load, registry: MlflowClient
) -> None:
    load.until_all_are_of("1")
    for version in ("2", "1", "2"):
        registry.set_registered_model_alias("swapped", CHAMPION, version)
        load.until_all_are_of(version)
    assert (load.wrong, load.lost) == ([], [])
    assert set(load.answers) == {"1", "2"}


def test_metrics_are_exported(service: tuple[str, psutil.Process]) -> None:
    metrics = httpx.get(f"{service[0]}/metrics", timeout=60).text
    for line in (
        'streetseg_model_version{name="swapped",version="2"} 1.0',
        'streetseg_stage_seconds_count{stage="network"}',
        'streetseg_request_seconds_count{route="/segment",status="200"}',
        'streetseg_class_share_count{category="vehicle"}',
        'streetseg_swaps_total{outcome="loaded"} 8.0',  # 4 in each worker
        "streetseg_registry_followed 1.0",
        "streetseg_uploads_in_hand 0.0",
    ):
        assert line in metrics, metrics


def test_a_worker_that_is_killed_takes_only_its_own_requests_with_it(
    load: Load, service: tuple[str, psutil.Process]
) -> None:
    load.until_more(10)
    until(lambda: len(workers(service[1])) == WORKERS)
    killed = workers(service[1])[0]
    killed.kill()
    load.until_more(10)
    until(lambda: len(workers(service[1])) == WORKERS)
    load.until_more(10)
    assert load.wrong == []
    assert len(load.lost) <= CLIENTS


def test_without_the_registry_the_service_keeps_answering(
    load: Load, mlflow: KillableServer, service: tuple[str, psutil.Process]
) -> None:
    mlflow.kill()
    until(lambda: httpx.get(f"{service[0]}/model").json()["problem"] is not None)
    load.until_more(20)
    assert (load.wrong, load.lost) == ([], [])
    assert httpx.get(f"{service[0]}/readyz").is_success
