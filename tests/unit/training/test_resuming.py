"""A training that is stopped or killed resumes where it was."""

import hashlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
import yaml

from streetseg.config.params import Params
from streetseg.core.atomic_files import lock_destination
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import weights_sha256
from streetseg.tracking.store import connect
from streetseg.training.checkpoint import CHANGEABLE, VALUES, Checkpoint
from streetseg.training.distributed import World
from streetseg.training.losses import segmentation_loss
from streetseg.training.train import TrainedModel, train
from tests.support.noticed import Noticed


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something in the middle of a step of the training."""

    def arrange(number: int, action: Callable[[], None]) -> None:
        steps = 0

        def counted(*arguments: object, **of_held_out: object) -> torch.Tensor:
            nonlocal steps
            steps += not of_held_out
            if steps == number and not of_held_out:
                action()
            return segmentation_loss(*arguments, **of_held_out)

        monkeypatch.setattr("streetseg.training.train.segmentation_loss", counted)

    return arrange


def crash() -> None:
    raise KeyboardInterrupt("like a crash: no code of ours handles it")


STOPPABLE = {"train.epochs": 2, "train.ema": 0.5, "train.checkpoint_minutes": 0}


@pytest.fixture(scope="module")
def undisturbed(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    """A training that nothing stopped."""
    return train(
        params.override(STOPPABLE), dataset, tmp_path_factory.mktemp("undisturbed") / "model"
    )


def test_settings_without_influence_on_the_weights_may_change_before_resuming(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
    undisturbed: TrainedModel,
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
    assert weights_sha256(resumed.artifact) == weights_sha256(undisturbed.artifact)


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
    errors = running.communicate()[1]
    assert "error: stopped by SIGTERM" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "model.checkpoint").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("end", "step"), [("SIGTERM", 2), ("SIGINT", 6), ("crash", 6)])
def test_a_resumed_training_ends_with_the_weights_of_an_undisturbed_one(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
    undisturbed: TrainedModel,
    end: str,
    step: int,
) -> None:
    recipe = params.override(STOPPABLE)
    if end == "crash":
        at_step(step, crash)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, dataset, tmp_path / "model")
    else:
        at_step(step, lambda: os.kill(os.getpid(), signal.Signals[end]))
        with pytest.raises(StreetsegError, match=f"stopped by {end} in epoch .*to resume from"):
            train(recipe, dataset, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    resumed = train(recipe, dataset, tmp_path / "model")
    assert weights_sha256(resumed.artifact) == weights_sha256(undisturbed.artifact)
    assert resumed.selection_miou == undisturbed.selection_miou
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no checkpoint is left"


def test_a_resumed_training_is_one_run(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
) -> None:
    recipe = params.override({"train.epochs": 2, "train.checkpoint_minutes": 0})
    at_step(6, crash)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, dataset, tmp_path / "model")
    stored = torch.load(tmp_path / "model.checkpoint", weights_only=True)
    resumed = train(recipe, dataset, tmp_path / "model")
    assert resumed.run_id == stored["run_id"]
    client = connect(params.registry)
    assert client.get_run(resumed.run_id).info.status == "FINISHED"
    epochs = [point.step for point in client.get_metric_history(resumed.run_id, "train/loss")]
    assert epochs == [1, 2]


def test_two_trainings_do_not_share_a_checkpoint(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    shared = tmp_path / "shared.checkpoint"
    recipe = params.override({"train.checkpoint": str(shared)})
    with (
        lock_destination(shared),
        pytest.raises(StreetsegError, match=f"^another process is writing {shared}: wait for it"),
    ):
        train(recipe, dataset, tmp_path / "model")
    assert not list(tmp_path.glob("*model*"))


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_training(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    recipe = params.override({"train.checkpoint": str(tmp_path / "file" / "checkpoint")})
    with pytest.raises(StreetsegError, match=r"^cannot write .*/file/checkpoint: File exists"):
        train(recipe, dataset, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_checkpoint_of_other_settings_is_not_resumed(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_step(2, crash)
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


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_file_that_is_no_checkpoint_is_not_unpickled(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    write: Callable[[object, BinaryIO], None],
) -> None:
    with (tmp_path / "model.checkpoint").open("wb") as file:
        write({"epoch": Noticed()}, file)
    with pytest.raises(StreetsegError, match=r"model\.checkpoint is damaged or not a checkpoint"):
        train(params, dataset, tmp_path / "model")


def test_a_damaged_checkpoint_is_not_resumed(
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


def test_a_checkpoint_of_a_release_that_stored_less_is_renamed(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset)
    torch.save({"fingerprint": checkpoint.fingerprint, "epoch": 2}, checkpoint.path)
    assert checkpoint.load() is None
    assert (tmp_path / "model.checkpoint.old").is_file()


def test_a_checkpoint_is_renamed_once_all_processes_have_read_it(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    exists_at_barrier = []

    class Observed(World):
        def wait(self) -> None:
            exists_at_barrier.append(checkpoint.path.exists())

    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset, Observed())
    torch.save({"fingerprint": "another"}, checkpoint.path)
    assert checkpoint.load() is None
    assert exists_at_barrier == [True]


def test_a_checkpoint_of_the_release_before_the_settings_were_renamed_is_resumed(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset)
    settings = params.train.model_dump(mode="json", exclude={*CHANGEABLE, "max_frames"})
    settings["loss"] = {
        {"class_weight_power": "balance"}.get(key, key): value
        for key, value in settings["loss"].items()
    }
    former = {
        "holdout_fraction": "selection_share",
        "accumulation_steps": "accumulate",
        "encoder_lr_scale": "encoder_rate",
        "layer_decay": "encoder_decay",
        "warmup_fraction": "warmup",
    }
    bound_to = [
        params.model.model_dump(),
        {former.get(key, key): value for key, value in settings.items()},
        dataset.version,
    ]
    fingerprint = hashlib.sha256(json.dumps(bound_to).encode()).hexdigest()
    assert fingerprint != checkpoint.fingerprint
    torch.save({"fingerprint": fingerprint, **dict.fromkeys(VALUES, 0)}, checkpoint.path)
    assert checkpoint.load() is not None


def test_a_tensor_is_no_checkpoint(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(tmp_path / "model.checkpoint", params, dataset)
    torch.save(torch.zeros(3), checkpoint.path)
    with pytest.raises(StreetsegError, match=r"model\.checkpoint is damaged or not a checkpoint"):
        checkpoint.load()


def test_a_full_disk_ends_training_with_the_previous_checkpoint(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    at_step: Callable[[int, Callable[[], None]], None],
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    recipe = params.override({"train.checkpoint_minutes": 0, "registry.tracking_uri": store})
    at_step(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, limit[1])))
    try:
        with pytest.raises(StreetsegError, match=r"checkpoint .*: File too large: make room"):
            train(recipe, dataset, tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow", "model.checkpoint"]
    assert torch.load(tmp_path / "model.checkpoint", weights_only=True)["step"] == 2
