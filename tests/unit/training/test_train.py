"""Training."""

import copy
import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from streetseg.config.params import Params, Train, load_params
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import git_revision
from streetseg.data.dataset import INDEX, PreparedDataset
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.result import read_evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.artifact import read_config, read_trained_on, weights_sha256
from streetseg.models.build import build_model
from streetseg.registry.register import register
from streetseg.tracking.record import training_run
from streetseg.tracking.store import connect
from streetseg.training.checkpoint import TrainingState
from streetseg.training.device import translate_torch_errors
from streetseg.training.optimization import (
    build_average,
    build_optimizer,
    build_schedule,
    freeze_encoder,
)
from streetseg.training.preview import HEADING
from streetseg.training.selection import split_for_selection
from streetseg.training.train import TrainedModel, train
from tests.conftest import Trained


def test_the_loss_falls_and_the_run_can_be_followed(params: Params, trained: Trained) -> None:
    client = connect(params.registry)
    losses = [point.value for point in client.get_metric_history(trained.run_id, "train/loss")]
    assert len(losses) == params.train.epochs
    assert losses[-1] < losses[0]


def test_the_run_records_recipe_and_data(
    params: Params, dataset: PreparedDataset, trained: Trained
) -> None:
    run = connect(params.registry).get_run(trained.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.learning_rate"] == str(params.train.learning_rate)
    assert run.data.params["model.encoder"] == params.model.encoder
    assert run.data.tags["data_version"] == dataset.version
    assert run.data.tags["source_name"] == dataset.name == "cityscapes"
    (data,) = {
        each.dataset.digest: each.dataset
        for each in run.inputs.dataset_inputs
        if each.dataset.name == "cityscapes"
    }.values()
    assert data.digest == dataset.version
    assert json.loads(data.source)["uri"] == str(dataset.path)
    assert run.data.tags["mlflow.source.name"] == "streetseg train"
    assert run.data.tags["mlflow.source.git.commit"] == git_revision().removesuffix("-dirty")
    assert f"data version `{dataset.version}`" in run.data.tags["mlflow.note.content"]
    experiment = connect(params.registry).get_experiment(run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "streetseg" in experiment.tags["mlflow.note.content"]


def test_the_run_keeps_images_of_predictions(params: Params, trained: Trained) -> None:
    connect(params.registry)
    images = mlflow.artifacts.list_artifacts(run_id=trained.run_id, artifact_path="predictions")
    assert images
    image = mlflow.artifacts.load_image(f"runs:/{trained.run_id}/{images[0].path}")
    frames = (3 * 128, 2 * 64)  # frame, truth and prediction of each held-out frame
    assert image.size == (frames[0], HEADING + frames[1])


def test_the_checkpoint_is_chosen_on_frames_held_out_of_the_train_split(
    dataset: PreparedDataset,
) -> None:
    rows, held_out = split_for_selection(dataset, 0.1)
    assert not set(rows) & set(held_out)
    assert sorted([*rows, *held_out]) == dataset.rows("train").tolist()
    for _, frames in dataset.index.iloc[held_out].groupby("city"):
        names = dataset.index[
            (dataset.index["split"] == "train") & (dataset.index["city"] == frames["city"].iloc[0])
        ]["frame"]
        assert frames["frame"].tolist() == sorted(names)[-len(frames) :], "the end of the drive"


def test_pictures_of_one_annotation_file_are_held_out_like_others(dataset: PreparedDataset) -> None:
    expected = split_for_selection(dataset, 0.1)
    together = copy.copy(dataset)
    together.index = dataset.index.assign(label="annotations.json")
    for rows, same in zip(split_for_selection(together, 0.1), expected, strict=True):
        np.testing.assert_array_equal(rows, same)


def test_a_small_try_trains_on_frames_of_every_city(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    all_rows, all_held_out = split_for_selection(dataset, 0.1)
    rows, held_out = split_for_selection(dataset, 0.25, max_frames=4)
    assert (len(rows), len(held_out)) == (4, 1)
    assert {*rows} <= {*all_rows}
    assert {*held_out} <= {*all_held_out} | {*split_for_selection(dataset, 0.25)[1]}
    cities = dataset.index["city"]
    assert {*cities[rows]} == {*cities[all_rows]}
    small = params.override({"train.epochs": 1, "train.max_frames": 4, "train.batch_size": 2})
    trained = train(small, dataset, tmp_path / "model")
    tags = connect(params.registry).get_run(trained.run_id).data.tags
    assert tags["max_frames"] == "4"


def test_the_same_seed_gives_the_same_weights(
    params: Params, dataset: PreparedDataset, tmp_path: Path, plain: TrainedModel
) -> None:
    again = train(params.override({"train.epochs": 1}), dataset, tmp_path / "model")
    assert weights_sha256(again.artifact) == weights_sha256(plain.artifact)


def test_training_stops_when_it_no_longer_gets_better(
    params: Params, dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stagnating = params.override(
        {"train.epochs": 60, "train.patience": 1, "train.learning_rate": 1e-12}
    )
    result = train(stagnating, dataset, tmp_path / "model")
    assert "stopped early" in capsys.readouterr().err
    assert result.best_epoch < 59


def test_a_loss_that_is_not_finite_stops_with_a_hint(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    diverging = params.override({"train.learning_rate": 1e30, "train.warmup_fraction": 0.0})
    with pytest.raises(StreetsegError, match=r"batch \d+ \(.*_\d+.*lower train\.learning_rate"):
        train(diverging, dataset, tmp_path / "model")
    assert not list(tmp_path.iterdir()), "nothing half-written"
    last_run = connect(params.registry).search_runs(
        [connect(params.registry).get_experiment_by_name("streetseg").experiment_id],
        max_results=1,
    )[0]
    assert last_run.info.status == "FAILED"


def test_a_device_that_is_not_there_is_named(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(StreetsegError, match=r"train\.device = 'cuda:99'"):
        train(params.override({"train.device": "cuda:99"}), dataset, tmp_path / "model")


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    overrides = {"train.learning_rate": 1.0, "train.warmup_fraction": 0.2}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = build_schedule(optimizer, load_params(overrides=overrides).train, steps=10)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert np.all(np.diff(rates[2:]) < 0)
    assert schedule.get_last_lr()[0] == pytest.approx(0)


@pytest.fixture(scope="module")
def on_encoder(params: Params) -> Params:
    """The recipe with a network whose encoder is pretrained on ImageNet."""
    return params.override({"model.architecture": "Unet", "model.encoder_weights": "imagenet"})


@pytest.fixture(scope="module")
def plain(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    """One epoch with the default settings."""
    return train(
        params.override({"train.epochs": 1}), dataset, tmp_path_factory.mktemp("plain") / "model"
    )


@pytest.mark.parametrize(
    "setting",
    [
        {"train.schedule": "poly"},
        {"train.accumulation_steps": 3},
        {"train.gradient_clip": 0.1},
        {"train.ema": 0.9},
        {"train.precision": "bfloat16"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_setting_of_the_loop_changes_the_weights(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    plain: TrainedModel,
    setting: dict[str, object],
) -> None:
    other = train(params.override({"train.epochs": 1, **setting}), dataset, tmp_path / "other")
    assert weights_sha256(plain.artifact) != weights_sha256(other.artifact)
    assert 0 <= other.selection_miou <= 1


def test_the_average_of_the_weights_is_an_exponential_one() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    average = build_average(layer, 0.9)
    assert average is not None
    expected = None
    for value in (1.0, 2.0, 4.0):
        layer.weight.data.fill_(value)
        average.update_parameters(layer)
        expected = value if expected is None else 0.9 * expected + 0.1 * value
    assert average.module.weight.item() == pytest.approx(expected)
    assert build_average(layer, 0) is None


def test_the_encoder_may_have_learning_rates_of_its_own(on_encoder: Params) -> None:
    model = build_model(on_encoder.model, 3)
    scaled = on_encoder.override({"train.learning_rate": 1.0, "train.encoder_lr_scale": 0.1})
    optimizer = build_optimizer(model, scaled.train)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    encoder = set(model.encoder.parameters())
    assert rates == {p: 0.1 if p in encoder else 1.0 for p in model.parameters()}
    layered = on_encoder.override(
        {"train.learning_rate": 1.0, "train.encoder_lr_scale": 0.5, "train.layer_decay": 0.1}
    )
    optimizer = build_optimizer(model, layered.train)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    encoder_rates = [rates[parameter] for parameter in model.encoder.parameters()]
    assert encoder_rates == sorted(encoder_rates)
    assert [encoder_rates[0], encoder_rates[-1]] == pytest.approx([0.05, 0.5])
    assert {rates[p] for p in model.parameters() if p not in encoder} == {1.0}


def test_biases_and_normalisations_do_not_decay(params: Params) -> None:
    model = build_model(params.model, 3)
    for group in build_optimizer(model, params.train).param_groups:
        decays = {parameter.ndim > 1 for parameter in group["params"]}
        assert decays == {group["weight_decay"] > 0}


def test_the_callback_gets_each_epoch_and_may_end_the_training(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    epochs = []

    def stop_after_two(epoch: int, miou: float) -> None:
        epochs.append((epoch, miou))
        if epoch == 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        train(params, dataset, tmp_path / "model", stop_after_two)
    assert [epoch for epoch, _ in epochs] == [1, 2]
    assert all(0 <= miou <= 1 for _, miou in epochs)
    assert not (tmp_path / "model").exists()


def encoder_of(artifact: Path) -> dict[str, np.ndarray]:
    """The encoder's weights and statistics."""
    weights = load_file(artifact / "weights.safetensors")
    return {name: value for name, value in weights.items() if name.startswith("network.encoder.")}


def test_a_frozen_encoder_keeps_weights_and_statistics_until_its_last_layers_train(
    on_encoder: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    torch.manual_seed(on_encoder.train.seed)
    start = {
        f"network.encoder.{name}": value.numpy()
        for name, value in build_model(on_encoder.model, len(dataset.labels.categories))
        .encoder.state_dict()
        .items()
    }
    frozen = on_encoder.override({"train.epochs": 1, "train.freeze_epochs": 1})
    after = encoder_of(train(frozen, dataset, tmp_path / "frozen").artifact)
    assert all((after[name] == start[name]).all() for name in start)

    staged = on_encoder.override(
        {"train.epochs": 2, "train.freeze_epochs": 1, "train.unfreeze": 0.1}
    )
    after = encoder_of(train(staged, dataset, tmp_path / "staged").artifact)
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in start))
    changed = {name.rpartition(".")[0] for name in start if (after[name] != start[name]).any()}
    assert changed == set(layers[-len(changed) :]), "the last layers"
    assert 0 < len(changed) <= 0.11 * len(layers) + 1


def test_freezing_changes_the_mode_of_frozen_layers_only(on_encoder: Params) -> None:
    model = build_model(on_encoder.model, 3).eval()
    freeze_encoder(model, 0)
    assert not any(layer.training for layer in model.modules())
    model.train()
    freeze_encoder(model, 1)
    in_eval = {layer for layer in model.modules() if not layer.training}
    assert in_eval <= set(model.encoder.modules())
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


def test_training_starts_from_a_registered_model_and_records_its_version(
    params: Params, dataset: PreparedDataset, tmp_path: Path, trained: Trained
) -> None:
    evaluation = read_evaluation(trained.evaluation)
    start = params.override({"registry.model_name": "start"})
    register(trained.artifact, evaluation, Verdict(True, []), start)
    further = params.override(
        {
            "model.init_from": "models:/start@challenger",
            "train.epochs": 1,
            "train.learning_rate": 1e-12,
        }
    )
    result = train(further, dataset, tmp_path / "further")
    before, after = (
        load_file(path / "weights.safetensors") for path in (trained.artifact, result.artifact)
    )
    for name, weights in before.items():
        if "running" not in name and "tracked" not in name:
            np.testing.assert_allclose(after[name], weights, atol=1e-6, err_msg=name)
    run = connect(params.registry).get_run(result.run_id)
    assert run.data.params["model.init_from"] == "models:/start/1"
    assert read_config(result.artifact)["params"]["model"]["init_from"] == "models:/start/1"
    assert read_trained_on(result.artifact) == read_trained_on(trained.artifact)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"model.architecture": "UNet2015"}, "is a MiniUnet: set model.architecture"),
        ({"model.init_from": "nowhere"}, "nowhere holds no model artifact"),
        ({"model.init_from": "models:/nobody@champion"}, "no model 'nobody' with alias"),
    ],
)
def test_a_model_that_cannot_be_started_from_is_named(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    trained: Trained,
    model: dict[str, str],
    message: str,
) -> None:
    recipe = params.override({"model.init_from": str(trained.artifact), **model})
    with pytest.raises(StreetsegError, match=message):
        train(recipe, dataset, tmp_path / "model")


def test_a_size_that_a_network_cannot_take_is_an_error_before_anything_is_trained(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    recipe = params.override({"model.architecture": "PAN", "model.encoder": "resnet18"})
    recipe = recipe.override({"model.encoder_weights": "none"})
    with pytest.raises(StreetsegError, match=r"cannot take frames of 64x128 .* choose another"):
        train(recipe, dataset, tmp_path / "model")


def test_one_frame_is_too_few_where_batches_are_normalised(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    recipe = params.override({"model.architecture": "DeepLabV3Plus", "train.batch_size": 1})
    with pytest.raises(StreetsegError, match=r"train\.batch_size=1 is too small"):
        train(recipe, dataset, tmp_path / "model")


def relabelled(dataset: PreparedDataset, copy: Path, split: str) -> PreparedDataset:
    """A copy of a dataset whose index says that no pixel of a split is in a category but void."""
    shutil.copytree(dataset.path, copy)
    index = pd.read_parquet(copy / INDEX)
    names = [f"pixels_{name}" for name in dataset.labels.names if name != "void"]
    index.loc[index["split"] == split, names] = 0
    index.to_parquet(copy / INDEX, index=False)
    return PreparedDataset(copy)


def test_frames_without_a_labelled_pixel_are_an_error_before_anything_is_trained_or_scored(
    params: Params, dataset: PreparedDataset, trained: Trained, tmp_path: Path
) -> None:
    recipe = params.override({"registry.tracking_uri": f"sqlite:///{tmp_path / 'new.db'}"})
    void = relabelled(dataset, tmp_path / "train-void", "train")
    with pytest.raises(StreetsegError, match=r"no pixel of the 14 frames to train on is labelled"):
        train(recipe, void, tmp_path / "model")
    assert not (tmp_path / "new.db").exists()
    void = relabelled(dataset, tmp_path / "val-void", "val")
    with pytest.raises(StreetsegError, match=r"no pixel of the 4 frames to evaluate on is"):
        evaluate(trained.artifact, void, params, tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()


def test_freezing_a_network_without_an_encoder_is_refused(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    recipe = params.override({"model.architecture": "MiniUnet", "model.encoder_weights": "none"})
    with pytest.raises(StreetsegError, match=r"train\.freeze_epochs .* networks with an encoder"):
        train(recipe.override({"train.freeze_epochs": 1}), dataset, tmp_path / "model")


def test_weights_that_are_not_finite_are_not_saved(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def diverge(state: TrainingState, settings: Train) -> None:
        next(state.model.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr("streetseg.training.train.optimizer_step", diverge)
    recipe = params.override({"train.checkpoint_minutes": 0})
    with pytest.raises(StreetsegError, match="weights are no longer finite in epoch 1 after batch"):
        train(recipe, dataset, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_system_is_not_reported_as_one_of_mlflow(
    params: Params, dataset: PreparedDataset
) -> None:
    with (
        pytest.raises(OSError, match=r"^Too many open files$"),
        training_run(params, dataset) as run,
    ):
        raise OSError("Too many open files")
    assert connect(params.registry).get_run(run.id).info.status == "FAILED"


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"train.batch_size": 4}, r"4: try 2 with train\.accumulation_steps=2"),
        (
            {"train.batch_size": 5, "train.accumulation_steps": 3},
            r"5: try 2 with train\.accumulation_steps=8",
        ),
        ({"train.batch_size": 1}, "1: choose a smaller network"),
    ],
)
def test_out_of_memory_suggests_half_the_batch(
    params: Params,
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, int],
    advice: str,
) -> None:
    def exhausted(*arguments: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("streetseg.training.train.segmentation_loss", exhausted)
    with pytest.raises(StreetsegError, match=rf"out of memory with train\.batch_size={advice}"):
        train(params.override(settings), dataset, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("batch_size", "processes", "advice"),
    [(10, 2, r"try 4 with train\.accumulation_steps=3"), (8, 8, "choose a smaller network")],
)
def test_the_suggested_batch_can_be_divided_among_the_processes(
    batch_size: int, processes: int, advice: str
) -> None:
    with (
        pytest.raises(StreetsegError, match=advice),
        translate_torch_errors(Train(batch_size=batch_size), processes),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_folder_that_is_no_model_is_refused_before_anything_is_trained(
    params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "today.txt").touch()
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    recipe = params.override({"registry.tracking_uri": store})
    with pytest.raises(StreetsegError, match=r"notes exists and holds no config\.json"):
        train(recipe, dataset, tmp_path / "notes")
    assert not (tmp_path / "mlflow.db").exists()
