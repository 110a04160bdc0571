"""The scheduled pipeline: it trains if the data has changed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from mlflow import MlflowClient

from components import component
from pipelines.local.run import run_locally
from pipelines.pods import StepSetup
from pipelines.scheduled import scheduled_pipeline
from streetseg.config.overrides import format_overrides
from streetseg.config.params import Params
from tests.support.repositories import commit_data, git

DATA = f"{'1' * 32}.dir"


@component
def train_on(data_version: str, store: str) -> None:
    """Leave in MLflow what a training with a closed gate leaves."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.create_experiment("streetseg")
    run = client.create_run(experiment, tags={"data_version": data_version, "gate": "failed"})
    client.set_terminated(run.info.run_id)


def training(set_up: StepSetup) -> Any:
    """A training pipeline of one step."""

    @dsl.pipeline(name="training")
    def training_pipeline(
        data_version: str, store: str = "", overrides: str = "", recipe: str = "default"
    ) -> None:
        """Train.

        Args:
            data_version: of the data.
            store: of MLflow.
            overrides: settings.
            recipe: of settings.
        """
        set_up(train_on(data_version=data_version, store=store))

    return training_pipeline


@pytest.mark.slow
def test_ticks_on_this_machine_train_once_for_each_data_version(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit_data(tmp_path, DATA, "the first frames")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    settings = {"registry.tracking_uri": store, "data.repository": str(tmp_path)}
    MlflowClient(store)
    arguments = {
        "data_version": "main",
        "store": store,
        "overrides": format_overrides(settings),
        "recipe": "default",
    }

    def tick() -> list[str]:
        done = run_locally(scheduled_pipeline(training), arguments, tmp_path / "runs", print)
        assert done.succeeded, done.error
        return list(done.tasks)

    assert tick() == ["data-changed", "train-on"]
    assert tick() == ["data-changed"]


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> dict:
    from kfp import compiler

    from pipelines.training import training_pipeline

    path = tmp_path_factory.mktemp("compiled") / "scheduled.yaml"
    compiler.Compiler().compile(scheduled_pipeline(training_pipeline), str(path))
    return next(yaml.safe_load_all(path.read_text()))


def test_every_scheduled_step_depends_on_the_data(scheduled: dict) -> None:
    tasks = scheduled["root"]["dag"]["tasks"]
    check, condition = tasks.pop("data-changed"), tasks.pop("condition-1")
    assert tasks == {}
    assert check["cachingOptions"] == {}
    assert condition["triggerPolicy"]["condition"] == (
        "inputs.parameter_values['pipelinechannel--data-changed-Output'] != ''"
    )
    (inside,) = scheduled["components"][condition["componentRef"]["name"]]["dag"]["tasks"].values()
    assert inside["taskInfo"]["name"] == "street-segmentation-training"
    inputs = inside["inputs"]["parameters"]
    assert inputs.pop("data_version") == {
        "componentInputParameter": "pipelinechannel--data-changed-Output"
    }
    assert inputs == {
        name: {"componentInputParameter": f"pipelinechannel--{name}"} for name in inputs
    }
    training = scheduled["components"][inside["componentRef"]["name"]]
    assert training["inputDefinitions"]["parameters"].keys() == {"data_version", *inputs}
    assert "train" in training["dag"]["tasks"]


def test_a_schedule_and_a_run_take_the_same_parameters(scheduled: dict) -> None:
    inputs = scheduled["root"]["inputDefinitions"]["parameters"]
    assert all(entry["description"] for entry in inputs.values())
    assert inputs["data_version"]["defaultValue"] == "main"


def test_data_has_changed_if_no_training_with_it_was_completed(tmp_path: Path) -> None:
    from components.data_changed import data_changed

    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit_data(tmp_path, DATA, "the first frames")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    settings = {"registry.tracking_uri": store, "data.repository": str(tmp_path)}

    def ask(version: str) -> str:
        return data_changed.python_func(version, "default", settings)

    assert ask("main") == DATA
    client = MlflowClient(store)
    experiment = client.create_experiment(Params().registry.experiment)
    for status, tags in [
        ("FINISHED", {"data_version": f"{'2' * 32}.dir", "gate": "failed"}),
        ("FAILED", {"data_version": DATA}),
        ("FINISHED", {"data_version": DATA, "gate": "failed", "mlflow.parentRunId": "0" * 32}),
        ("FINISHED", {"data_version": DATA}),  # its evaluation failed
        ("FINISHED", {"data_version": DATA, "gate": "passed"}),  # its registration did
    ]:
        run = client.create_run(experiment, tags=tags)
        client.set_terminated(run.info.run_id, status)
        assert ask("main") == DATA
    client.create_registered_model("street-segmenter")
    version = client.create_model_version("street-segmenter", "model", run.info.run_id)
    assert ask("main") == ""
    client.delete_model_version("street-segmenter", version.version)
    assert ask("main") == DATA
    client.set_tag(run.info.run_id, "gate", "failed")
    assert ask(DATA) == ""
    commit_data(tmp_path, f"{'3' * 32}.dir", "more frames")
    assert ask("main") == f"{'3' * 32}.dir"
    with pytest.raises(SystemExit, match=r"no data version in dvc\.lock"):
        data_changed.python_func("no-such-branch", "default", settings)
