"""A search by several processes on one database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from kfp.dsl import HTML, Metrics
from optuna.trial import FrozenTrial, TrialState

from components.plan_search import plan_search
from components.report_search import report_search
from streetseg.config.overrides import parse_overrides, split_overrides
from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.tuning import shared
from tests.support.mlflow_server import postgres

SPACE = {
    "train.learning_rate": {"low": 1e-6, "high": 0.01, "log": True},
    "train.weight_decay": {"low": 1e-6, "high": 0.1, "log": True},
}
WORKER = """
import os, sys
from kfp.dsl import Dataset
from components.search import search
from streetseg.tuning import shared
shared.HEARTBEAT_S, shared.GRACE_S, shared.POLL_S = 1, int(sys.argv[3]), 0.2
if sys.argv[2] == "lost":
    shared.report_and_prune = lambda trial: lambda *epoch: os.kill(os.getpid(), 9)
print(search.python_func(Dataset(uri=sys.argv[1]), "s"))
"""
NEVER_S = "3600"


@pytest.fixture
def recipe(params: Params) -> Params:
    return params.override({"train.epochs": 1, "tune.trials": 4, "tune.space": SPACE})


def worker(
    dataset: PreparedDataset, role: str = "", grace_s: str = NEVER_S
) -> subprocess.Popen[str]:
    """A pod that searches; one in the role ``lost`` is killed in its first trial."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(dataset.path), role, grace_s],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def plan(recipe: Params, dataset: PreparedDataset, study: str = "s", workers: int = 2) -> list:
    settings = recipe.to_dict()
    return plan_search.python_func(settings, dataset.version, study, "the-run", workers)


def trials() -> list[FrozenTrial]:
    return optuna.load_study(study_name="s", storage=os.environ[shared.STORAGE]).trials


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_workers_do_every_trial_once(
    kind: str,
    recipe: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/studies.db"
        if kind == "postgres":
            url = stack.enter_context(postgres(tmp_path / "log"))
        monkeypatch.setenv(shared.STORAGE, url)
        studies = plan(recipe, dataset)
        assert studies == ["s", "s"]
        both = [worker(dataset), worker(dataset)]
        ended = [process.communicate() for process in both]
        assert [process.returncode for process in both] == [0, 0], ended
        counts = [int(out.splitlines()[-1]) for out, _ in ended]
        assert sum(counts) == 4
        scored = [each for each in trials() if each.state != TrialState.FAIL]
        assert len(scored) == 4
        assert len({each.params["train.learning_rate"] for each in scored}) == 4
        assert scored[0].params["train.learning_rate"] == recipe.train.learning_rate

        page, metrics = HTML(uri=str(tmp_path / "page")), Metrics(uri=str(tmp_path / "metrics"))
        best = report_search.python_func(studies, counts, page, metrics)
        complete = [each for each in scored if each.state == TrialState.COMPLETE]
        highest = max(complete, key=lambda each: each.value or 0)
        assert parse_overrides(split_overrides(best)) == pytest.approx(highest.params)
        assert metrics.metadata["IoU mean of the holdout"] == highest.value
        assert "<h2>Trials</h2>" in Path(page.path).read_text()


@pytest.mark.slow
def test_a_lost_pod_is_a_lost_trial(
    recipe: Params, dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(shared.STORAGE, f"sqlite:///{tmp_path}/studies.db")
    recipe = recipe.override({"tune.trials": 2})
    plan(recipe, dataset)
    lost = worker(dataset, "lost")
    lost.communicate()
    assert lost.returncode == -signal.SIGKILL
    assert [each.state for each in trials()] == [TrialState.RUNNING]
    other = worker(dataset, grace_s="2")
    out, err = other.communicate()
    assert other.returncode == 0, err
    assert out.splitlines()[-1] == "2"
    first, *others = trials()
    assert first.state == TrialState.FAIL
    assert len(others) == 2
    assert TrialState.FAIL not in {each.state for each in others}


def test_a_search_needs_its_database(
    recipe: Params, dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(shared.STORAGE, raising=False)
    with pytest.raises(SystemExit, match="error: OPTUNA_STORAGE is not set: put the address"):
        plan(recipe, dataset)
    monkeypatch.setenv(shared.STORAGE, "mysql://me:secret@127.0.0.1/studies")
    with pytest.raises(SystemExit, match="error: no driver for the database") as ended:
        plan(recipe, dataset)
    assert "secret@" not in str(ended.value)
    monkeypatch.setenv(shared.STORAGE, "postgresql+psycopg://me:hidden@127.0.0.1:9/studies")
    with pytest.raises(SystemExit, match="error: the database of OPTUNA_STORAGE fails") as ended:
        plan(recipe, dataset)
    assert "hidden" not in str(ended.value)
    monkeypatch.setenv(shared.STORAGE, "no address")
    with pytest.raises(SystemExit, match="error: the database of OPTUNA_STORAGE fails"):
        plan(recipe, dataset)


def test_a_study_is_that_of_one_search(
    recipe: Params, dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(shared.STORAGE, f"sqlite:///{tmp_path}/studies.db")
    assert plan(recipe, dataset, "", 3) == ["the-run"] * 3
    assert plan(recipe.override({"tune.trials": 9}), dataset, "the-run", 1) == ["the-run"]
    other = recipe.override({"train.epochs": 2})
    with pytest.raises(SystemExit, match="the study 'the-run' holds a search with other settings"):
        plan(other, dataset, "the-run")
    with pytest.raises(SystemExit, match="workers=0: at least 1 is needed"):
        plan(recipe, dataset, "s", 0)
    page, metrics = HTML(uri=str(tmp_path / "page")), Metrics(uri=str(tmp_path / "metrics"))
    with pytest.raises(SystemExit, match="has no study 'none': all pods need the same database"):
        report_search.python_func(["none"], [1], page, metrics)
    with pytest.raises(SystemExit, match="the study 'the-run' has no complete trial"):
        report_search.python_func(["the-run"], [0], page, metrics)
