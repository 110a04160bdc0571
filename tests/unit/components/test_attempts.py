"""A step that is run again goes on where its last attempt was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from kfp.dsl import HTML, Dataset, Metrics, Model

from components.attempts import CHECKPOINTS, WORKFLOW, shared_place
from components.segment import segment
from components.train import train
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config, weights_sha256
from streetseg.tracking.store import connect
from streetseg.training.checkpoint import Checkpoint
from streetseg.training.distributed import ALONE
from streetseg.training.initial_state import initial_state
from streetseg.training.losses import segmentation_loss
from streetseg.training.train import TrainedModel
from streetseg.training.train import train as train_model
from tests.support.s3_server import s3_server

Attempt = Callable[[str], Path]


@pytest.fixture(scope="module")
def recipe(params: Params) -> Params:
    return params.override({"train.epochs": 4, "train.checkpoint_minutes": 0, "train.ema": 0.5})


@pytest.fixture(scope="module")
def undisturbed(
    recipe: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    return train_model(recipe, dataset, tmp_path_factory.mktemp("undisturbed") / "model")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server("checkpoints"):
        yield "s3://checkpoints"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``cluster.checkpoints`` leads to: a mounted claim, or with "bucket" a bucket."""
    kind = getattr(request, "param", "claim")
    root = request.getfixturevalue("bucket") if kind == "bucket" else tmp_path
    monkeypatch.setenv(WORKFLOW, "street-segmentation-training-abcde")
    monkeypatch.setenv(CHECKPOINTS, f"{root}/{tmp_path.name}")
    return f"{root}/{tmp_path.name}"


@pytest.fixture
def attempt(recipe: Params, dataset: PreparedDataset, tmp_path: Path) -> Attempt:
    """Run the component as one attempt of the step; each has a new pod, so new paths."""

    def run(name: str) -> Path:
        model = Model(uri=str(tmp_path / name / "model"))
        metrics = Metrics(uri=str(tmp_path / name / "metrics"))
        (tmp_path / name).mkdir()
        prepared = Dataset(uri=str(dataset.path))
        train.python_func(prepared, settings_of(recipe), model, metrics)
        assert metrics.metadata["best epoch"] == read_config(Path(model.path))["epoch"]
        return Path(model.path)

    return run


def settings_of(recipe: Params) -> dict:
    tree = recipe.to_dict()
    return {name: tree[name] for name in ("model", "train", "registry")}


def runs_of(recipe: Params) -> list[str]:
    client = connect(recipe.registry)
    experiment = client.get_experiment_by_name(recipe.registry.experiment)
    assert experiment
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id])]


def fail_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the process as if its pod were deleted, in a step counted from now."""
    steps = iter(range(1, step))

    def loss(*arguments: object, **of_held_out: object) -> object:
        if of_held_out:
            return segmentation_loss(*arguments, **of_held_out)
        if next(steps, None) is None:
            raise KeyboardInterrupt("the pod is gone")
        return segmentation_loss(*arguments)

    monkeypatch.setattr("streetseg.training.train.segmentation_loss", loss)


@pytest.mark.parametrize(
    ("place", "step"), [("claim", 1), ("claim", 7), ("bucket", 7)], indirect=["place"]
)
def test_a_training_goes_on_in_the_same_run_to_the_same_weights(
    attempt: Attempt,
    place: str,
    recipe: Params,
    undisturbed: TrainedModel,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    before = runs_of(recipe)
    fail_at(monkeypatch, step)
    with pytest.raises(KeyboardInterrupt, match="the pod is gone"):
        attempt("first")
    monkeypatch.setattr("streetseg.training.train.segmentation_loss", segmentation_loss)
    model = attempt("second")
    assert weights_sha256(model) == weights_sha256(undisturbed.artifact)
    (run,) = set(runs_of(recipe)) - set(before)
    assert read_config(model)["run_id"] == run

    fail_at(monkeypatch, 1)  # whatever trains now fails
    again = attempt("third, after the server was away when the second had ended")
    assert weights_sha256(again) == weights_sha256(undisturbed.artifact)
    assert read_config(again)["run_id"] == run
    assert connect(recipe.registry).get_run(run).info.status == "FINISHED"
    assert len(runs_of(recipe)) == len(before) + 1


@pytest.mark.slow
def test_a_killed_pod_costs_no_more_than_since_the_last_checkpoint(
    attempt: Attempt,
    recipe: Params,
    dataset: PreparedDataset,
    undisturbed: TrainedModel,
    place: str,
    tmp_path: Path,
) -> None:
    before = runs_of(recipe)
    program = (
        "import json, sys\n"
        "from kfp.dsl import Dataset, Metrics, Model\n"
        "from components.train import train\n"
        "data, settings, out = sys.argv[1:]\n"
        "model, metrics = Model(uri=f'{out}/model'), Metrics(uri=f'{out}/metrics')\n"
        "train.python_func(Dataset(uri=data), json.loads(settings), model, metrics)\n"
    )
    out = tmp_path / "killed"
    out.mkdir()
    arguments = [str(dataset.path), json.dumps(settings_of(recipe)), str(out)]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    versions: set[int] = set()  # of the checkpoint: one before the first step, one after each
    while process.poll() is None and len(versions) < 4:
        versions |= {path.stat().st_ino for path in tmp_path.rglob("training.checkpoint")}
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert weights_sha256(attempt("second")) == weights_sha256(undisturbed.artifact)
    assert len(runs_of(recipe)) == len(before) + 1


@pytest.mark.parametrize("place", ["bucket"], indirect=True)
def test_a_bucket_that_is_away_does_not_end_a_training(
    place: str,
    params: Params,
    dataset: PreparedDataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = Checkpoint(f"{place}/training.checkpoint", params, dataset)
    state = initial_state(params, dataset, 4, torch.device("cpu"), ALONE)
    state.step = 1
    checkpoint.save(state)

    def away(*_: object) -> None:
        raise StreetsegError("cannot write: connection refused")

    with monkeypatch.context() as outage:
        outage.setattr(Storage, "write", away)
        state.step = 2
        checkpoint.save(state)
    assert "warning: no checkpoint this time, the previous one is kept: cannot write" in (
        capsys.readouterr().out
    )
    stored = checkpoint.load()
    assert stored
    assert stored["step"] == 1
    other = Checkpoint(f"{place}/training.checkpoint", params.override({"train.seed": 9}), dataset)
    assert other.load() is None
    assert checkpoint.load() is None
    assert f"it is now {place}/training.checkpoint.old" in capsys.readouterr().err


def test_a_batch_without_a_destination_goes_on(
    trained: TrainedModel, cityscapes: Path, place: str, tmp_path: Path
) -> None:
    source = sorted(path for path in cityscapes.rglob("*_leftImg8bit.png") if "val" in str(path))[0]
    model = Model(uri=str(trained.artifact), metadata={"registered": "models:/m/1"})

    def run(name: str) -> tuple[Dataset, Metrics]:
        (tmp_path / name).mkdir()
        masks = Dataset(uri=str(tmp_path / name / "masks"))
        metrics = Metrics(uri=str(tmp_path / name / "metrics"))
        page = HTML(uri=str(tmp_path / name / "page.html"))
        segment.python_func(model, str(source.parent), "", {}, masks, page, metrics)
        return masks, metrics

    masks, metrics = run("first")
    names = sorted(path.name for path in Path(masks.path).iterdir())
    assert f"{source.name}_mask.png" in names
    assert {"summary.csv", "summary.json"} <= set(names)
    assert "images per second" in metrics.metadata
    assert masks.metadata["destination"] == masks.path
    again, metrics = run("second")
    assert sorted(path.name for path in Path(again.path).iterdir()) == names
    assert "images per second" not in metrics.metadata, "nothing was left to do"


def test_steps_that_share_no_place_start_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHECKPOINTS, raising=False)
    assert shared_place("train", {}) is None
    monkeypatch.setenv(CHECKPOINTS, "s3://bucket/prefix/")
    monkeypatch.delenv(WORKFLOW, raising=False)
    assert shared_place("train", {}) is None


def test_by_default_attempts_share_the_bucket_of_the_data(
    bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CHECKPOINTS, "remote")
    monkeypatch.setenv(WORKFLOW, "run-1")
    assert shared_place("train", {}, remote="data/remote") is None
    assert shared_place("train", {}) is None
    place = shared_place("train", {}, remote=f"{bucket}/dvc")
    assert place
    assert place.startswith(f"{bucket}/dvc/streetseg-attempts/run-1/train-")
    assert shared_place("train", {}, remote="s3://no-such-bucket/dvc") is None
    said = capsys.readouterr().out
    assert said.startswith("warning: a lost attempt starts over: cannot write run-1/started to s3:")
    monkeypatch.setenv(CHECKPOINTS, "s3://no-such-bucket/dvc")
    with pytest.raises(StreetsegError, match="cannot write run-1/started to"):
        shared_place("train", {})


def test_each_task_of_each_run_has_a_place_of_its_own(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CHECKPOINTS, f"{bucket}/prefix/")
    monkeypatch.setenv(WORKFLOW, "run-1")
    first = shared_place("train", {"a": 1, "b": 2})
    assert first
    assert first.startswith(f"{bucket}/prefix/streetseg-attempts/run-1/train-")
    assert shared_place("train", {"b": 2, "a": 1}) == first
    in_workspace = shared_place("train", {"a": 1, "b": 2}, str(tmp_path))
    assert in_workspace
    assert in_workspace.startswith(f"{tmp_path}/streetseg-attempts/run-1/train-")
    others = [shared_place("train", {"a": 2}), shared_place("segment", {"a": 1, "b": 2})]
    monkeypatch.setenv(WORKFLOW, "run-2")
    others.append(shared_place("train", {"a": 1, "b": 2}))
    assert len({first, *others}) == 4


def test_what_other_runs_left_on_a_volume_is_removed_after_a_week(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "streetseg-attempts"
    week = 7 * 24 * 3600
    for run, age in (("old", week + 60), ("recent", week - 60), ("mine", week + 60)):
        (root / run / "train-1").mkdir(parents=True)
        file = root / run / "train-1" / "training.checkpoint"
        file.touch()
        for path in (file, file.parent, file.parent.parent):
            os.utime(path, (time.time() - age,) * 2)
    os.utime(root / "recent", (time.time() - 2 * week,) * 2)
    monkeypatch.setenv(CHECKPOINTS, str(tmp_path))
    monkeypatch.setenv(WORKFLOW, "mine")
    shared_place("train", {})
    assert sorted(path.name for path in root.iterdir()) == ["mine", "recent"]


@pytest.mark.parametrize("may_remove", [True, False])
def test_what_other_runs_left_in_a_bucket_is_removed_after_a_week(
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    may_remove: bool,
) -> None:
    url = f"{bucket}/old-runs-{may_remove}"
    monkeypatch.setenv(CHECKPOINTS, url)
    for run in ("old", "recent", "mine"):
        monkeypatch.setenv(WORKFLOW, run)
        place = shared_place("train", {})
        Storage(str(place)).write("training.checkpoint", b"1")
    times = Storage.times
    ages = {"old/started": 9, "old/train": 8, "recent/started": 9, "recent/train": 6}

    def aged(storage: Storage) -> dict[str, datetime]:
        return {
            path: time - timedelta(days=ages.get(path.partition("-")[0], 0))
            for path, time in times(storage).items()
        }

    def forbidden(*_: object) -> None:
        raise StreetsegError("cannot remove it: Access Denied")

    monkeypatch.setattr(Storage, "times", aged)
    if not may_remove:
        monkeypatch.setattr(Storage, "remove", forbidden)
    assert shared_place("train", {}) == place
    left = {path.split("/")[1] for path in Storage(url).files()}
    assert left == ({"mine", "recent"} if may_remove else {"mine", "old", "recent"})
    warned = "warning: checkpoints of earlier runs stay: cannot remove it: Access Denied\n"
    assert capsys.readouterr().out == ("" if may_remove else warned)
