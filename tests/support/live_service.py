"""The real service as a process of its own, with a champion of a registry of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from scripts.servers import running
from streetseg.config.params import Params
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import read_evaluation
from streetseg.registry.promotion import promote
from streetseg.registry.register import register
from tests.conftest import Trained


@dataclass(frozen=True)
class LiveService:
    """A service that answers."""

    url: str
    port: int
    process: psutil.Process
    recipe: Params


def promoted(params: Params, trained: Trained, folder: Path, name: str, **serve: float) -> Params:
    """Register and promote a model, and write the service's ``params.yaml`` to the folder."""
    changed = {f"serve.{key}": value for key, value in serve.items()}
    recipe = params.override(
        {"registry.model_name": name, "serve.cache": str(folder / "cache"), **changed}
    )
    evaluation = read_evaluation(trained.evaluation)
    register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)
    promote(recipe.registry)
    (folder / "params.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    return recipe


@contextmanager
def live_service(
    params: Params, trained: Trained, folder: Path, name: str, **serve: float
) -> Iterator[LiveService]:
    """Register, promote and serve a model; ``serve`` are settings of that section."""
    recipe = promoted(params, trained, folder, name, **serve)
    serving = [sys.executable, "-m", "uvicorn", "--factory", "service:StreetSegmenter.to_asgi"]
    serving += ["--log-level", "warning", "--port", "PORT"]
    environment = service_environment(folder) | {"OMP_NUM_THREADS": "1"}
    with running(serving, "/readyz", folder / "service.log", environment) as server:
        yield LiveService(server.url, server.port, psutil.Process(server.process.pid), recipe)


def service_environment(folder: Path) -> dict[str, str]:
    """Variables for a service whose ``params.yaml`` and BentoML's own files are in a folder."""
    return {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(folder / "bentoml"),
        "STREETSEG_PARAMS": str(folder / "params.yaml"),
    }
