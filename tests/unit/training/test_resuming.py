"""A training that is stopped, or breaks off, goes on where it was."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import weights_sha256
from streetseg.tracking.store import connect
from streetseg.training.checkpoint import Checkpoint
from streetseg.training.distributed import World
from streetseg.training.losses import segmentation_loss
from streetseg.training.train import TrainedModel, train


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something in the middle of a step of the training."""

    def arrange(number: int, deed: Callable[[], None]) -> None:
        steps = 0

        def counted(*arguments: object) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if steps == number:
                deed()
            return segmentation_loss(*arguments)

        monkeypatch.setattr("streetseg.training.train.segmentation_loss", counted)

    return arrange


def killed() -> None:
    raise KeyboardInterrupt("as good as a crash: nothing of ours is asked")


STOPPABLE = {"train.epochs": 2, "train.ema": 0.5, "train.checkpoint_minutes": 0}


@pytest.fixture(scope="module")
def alone(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    """A training that nothing stopped."""
    return train(params.override(STOPPABLE), dataset, tmp_path_factory.mktemp("alone") / "model")


def test_what_does_not_matter_to_the_weights_may_change_while_a_training_is_stopped(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
    alone: TrainedModel,
) -> None:
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StreetsegError, match="to resume from"):
        train(params.override(STOPPABLE), dataset, tmp_path / "model")
    run = connect(params.registry).search_runs(
        [connect(params.registry).get_experiment_by_name("streetseg").experiment_id], max_results=1
    )[0]
    assert run.info.status == "KILLED"
    recipe = params.override({**STOPPABLE, "train.patience": 99, "train.num_workers": 1})
    resumed = train(recipe, dataset, tmp_path / "model")
    assert weights_sha256(resumed.artifact) == weights_sha256(alone.artifact)


@pytest.mark.slow
def test_workers_leave_signals_to_the_training(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    """A terminal and a supervisor signal the whole group of processes."""
    recipe = params.override({"train.num_workers": 2, "train.epochs": 500})
    recipe = recipe.override({"train.checkpoint_minutes": 0})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    running = subprocess.Popen(
        [sys.executable, "-m", "streetseg", "train", "--out", "model"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while running.poll() is None and not (tmp_path / "model.checkpoint").exists():
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGTERM)
    said = running.communicate()[1]
    assert "error: stopped by SIGTERM" in said
    assert "Traceback" not in said
    assert (tmp_path / "model.checkpoint").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("end", "step"), [("SIGTERM", 2), ("SIGINT", 6), ("crash", 6)])
def test_a_stopped_training_ends_with_the_weights_of_one_left_alone(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
    alone: TrainedModel,
    end: str,
    step: int,
) -> None:
    recipe = params.override(STOPPABLE)
    if end == "crash":
        at_step(step, killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset, tmp_path / "model")
    else:
        at_step(step, lambda: os.kill(os.getpid(), signal.Signals[end]))
        with pytest.raises(StreetsegError, match=f"stopped by {end} in epoch .*to resume from"):
            train(recipe, dataset, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    resumed = train(recipe, dataset, tmp_path / "model")
    assert weights_sha256(resumed.artifact) == weights_sha256(alone.artifact)
    assert resumed.selection_miou == alone.selection_miou
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no checkpoint is left"


def test_a_resumed_training_is_one_run(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
) -> None:
    recipe = params.override({"train.epochs": 2, "train.checkpoint_minutes": 0})
    at_step(6, killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, dataset, tmp_path / "model")
    stored = torch.load(tmp_path / "model.checkpoint", weights_only=True)
    resumed = train(recipe, dataset, tmp_path / "model")
    assert resumed.run_id == stored["run_id"]
    client = connect(params.registry)
    assert client.get_run(resumed.run_id).info.status == "FINISHED"
    epochs = [point.step for point in client.get_metric_history(resumed.run_id, "loss")]
    assert epochs == [1, 2]


def test_a_checkpoint_of_other_settings_is_not_gone_on_with(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_step(2, killed)
    with pytest.raises(KeyboardInterrupt):
        train(params.override({"train.checkpoint_minutes": 0}), dataset, tmp_path / "model")
    other = params.override({"train.epochs": 1, "train.seed": 9})
    fresh = train(other, dataset, tmp_path / "fresh")
    assert weights_sha256(train(other, dataset, tmp_path / "model").artifact) == weights_sha256(
        fresh.artifact
    )
    assert (
        "was written with other settings, data or release: starting over" in capsys.readouterr().err
    )
    assert (tmp_path / "model.checkpoint.old").is_file()


def test_what_is_no_checkpoint_is_not_unpickled(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "model.checkpoint").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(StreetsegError, match=r"model\.checkpoint is damaged or not a checkpoint"):
        train(params, dataset, tmp_path / "model")


def test_a_damaged_checkpoint_is_not_gone_on_with(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset)
    torch.save({"fingerprint": checkpoint.fingerprint, "x": torch.zeros(1000)}, checkpoint.path)
    stored = bytearray(checkpoint.path.read_bytes())
    stored[len(stored) // 2] ^= 255
    checkpoint.path.write_bytes(stored)
    with pytest.raises(
        StreetsegError, match="damaged or not a checkpoint: delete it to start over"
    ):
        checkpoint.load()


def test_a_checkpoint_of_a_release_that_kept_less_is_set_aside(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset)
    torch.save({"fingerprint": checkpoint.fingerprint, "epoch": 2}, checkpoint.path)
    assert checkpoint.load() is None
    assert (tmp_path / "model.checkpoint.old").is_file()


def test_a_checkpoint_is_set_aside_once_all_processes_have_read_it(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    there_when_met = []

    class Meeting(World):
        def wait(self) -> None:
            there_when_met.append(checkpoint.path.exists())

    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset, Meeting())
    torch.save({"fingerprint": "another"}, checkpoint.path)
    assert checkpoint.load() is None
    assert there_when_met == [True]


def test_a_tensor_is_no_checkpoint(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset)
    torch.save(torch.zeros(3), checkpoint.path)
    with pytest.raises(StreetsegError, match=r"model\.checkpoint is damaged or not a checkpoint"):
        checkpoint.load()


def test_a_full_disk_ends_training_with_the_checkpoint_before(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
) -> None:
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    recipe = params.override({"train.checkpoint_minutes": 0, "registry.tracking_uri": store})
    at_step(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, whole[1])))
    try:
        with pytest.raises(StreetsegError, match=r"checkpoint .*: File too large: make room"):
            train(recipe, dataset, tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow", "model.checkpoint"]
    assert torch.load(tmp_path / "model.checkpoint", weights_only=True)["step"] == 2
