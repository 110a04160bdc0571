"""Several processes that train one network."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from streetseg.config.params import Params, load_params
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.store import connect
from streetseg.training import initial_state as initial
from streetseg.training import train as training
from streetseg.training.selection import split_for_selection
from tests.support.deterministic_training import deterministic_model

pytestmark = pytest.mark.slow

PROGRAM = REPOSITORY / "tests/support/deterministic_training.py"


def torchrun(
    processes: int, recipe: Path, out: Path, program: Path = PROGRAM
) -> subprocess.Popen[str]:
    """Start ``streetseg train`` in so many processes."""
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [sys.executable, *command, program, "train", "--params", recipe, "--out", out],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def recipe(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A small network with every setting whose result must not depend on the processes."""
    tree = params.to_dict()
    tree["model"] = {"architecture": "MiniUnet", "encoder_weights": "none"}
    tree["train"] |= {"epochs": 2, "ema": 0.5, "accumulation_steps": 2, "gradient_clip": 1.0}
    tree["train"] |= {"checkpoint_minutes": 0, "batch_size": 4}
    tree["registry"]["experiment"] = "distributed"
    path = tmp_path_factory.mktemp("distributed") / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def alone(recipe: Path, dataset: PreparedDataset) -> Path:
    """The artifact of a training in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initial, "build_model", deterministic_model)
        return training.train(load_params(recipe), dataset, recipe.parent / "alone").artifact


@dataclass(frozen=True)
class Together:
    """The artifact and the output of two processes that were stopped and resumed."""

    artifact: Path
    stopped_errors: str
    output: str
    errors: str


@pytest.fixture(scope="module")
def together(recipe: Path) -> Together:
    """Train in two processes, stop them at their first checkpoint and resume."""
    out, checkpoint = recipe.parent / "together", recipe.parent / "together.checkpoint"
    running = torchrun(2, recipe, out)
    while running.poll() is None and not checkpoint.exists():
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    _, stopped_errors = running.communicate()
    assert running.returncode != 0
    assert not out.exists()
    running = torchrun(2, recipe, out)
    output, errors = running.communicate()
    assert running.returncode == 0, errors
    return Together(out, stopped_errors, output, errors)


def curve(recipe: Path, artifact: Path, metric: str) -> list[float]:
    """A metric of the run that trained an artifact, by epoch."""
    client = connect(load_params(recipe).registry)
    run_id = json.loads((artifact / "config.json").read_text())["run_id"]
    return [point.value for point in client.get_metric_history(run_id, metric)]


@pytest.mark.parametrize("metric", ["train/loss", "held-out/loss", "held-out/miou"])
def test_two_processes_have_the_curves_of_one(
    recipe: Path, alone: Path, together: Together, metric: str
) -> None:
    one, two = (curve(recipe, artifact, metric) for artifact in (alone, together.artifact))
    assert len(one) == 2
    assert two == pytest.approx(one, rel=2e-3)


def test_their_averaged_weights_are_the_same(alone: Path, together: Together) -> None:
    one, two = (load_file(path / "weights.safetensors") for path in (alone, together.artifact))
    for name, weights in one.items():
        np.testing.assert_allclose(two[name], weights, atol=5e-3, err_msg=name)


def test_only_the_main_process_prints_and_logs(
    recipe: Path, alone: Path, together: Together
) -> None:
    assert together.output.count("held-out mIoU") == 1
    assert together.errors.count("epoch 2/2  loss") == 1
    registry = load_params(recipe).registry
    client = connect(registry)
    experiment = client.get_experiment_by_name(registry.experiment)
    statuses = [run.info.status for run in client.search_runs([experiment.experiment_id])]
    assert statuses == ["FINISHED"] * 2, "a run for each training, not for each process"


def test_all_processes_stop_together_and_resume(together: Together) -> None:
    assert "stopped by SIGTERM in epoch" in together.stopped_errors
    assert "run the same command to resume from" in together.stopped_errors
    assert "resuming in epoch" in together.errors


def test_a_short_last_batch_trains_a_network_that_normalises_pooled_features(
    recipe: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    tree = yaml.safe_load(recipe.read_text())
    tree["model"] = {"architecture": "DeepLabV3Plus", "encoder": "resnet18"}
    tree["model"]["encoder_weights"] = "none"
    tree["train"] |= {"epochs": 1, "accumulation_steps": 1, "gradient_clip": 0.0, "ema": 0.0}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    frames, held_out = split_for_selection(dataset, tree["train"]["holdout_fraction"])
    assert (len(frames) % 4, len(held_out)) == (2, 2), "each process has one frame at the end"
    running = torchrun(2, path, tmp_path / "model", REPOSITORY / "streetseg/__main__.py")
    _, errors = running.communicate()
    assert running.returncode == 0, errors
    assert "epoch 1/1  loss" in errors
    assert (tmp_path / "model/model.onnx").is_file()
