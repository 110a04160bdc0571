"""The real service as a process of its own, with a champion of a registry of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import yaml

from streetseg.config import Params
from streetseg.gate import judge
from streetseg.promotion import promote
from streetseg.provenance import REPOSITORY
from streetseg.registration import register
from tests.conftest import Trained
from tests.ports import free_port

START_S = 120.0


@dataclass(frozen=True)
class LiveService:
    """A service that answers."""

    url: str
    port: int
    process: psutil.Process
    recipe: Params


def promoted(params: Params, trained: Trained, folder: Path, name: str, **serve: float) -> Params:
    """Register a model and promote it; what a service reads is ``params.yaml`` in the folder."""
    changed = {f"serve.{key}": value for key, value in serve.items()}
    recipe = params.override(
        {"registry.model_name": name, "serve.cache": str(folder / "cache"), **changed}
    )
    evaluation = json.loads((trained.evaluation / "evaluation.json").read_text())
    register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)
    promote(recipe.registry)
    (folder / "params.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    return recipe


@contextmanager
def live_service(
    params: Params, trained: Trained, folder: Path, name: str, **serve: float
) -> Iterator[LiveService]:
    """Register a model, promote it and serve it, with ``serve`` as the params of that name."""
    recipe = promoted(params, trained, folder, name, **serve)
    serving = [sys.executable, "-m", "uvicorn", "--factory", "service:StreetSegmenter.to_asgi"]
    environment = {"STREETSEG_PARAMS": str(folder / "params.yaml"), "OMP_NUM_THREADS": "1"}
    with running([*serving, "--log-level", "warning"], folder, environment) as (port, process):
        yield LiveService(f"http://127.0.0.1:{port}", port, process, recipe)


@contextmanager
def running(
    command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[tuple[int, psutil.Process]]:
    """A server started from the repository, once it is ready: its port and its process."""
    port = free_port()
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
    with (
        (folder / "service.log").open("wb") as log,
        subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=REPOSITORY,
            env=os.environ | quiet | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as server,
    ):
        try:
            _wait(server, f"http://127.0.0.1:{port}", folder / "service.log")
            yield port, psutil.Process(server.pid)
        finally:
            server.terminate()


def _wait(server: subprocess.Popen, url: str, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"no answer in {START_S:g} s: {log.read_text()}")
