"""A Kubeflow Pipelines endpoint, and commands as a user of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from components.runs import reader
from pipelines.cli import kubeflow as commands
from pipelines.cli.training import main
from pipelines.scheduled import scheduled_pipeline
from pipelines.training import training_pipeline
from tests.support.kfp_api import NAMESPACE, TOKEN, FakeKubeflow

DATA = f"{'1' * 32}.dir"


@dataclass(frozen=True)
class Called:
    """A command that has ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def kubeflow() -> Iterator[FakeKubeflow]:
    server = FakeKubeflow()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, without settings of kfp or the user."""
    for name in list(os.environ):
        if name.startswith(("KFP_", "KF_", "KUBERNETES_", "SSL_CERT")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def call(
    kubeflow: FakeKubeflow,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Called]:
    """Run a command as a user of the endpoint."""
    monkeypatch.setenv("KFP_ENDPOINT", kubeflow.url)
    monkeypatch.setenv("KFP_NAMESPACE", NAMESPACE)
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.setattr(reader, "POLL_S", 0.001)
    monkeypatch.setattr(commands, "IMAGE", "registry.example/streetseg-train:0.2.0")

    def run(*arguments: str) -> Called:
        monkeypatch.setattr(sys, "argv", ["training", *arguments])
        capsys.readouterr()
        status: Any = 0
        try:
            main(training_pipeline, partial(scheduled_pipeline, training_pipeline))
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        if isinstance(status, str):  # as the interpreter does with a message
            return Called(1, printed.out, f"{printed.err}{status}\n")
        return Called(int(status or 0), printed.out, printed.err)

    return run


@pytest.fixture
def submitted(kubeflow: FakeKubeflow, call: Callable[..., Called]) -> str:
    """The id of a run."""
    assert call("submit", "--data-version", DATA).status == 0
    return next(iter(kubeflow.runs))
