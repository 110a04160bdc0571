"""What train.precision=auto is on a CPU."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from streetseg.config.params import Params, Train
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config
from streetseg.models.build import build_model
from streetseg.tracking.store import connect
from streetseg.training.precision import (
    MIN_PIXELS,
    bfloat16_gain,
    cpu_precision,
    settle_precision,
    time_step,
)
from streetseg.training.train import train

ANY_MODEL = nn.Linear(1, 1)

SHORT = {
    "train.epochs": 1,
    "train.max_frames": 4,
    "train.batch_size": 2,
    "train.checkpoint_minutes": 0,
}


def terminate(epoch: int, miou: float) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Stopwatch:
    """A timer of steps that gives the seconds it was told, the last ones again and again."""

    def __init__(self, float32: list[float], bfloat16: list[float]) -> None:
        self.seconds = {False: float32, True: bfloat16}
        self.steps: list[bool] = []

    def __call__(self, model: nn.Module, bfloat16: bool) -> float:
        number = self.steps.count(bfloat16)
        self.steps.append(bfloat16)
        seconds = self.seconds[bfloat16]
        return seconds[min(number, len(seconds) - 1)]


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [
        ([0.9, 0.33], [0.5, 0.24], "bfloat16"),
        ([0.9, 0.25], [0.5, 0.24], "float32"),  # not by a tenth
        ([9.0, 0.10], [5.0, 0.20], "float32"),  # a first step does more than a step
        ([0.9, 0.90], [6.0, 0.10], "float32"),
    ],
)
def test_bfloat16_is_taken_where_it_is_faster_by_a_tenth(
    float32: list[float],
    bfloat16: list[float],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    timer = Stopwatch(float32, bfloat16)
    assert cpu_precision(ANY_MODEL, Train(), MIN_PIXELS, step_seconds=timer) == expected
    assert capsys.readouterr().err.startswith(f"train.precision: {expected} (bfloat16 is ")


def test_the_trial_takes_turns_and_about_a_second() -> None:
    timer = Stopwatch([0.2], [0.1])
    assert bfloat16_gain(ANY_MODEL, timer) == 2
    assert timer.steps == [False, True] * 4


def test_a_bfloat16_that_is_slower_at_once_is_not_tried_again() -> None:
    timer = Stopwatch([0.1], [0.3])
    assert bfloat16_gain(ANY_MODEL, timer) == pytest.approx(1 / 3)
    assert timer.steps == [False, True]


def test_a_network_that_refuses_the_trial_stays_in_float32() -> None:
    def refuse(model: nn.Module, bfloat16: bool) -> float:
        raise AssertionError("Input height (64) doesn't match model (512)")

    assert cpu_precision(ANY_MODEL, Train(), MIN_PIXELS, step_seconds=refuse) == "float32"


@pytest.mark.parametrize(
    ("settings", "pixels"),
    [(Train(), MIN_PIXELS - 1), (Train(precision="bfloat16"), 10**12)],
)
def test_short_trainings_and_said_precisions_are_not_measured(settings: Train, pixels: int) -> None:
    timer = Stopwatch([0.2], [0.1])
    assert cpu_precision(ANY_MODEL, settings, pixels, step_seconds=timer) == "float32"
    assert not timer.steps


def test_the_default_recipe_of_a_real_data_set_is_measured_and_the_demo_is_not() -> None:
    assert 9 * 96 * 128 * 256 < MIN_PIXELS < 60 * 72 * 256 * 512


def test_a_said_precision_stays_and_auto_is_what_was_measured() -> None:
    cpu = torch.device("cpu")
    for said in ("float32", "bfloat16"):
        assert settle_precision(Train(precision=said), cpu, "bfloat16").precision == said
        assert settle_precision(Train(), cpu, said).precision == said


def test_the_trial_leaves_the_network_and_the_random_numbers_alone(params: Params) -> None:
    model = build_model(params.model, 8).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    assert bfloat16_gain(model, time_step) > 0
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_resumed_training_keeps_the_precision_that_its_checkpoint_holds(
    params: Params, dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, timer = params.override(SHORT), Stopwatch([0.1], [0.2])
    monkeypatch.setattr("streetseg.training.precision.MIN_PIXELS", 0)
    monkeypatch.setattr("streetseg.training.precision.time_step", timer)
    with pytest.raises(StreetsegError, match="to resume from"):
        train(recipe, dataset, tmp_path / "model", on_epoch=terminate)
    path = tmp_path / "model.checkpoint"
    stored = torch.load(path, weights_only=True)
    run = connect(params.registry).get_run(stored["run_id"])
    assert stored["cpu_precision"] == run.data.params["train.precision"] == "float32"
    torch.save(stored | {"cpu_precision": "bfloat16"}, path)  # no step is left to train
    resumed = train(recipe, dataset, tmp_path / "model")
    assert read_config(resumed.artifact)["params"]["train"]["precision"] == "bfloat16"
    assert timer.steps == [False, True], "it was measured once"


def test_a_checkpoint_from_before_precisions_were_measured_is_resumed_in_float32(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    recipe = params.override(SHORT)
    with pytest.raises(StreetsegError, match="to resume from"):
        train(recipe, dataset, tmp_path / "model", on_epoch=terminate)
    path = tmp_path / "model.checkpoint"
    stored = torch.load(path, weights_only=True)
    run_id = stored["run_id"]
    assert stored.pop("cpu_precision") == "float32"
    torch.save(stored, path)
    assert train(recipe, dataset, tmp_path / "model").run_id == run_id
