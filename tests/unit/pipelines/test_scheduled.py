"""The scheduled pipeline: it trains if the data has changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from streetseg.config.params import Params
from tests.support.repositories import commit_data, git

DATA = f"{'1' * 32}.dir"


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> dict:
    from kfp import compiler

    from pipelines.scheduled import scheduled_pipeline
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
        "inputs.parameter_values['pipelinechannel--data-changed-changed'] == true"
    )
    (inside,) = scheduled["components"][condition["componentRef"]["name"]]["dag"]["tasks"].values()
    assert inside["taskInfo"]["name"] == "street-segmentation-training"
    inputs = inside["inputs"]["parameters"]
    assert inputs.pop("data_version") == {
        "componentInputParameter": "pipelinechannel--data-changed-data_version"
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
    from mlflow import MlflowClient

    from components.data_changed import data_changed

    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit_data(tmp_path, DATA, "the first frames")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    settings = {"registry.tracking_uri": store, "data.repository": str(tmp_path)}

    def ask(version: str) -> tuple[bool, str]:
        return tuple(data_changed.python_func(version, "default", settings))

    assert ask("main") == (True, DATA)
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
        assert ask("main") == (True, DATA)
    client.create_registered_model("street-segmenter")
    version = client.create_model_version("street-segmenter", "model", run.info.run_id)
    assert ask("main") == (False, DATA)
    client.delete_model_version("street-segmenter", version.version)
    assert ask("main") == (True, DATA)
    client.set_tag(run.info.run_id, "gate", "failed")
    assert ask(DATA) == (False, DATA)
    commit_data(tmp_path, f"{'3' * 32}.dir", "more frames")
    assert ask("main") == (True, f"{'3' * 32}.dir")
    with pytest.raises(SystemExit, match=r"no data version in dvc\.lock"):
        data_changed.python_func("no-such-branch", "default", settings)
