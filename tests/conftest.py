"""Shared fixtures: a tiny synthetic city, the dataset prepared from it, and a trained model."""

from __future__ import annotations

import fcntl
import inspect
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from pathlib import Path

import pytest

from streetseg import cli
from streetseg.config.params import Params, load_params
from streetseg.core.telemetry import disable_telemetry
from streetseg.data.dataset import PreparedDataset

disable_telemetry()

SIZE = (64, 128)
Command = Callable[..., subprocess.CompletedProcess[str]]
LONGEST = (
    "test_pipeline",
    "test_recipes",
    "test_registry_faults",
    "test_page",
    "test_bad_uploads",
    "test_service",
    "test_dvc",
    "test_search",
    "test_validation",
    "test_explore",
    "test_train",
    "test_kubeflow",
    "test_int8",
    "test_versions",
    "test_baseline",
)
"""Files that take a minute or more. They start first, so that both workers end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first."""
    rank = {name: position for position, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(autouse=True, scope="session")
def _dvc_leaves_nothing_outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the folders that DVC makes for each repository out of the user's cache."""
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("dvc-site"))


@pytest.fixture(autouse=True, scope="session")
def _commands_of_this_environment() -> None:
    """Let subprocesses find streetseg, dvc and bentoml where this Python is."""
    tools = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(autouse=True, scope="session")
def _callers_by_name_alone() -> None:
    """Let pipelines compile in a tenth of the time.

    kfp calls ``inspect.stack`` for every setting of a task to find the name of its caller. Under
    pytest that reads the source of about a hundred frames.
    """
    inspect.stack = _stack_without_sources  # type: ignore[assignment]


def _stack_without_sources(context: int = 0) -> list[inspect.FrameInfo]:
    return [
        inspect.FrameInfo(frame, frame.f_code.co_filename, line, frame.f_code.co_name, None, None)
        for frame, line in traceback.walk_stack(sys._getframe(1))
    ]


@pytest.fixture
def streetseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, where the libraries are already imported."""

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        argv = ["streetseg", *map(str, arguments)]
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", argv)
            patch.chdir(cwd or Path.cwd())
            with pytest.raises(SystemExit) as ended:
                cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code or 0
        if isinstance(code, str):  # sys.exit prints it and ends with status 1
            code, err = 1, f"{err}{code}\n"
        return subprocess.CompletedProcess(argv, code, out, err)

    return call


@pytest.fixture(scope="session")
def chromium() -> str:
    """A real browser: skip without it; with ``STREETSEG_REQUIRE_CHROMIUM`` set, fail."""
    if program := shutil.which("chromium"):
        return program
    missing = "Chromium is not installed: apt-get install chromium"
    if "STREETSEG_REQUIRE_CHROMIUM" in os.environ:
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic street scenes in the Cityscapes layout."""
    from streetseg.synth import write_cityscapes

    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cityscapes"
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker draws for all
        if not root.exists():
            write_cityscapes(
                root, frames={"train": 16, "val": 4}, cities=2, size=(128, 256), seed=1, workers=2
            )
    return root


@pytest.fixture(scope="session")
def _migrations_run_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Copy one migrated SQLite store for every new one: MLflow's migrations take seconds."""
    from mlflow.store.db import utils
    from sqlalchemy import Engine

    migrate, migrated = utils._upgrade_db, tmp_path_factory.mktemp("mlflow") / "migrated.db"

    def migrate_or_copy(engine: Engine) -> None:
        path = engine.url.database
        if engine.dialect.name != "sqlite" or not path:
            migrate(engine)
        elif migrated.exists():
            engine.dispose()
            shutil.copyfile(migrated, path)
        else:
            migrate(engine)
            shutil.copyfile(path, migrated)

    utils._upgrade_db = migrate_or_copy


@pytest.fixture(scope="session")
def params(
    cityscapes: Path, _migrations_run_once: None, tmp_path_factory: pytest.TempPathFactory
) -> Params:
    """Settings that train in seconds, with their own registry."""
    root = tmp_path_factory.mktemp("project")
    return load_params(
        overrides={
            "data.root": str(cityscapes),
            "data.prepared": str(root / "prepared"),
            "prepare.size": SIZE,
            "model.architecture": "MiniUnet",
            "model.encoder_weights": "none",
            "train.epochs": 3,
            "train.batch_size": 4,
            "train.learning_rate": 0.003,
            "gate.miou_floor": 0.01,
            "registry.tracking_uri": f"sqlite:///{root / 'mlflow.db'}",
            "serve.cache": str(root / "serving"),
        }
    )


@pytest.fixture(scope="session")
def dataset(params: Params) -> PreparedDataset:
    """The prepared dataset."""
    from streetseg.data.prepare import prepare

    return PreparedDataset(prepare(params))


@dataclass(frozen=True)
class Trained:
    """A model artifact with its evaluation."""

    artifact: Path
    evaluation: Path
    run_id: str


@pytest.fixture(scope="session")
def trained(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """A network trained for three epochs, and scored."""
    from streetseg.evaluation.evaluate import evaluate
    from streetseg.training.train import train

    root = tmp_path_factory.mktemp("trained")
    model = train(params, dataset, root / "model")
    evaluate(model.artifact, dataset, params, root / "evaluation")
    return Trained(model.artifact, root / "evaluation", model.run_id)
