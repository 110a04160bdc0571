"""Runs and experiments that were deleted or purged, and stores that never had them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from kfp.dsl import Artifact, ClassificationMetrics, Metrics, Model
from mlflow import MlflowClient

import components.evaluate
import components.register
from components.runs.facts import facts_in
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset, data_version
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import read_evaluation
from streetseg.inference.artifact import read_config
from streetseg.registry.compare_versions import VersionDiff
from streetseg.registry.lineage import trace
from streetseg.registry.local_copies import copy_model, read_version_info
from streetseg.registry.promotion import history, promote
from streetseg.registry.register import register
from streetseg.registry.versions import ModelVersion, versions
from streetseg.serving.champion_follower import ChampionFollower
from streetseg.tracking.read import read_runs, trained_on
from streetseg.tracking.results import record_evaluation, record_verdict
from streetseg.tracking.store import connect, restore_command
from streetseg.training.train import train
from tests.conftest import Command, Trained


@pytest.fixture
def recipe(params: Params, tmp_path: Path) -> Params:
    """A store that knows nothing of the trained model yet."""
    return params.override(
        {
            "registry.tracking_uri": f"sqlite:///{tmp_path / 'other.db'}",
            "serve.cache": str(tmp_path / "serving"),
        }
    )


@pytest.fixture
def add(recipe: Params, trained: Trained) -> Callable[[], ModelVersion]:
    """Register the trained model from its folders."""

    def registered() -> ModelVersion:
        evaluation = read_evaluation(trained.evaluation)
        return register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)

    return registered


def run_command(command: str, store: str) -> None:
    """Run a command as a message gives it, perhaps with a variable in front."""
    words = shlex.split(command)
    subprocess.run(
        ["env", f"MLFLOW_TRACKING_URI={store}", *words], check=True, capture_output=True, text=True
    )


def purge(recipe: Params, run_id: str) -> MlflowClient:
    """Delete a run for good."""
    client, store = connect(recipe.registry), str(recipe.registry.tracking_uri)
    client.delete_run(run_id)
    run_command(f"mlflow gc --backend-store-uri {store} --run-ids {run_id}", store)
    return client


def test_a_model_registers_from_its_folders_into_another_store(
    recipe: Params,
    add: Callable[[], ModelVersion],
    trained: Trained,
    dataset: PreparedDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = add()
    assert f"has no run {trained.run_id}, which trained the model" in capsys.readouterr().err
    assert version.run_id != trained.run_id
    assert version.tags["original_run"] == trained.run_id
    result = trace(recipe, trained.run_id)
    assert [each.uri for each in result.versions] == [version.uri]
    assert [each.id for each in result.runs] == [version.run_id]
    assert version.tags["source"] == "cityscapes"
    assert version.tags["data_version"] == dataset.version
    (run,) = read_runs(recipe.registry)
    evaluation = read_evaluation(trained.evaluation)
    assert (run.id, run.status, run.data_version) == (version.run_id, "finished", dataset.version)
    assert run.scores["miou"] == pytest.approx(evaluation.scores.miou)
    assert run.settings["train.epochs"] == str(recipe.train.epochs)
    assert run.evaluation["split"] == "val"
    assert trained_on(recipe.registry, dataset.version) == version.run_id

    assert add() == version
    assert add().version == "1"
    assert len(read_runs(recipe.registry)) == 1


def test_without_its_run_a_version_is_served_copied_compared_and_traced(
    recipe: Params,
    add: Callable[[], ModelVersion],
    trained: Trained,
    dataset: PreparedDataset,
    tmp_path: Path,
    streetseg: Command,
    caplog: pytest.LogCaptureFixture,
) -> None:
    version = add()
    promote(recipe.registry)
    purge(recipe, version.run_id)

    follower = ChampionFollower(recipe)
    follower.poll()
    assert follower.problem == ""
    assert follower.current is not None
    info = follower.current.info.to_dict()
    assert (info["version"], info["run_gone"], info["metrics"]) == ("1", True, {})
    assert info["data_version"] == dataset.version
    assert f"its run {version.run_id} is gone from MLflow" in caplog.text
    served = follower.current
    follower.poll()
    assert follower.current is served, "it is not loaded again"

    name = recipe.registry.model_name
    copy = copy_model(f"models:/{name}@champion", recipe.registry, tmp_path / "copy")
    assert read_version_info(copy).run_gone
    assert [each.version for each in versions(recipe.registry)] == ["1"]
    assert [move.after for move in history(recipe.registry)] == ["1"]
    assert add().version == "1", "it is registered already"

    difference = VersionDiff(recipe.registry, "1", "champion")
    assert f"run {version.run_id[:8]} is gone from MLflow" in (difference.comparison.warning or "")
    miou = float(version.tags["miou"])
    assert difference.scores()["mIoU"] == [miou, miou]
    assert difference.comparison.settings == {}

    for subject in ("1", version.run_id):
        result = trace(recipe, subject)
        assert (result.runs, result.data_version) == ([], dataset.version)
        assert [each.version for each in result.versions] == ["1"]
    settings = tmp_path / "params.yaml"
    settings.write_text(json.dumps({"registry": recipe.registry.model_dump()}))
    traced = streetseg("trace", "1", "--params", settings)
    assert f"{version.run_id} is gone from MLflow" in traced.stdout


def test_a_version_copied_without_its_run_is_described_by_its_artifact(
    recipe: Params,
    add: Callable[[], ModelVersion],
    trained: Trained,
    dataset: PreparedDataset,
    tmp_path: Path,
) -> None:
    add()
    client = connect(recipe.registry)
    stored = client.get_model_version_download_uri(recipe.registry.model_name, "1")
    for _ in range(2):
        mlflow.register_model(stored, "copied")
    client.set_registered_model_alias("copied", "champion", "1")
    other = recipe.override({"registry.model_name": "copied"})
    info = read_version_info(copy_model("models:/copied/1", other.registry, tmp_path / "copy"))
    config = read_config(trained.artifact)
    assert (info.run_id, info.run_gone) == (trained.run_id, True)
    assert (info.data_version, info.git_revision) == (dataset.version, config["git_revision"])
    assert trace(other, "1").data_version == dataset.version
    assert VersionDiff(other.registry, "1", "2").comparison.warning

    follower = ChampionFollower(other)
    follower.poll()
    client.delete_registered_model("copied")
    mlflow.register_model(stored, "copied")
    client.set_registered_model_alias("copied", "champion", "1")
    first = follower.current
    follower.poll()
    assert follower.problem == ""
    assert follower.current is not first, "another version of the same number"


def test_evaluation_verdict_and_registration_outlive_a_deleted_run(
    recipe: Params,
    add: Callable[[], ModelVersion],
    trained: Trained,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluation = read_evaluation(trained.evaluation)
    verdict = judge(evaluation, recipe.gate)
    record_evaluation(recipe.registry, evaluation, trained.evaluation, trained.artifact)
    (first,) = read_runs(recipe.registry)
    client = connect(recipe.registry)
    client.delete_run(first.id)
    capsys.readouterr()

    record_verdict(recipe.registry, evaluation, verdict)
    assert "warning: the verdict is not recorded: " in capsys.readouterr().err
    record_evaluation(recipe.registry, evaluation, trained.evaluation, trained.artifact)
    record_verdict(recipe.registry, evaluation, verdict)
    (second,) = read_runs(recipe.registry)
    assert second.id != first.id
    assert client.get_run(second.id).data.tags["gate"] == "passed"
    assert add().run_id == second.id


def test_the_way_back_to_a_deleted_run_is_told(
    recipe: Params, trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = connect(recipe.registry, create=True)
    run_id = client.create_run(client.create_experiment(recipe.registry.experiment)).info.run_id
    artifact = shutil.copytree(trained.artifact, tmp_path / "model")
    (artifact / "config.json").write_text(json.dumps(read_config(artifact) | {"run_id": run_id}))
    evaluation = replace(read_evaluation(trained.evaluation), run_id=run_id)
    client.delete_run(run_id)
    record_evaluation(recipe.registry, evaluation, trained.evaluation, artifact)
    told = re.search(r"'(MLFLOW_TRACKING_URI=[^']*)' brings it back", capfd.readouterr().err)
    assert told
    run_command(told[1], str(recipe.registry.tracking_uri))
    version = register(artifact, evaluation, judge(evaluation, recipe.gate), recipe)
    assert version.run_id == run_id
    assert "original_run" not in version.tags


def test_a_deleted_experiment_is_named_with_the_way_back(
    recipe: Params,
    dataset: PreparedDataset,
    trained: Trained,
    add: Callable[[], ModelVersion],
    tmp_path: Path,
) -> None:
    version = add()
    evaluation = read_evaluation(trained.evaluation)
    client = connect(recipe.registry)
    experiment = client.get_experiment_by_name(recipe.registry.experiment)
    client.delete_experiment(experiment.experiment_id)
    for act in (
        lambda: train(recipe.override({"train.epochs": 1}), dataset, tmp_path / "model"),
        lambda: read_runs(recipe.registry),
        lambda: trained_on(recipe.registry, dataset.version),
        lambda: record_evaluation(
            recipe.registry, evaluation, trained.evaluation, trained.artifact
        ),
    ):
        with pytest.raises(StreetsegError, match=r"experiment 'streetseg' in .* is deleted") as e:
            act()
        assert "\n" not in str(e.value)
        assert "or set registry.experiment to another name" in str(e.value)
    elsewhere = recipe.override({"registry.experiment": "another"}).registry
    record_evaluation(elsewhere, evaluation, trained.evaluation, trained.artifact)
    assert len(read_runs(elsewhere)) == 1
    told = re.search(r"bring it back with '([^']*)'", str(e.value))
    assert told
    run_command(told[1], "sqlite:///nowhere.db")
    assert add() == version


def test_a_pipeline_with_the_cached_training_of_a_deleted_run_goes_on(
    recipe: Params,
    dataset: PreparedDataset,
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def steps() -> str:
        """The steps after training, on the outputs that the cache keeps."""
        scored = tmp_path / "scored"
        outcome = components.evaluate.evaluate.python_func(
            model=Model(uri=str(trained.artifact)),
            dataset=Artifact(uri=str(dataset.path)),
            settings=recipe.to_dict(),
            evaluation=Artifact(uri=str(scored)),
            metrics=Metrics(uri=str(tmp_path / "metrics")),
            confusion=ClassificationMetrics(uri=str(tmp_path / "confusion")),
            report=Artifact(uri=str(tmp_path / "report.html")),
            verdict=Artifact(uri=str(tmp_path / "verdict.md")),
        )
        assert outcome.passed, outcome.reasons
        return components.register.register.python_func(
            model=Model(uri=str(trained.artifact)),
            evaluation=Artifact(uri=str(scored)),
            settings=recipe.to_dict(),
            pipeline_run="run-1",
            pipeline_run_id="",
        ).version

    assert steps() == "1"
    (first,) = read_runs(recipe.registry)
    told = facts_in(capsys.readouterr().out.splitlines())
    assert (told["gate"], told["version"]) == ("open", f"{recipe.registry.model_name} 1")
    assert told["data_version"] == data_version(dataset.path)
    scored = read_evaluation(tmp_path / "scored")
    assert told["scores"]["miou"] == pytest.approx(scored.scores.miou, abs=1e-6)
    client = connect(recipe.registry)
    client.delete_registered_model(recipe.registry.model_name)
    client.delete_run(first.id)
    assert steps() == "1"
    (second,) = versions(recipe.registry)
    assert second.run_id != first.id
    assert client.get_run(second.run_id).data.tags["gate"] == "passed"


def test_a_store_with_options_is_quoted_for_the_shell() -> None:
    client = SimpleNamespace(tracking_uri="sqlite:///a b.db?timeout=60&x=1")
    command = restore_command(client, "runs restore --run-id 1")  # type: ignore[arg-type]
    variable, *words = shlex.split(command.removeprefix("'").removesuffix("'"))
    assert variable == "MLFLOW_TRACKING_URI=sqlite:///a b.db?timeout=60&x=1"
    assert words == ["mlflow", "runs", "restore", "--run-id", "1"]
