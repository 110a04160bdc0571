"""Training."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from streetseg.config import Params, load_params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.tracking import connect
from streetseg.training import split_for_selection, train, warmup_cosine
from tests.conftest import Trained


def changed(params: Params, **overrides: object) -> Params:
    """The same recipe with some settings changed."""
    tree = params.to_dict()
    for path, value in overrides.items():
        section, key = path.split("__")
        tree[section][key] = value
    return Params.model_validate(tree)


def test_the_loss_falls_and_the_run_can_be_followed(params: Params, trained: Trained) -> None:
    client = connect(params.registry)
    losses = [point.value for point in client.get_metric_history(trained.run_id, "loss")]
    assert len(losses) == params.train.epochs
    assert losses[-1] < losses[0]


def test_the_run_says_what_was_trained_on_what(
    params: Params, dataset: PreparedDataset, trained: Trained
) -> None:
    run = connect(params.registry).get_run(trained.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.learning_rate"] == str(params.train.learning_rate)
    assert run.data.params["model.encoder"] == params.model.encoder
    assert run.data.tags["data_version"] == dataset.version
    assert run.inputs.dataset_inputs[0].dataset.digest == dataset.version


def test_the_run_keeps_pictures_of_predictions(params: Params, trained: Trained) -> None:
    connect(params.registry)
    pictures = mlflow.artifacts.list_artifacts(run_id=trained.run_id, artifact_path="predictions")
    assert pictures
    picture = mlflow.artifacts.load_image(f"runs:/{trained.run_id}/{pictures[0].path}")
    assert picture.size == (3 * 128, 2 * 64), "frame, truth and prediction of each held-out frame"


def test_the_checkpoint_is_chosen_on_train_frames_that_are_not_learnt(
    dataset: PreparedDataset,
) -> None:
    learnt, held_out = split_for_selection(dataset, 0.1)
    assert not set(learnt) & set(held_out)
    assert sorted([*learnt, *held_out]) == dataset.rows("train").tolist()
    for _, frames in dataset.index.iloc[held_out].groupby("city"):
        names = dataset.index[
            (dataset.index["split"] == "train") & (dataset.index["city"] == frames["city"].iloc[0])
        ]["frame"]
        assert frames["frame"].tolist() == sorted(names)[-len(frames) :], "the end of the drive"


def test_the_same_seed_gives_the_same_weights(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    once = changed(params, train__epochs=1)
    weights = []
    for name in ("a", "b"):
        artifact = train(once, dataset, tmp_path / name).artifact
        weights.append((artifact / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_training_stops_when_it_no_longer_gets_better(
    params: Params, dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hopeless = changed(params, train__epochs=60, train__patience=1, train__learning_rate=1e-12)
    result = train(hopeless, dataset, tmp_path / "model")
    assert "stopping early" in capsys.readouterr().err
    assert result.best_epoch < 59


def test_a_loss_that_is_not_finite_stops_with_a_hint(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    explosive = changed(params, train__learning_rate=1e30, train__warmup=0.0)
    with pytest.raises(StreetsegError, match=r"lower train\.learning_rate"):
        train(explosive, dataset, tmp_path / "model")
    assert not list(tmp_path.iterdir()), "nothing half-written"
    last = connect(params.registry).search_runs(
        [connect(params.registry).get_experiment_by_name("streetseg").experiment_id],
        max_results=1,
    )[0]
    assert last.info.status == "FAILED"


def test_a_device_that_is_not_there_is_named(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(StreetsegError, match=r"train\.device = 'cuda:99'"):
        train(changed(params, train__device="cuda:99"), dataset, tmp_path / "model")


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    recipe = load_params(overrides={"train.learning_rate": 1.0, "train.warmup": 0.2}).train
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = warmup_cosine(optimizer, recipe, steps=10)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert np.all(np.diff(rates[2:]) < 0)
    assert schedule.get_last_lr()[0] == pytest.approx(0)
