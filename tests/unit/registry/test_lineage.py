"""From a model to its data and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import read_evaluation
from streetseg.registry.compare_versions import VersionDiff
from streetseg.registry.lineage import list_files, trace
from streetseg.registry.register import register
from streetseg.registry.versions import ModelVersion
from streetseg.tracking.store import connect
from streetseg.training.train import train
from tests.conftest import Command, Trained
from tests.support.evaluations import evaluation_with
from tests.support.repositories import commit_data, git

NAME = "traced"


@pytest.fixture(scope="module")
def repository(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits: the data of the test, other data, and nothing new."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit_data(folder, dataset.version, "the first data")
    git(folder, "tag", "v1")
    commit_data(folder, f"{'0' * 32}.dir", "other data")
    git(folder, "branch", "later")
    commit_data(folder, f"{'0' * 32}.dir", "only code")
    return folder


@pytest.fixture(scope="module")
def recipe(params: Params, repository: Path) -> Params:
    return params.override({"registry.model_name": NAME, "data.repository": str(repository)})


@pytest.fixture(scope="module")
def version(recipe: Params, trained: Trained) -> ModelVersion:
    evaluation = read_evaluation(trained.evaluation)
    return register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)


@pytest.fixture(scope="module")
def again(
    recipe: Params,
    dataset: PreparedDataset,
    version: ModelVersion,
    tmp_path_factory: pytest.TempPathFactory,
) -> ModelVersion:
    """The same training once more, registered as the second version."""
    root = tmp_path_factory.mktemp("again")
    model = train(recipe, dataset, root / "model")
    evaluation = evaluate(model.artifact, dataset, recipe, root / "evaluation")
    return register(model.artifact, evaluation, judge(evaluation, recipe.gate), recipe)


@pytest.mark.parametrize(
    "subject",
    [
        "1",
        "challenger",
        f"models:/{NAME}/1",
        f"models:/{NAME}@challenger",
        "the run's id",
        "the first letters of the run's id",
    ],
)
def test_whatever_names_a_model_leads_to_its_run_and_its_data(
    recipe: Params, dataset: PreparedDataset, version: ModelVersion, subject: str
) -> None:
    ids = {"the run's id": version.run_id, "the first letters of the run's id": version.run_id[:9]}
    result = trace(recipe, ids.get(subject, subject))
    (run,) = result.runs
    assert run.id == version.run_id
    assert run.git_revision == version.tags["git_revision"]
    assert (run.source, run.frames) == ("cityscapes", {"train": 16, "val": 4})
    assert result.data_version == run.data_version == dataset.version
    assert f"{NAME} 1" in {f"{each.name} {each.version}" for each in result.versions}


def test_digits_at_the_beginning_of_a_run_id_are_no_version(recipe: Params) -> None:
    with pytest.raises(StreetsegError, match="no run has the name '0961109' or an id that begins"):
        trace(recipe, "0961109")


def test_the_commit_that_brought_the_data_is_named_with_branches_and_tags(
    recipe: Params, repository: Path, version: ModelVersion
) -> None:
    result = trace(recipe, "1")
    (commit,) = result.commits
    assert commit.commit == git(repository, "rev-parse", "v1")
    assert (commit.subject, commit.source, commit.root) == (
        "the first data",
        "cityscapes",
        "data/raw",
    )
    assert result.names == ["v1"]


def test_without_a_repository_the_rest_is_told(
    recipe: Params, version: ModelVersion, tmp_path: Path
) -> None:
    result = trace(recipe.override({"data.repository": str(tmp_path)}), "1")
    assert (result.commits, result.names) == ([], [])
    assert result.runs


def test_data_that_no_model_was_trained_on_leads_to_its_commit(recipe: Params) -> None:
    result = trace(recipe, f"{'0' * 32}.dir")
    assert (result.runs, result.versions) == ([], [])
    assert [commit.subject for commit in result.commits] == ["other data"]
    assert result.names == ["later", "main"]


def test_data_leads_to_every_run_and_version_that_was_trained_on_it(
    recipe: Params, dataset: PreparedDataset, version: ModelVersion, again: ModelVersion
) -> None:
    result = trace(recipe, dataset.version)
    assert {version.run_id, again.run_id} <= {run.id for run in result.runs}
    assert {f"{NAME} 1", f"{NAME} 2"} <= {f"{each.name} {each.version}" for each in result.versions}


def test_the_same_data_settings_and_seed_give_the_same_weights(
    recipe: Params, trained: Trained, version: ModelVersion, again: ModelVersion
) -> None:
    assert version.run_id != again.run_id
    assert version.tags["weights_sha256"] == again.tags["weights_sha256"]
    weights = (trained.artifact / "weights.safetensors").read_bytes()
    assert version.tags["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    first, second = VersionDiff(recipe.registry, "1", "2").origins()["weights_sha256"]
    assert first == second


def test_two_versions_side_by_side(
    recipe: Params, version: ModelVersion, again: ModelVersion, trained: Trained
) -> None:
    from streetseg.tracking.results import record_evaluation

    client = connect(recipe.registry)
    for run_id, miou, iou_sky in ((version.run_id, 0.25, 0.5), (again.run_id, 0.5, 0.25)):
        scored = evaluation_with(run_id, miou=miou, iou_sky=iou_sky)
        record_evaluation(recipe.registry, scored, trained.evaluation, trained.artifact)
    other = client.create_run(client.get_run(version.run_id).info.experiment_id)
    client.log_param(other.info.run_id, "train.epochs", 7)
    source = client.get_model_version(NAME, "1").source
    client.create_model_version(NAME, source, run_id=other.info.run_id)

    difference = VersionDiff(recipe.registry, "1", "challenger")
    assert difference.scores()["mIoU"] == [0.25, 0.5]
    assert difference.scores()["IoU sky"] == [0.5, 0.25]
    assert difference.comparison.settings == {}
    third = VersionDiff(recipe.registry, "1", "3")
    assert third.comparison.settings["train.epochs"] == ["3", "7"]
    assert third.origins()["recipe"] == ["default", None]
    assert third.scores()["mIoU"] == [0.25, None]


def test_a_version_whose_run_is_gone_still_leads_to_its_data(
    recipe: Params, dataset: PreparedDataset, version: ModelVersion
) -> None:
    client = connect(recipe.registry)
    client.create_registered_model("orphan")
    tags = {"data_version": dataset.version}
    source = client.get_model_version(NAME, "1").source
    client.create_model_version("orphan", source, run_id="0" * 32, tags=tags)
    result = trace(recipe, "models:/orphan/1")
    assert result.runs == []
    assert result.data_version == dataset.version
    assert result.commits


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("99", "no model 'traced' with version '99'"),
        ("models:/nobody/1", "no model 'nobody' with version '1'"),
        ("first-try", "no run has the name 'first-try'"),
        (f"{'f' * 32}.dir", "nothing is known of data version"),
        ("f" * 32, f"knows run {'f' * 32} neither as a run nor"),
    ],
)
def test_what_is_not_known_is_one_clear_line(
    recipe: Params, version: ModelVersion, subject: str, message: str
) -> None:
    with pytest.raises(StreetsegError, match=message) as caught:
        trace(recipe, subject)
    assert "\n" not in str(caught.value)


def test_the_frames_of_a_version_are_listed(recipe: Params, dataset: PreparedDataset) -> None:
    frames = list_files(recipe.data, dataset.version)
    assert len(frames) == 20
    assert all((recipe.data.root / path).is_file() for path in frames["image"])
    assert all((recipe.data.root / path).is_file() for path in frames["label"])


def test_frames_of_data_that_is_nowhere_are_one_clear_line(recipe: Params, tmp_path: Path) -> None:
    data = recipe.override({"data.remote": str(tmp_path)}).data
    with pytest.raises(StreetsegError, match=f"is not in {tmp_path}"):
        list_files(data, f"{'0' * 32}.dir")


def test_the_command_follows_it_all(
    streetseg: Command,
    recipe: Params,
    dataset: PreparedDataset,
    version: ModelVersion,
    tmp_path: Path,
) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(recipe.to_dict()))

    def prints(*arguments: str) -> str:
        done = streetseg(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    output = prints("trace", "1", "--files")
    for part in (
        f"{NAME} 1",
        version.run_id,
        dataset.version,
        "cityscapes: 16 train frames, 4 val frames",
        "the first data: data.source cityscapes, data.root data/raw",
        "branches and tags: v1",
    ):
        assert part in output
    assert output.count("_leftImg8bit.png") == 20
    assert "in no commit of" not in output
    elsewhere = ("--set", f"data.repository={tmp_path}")
    assert f"in no commit of {tmp_path}: data.repository names another" in prints(
        "trace", "1", *elsewhere
    )
    traced = json.loads(prints("trace", "1", "--json"))
    assert traced["data_version"] == dataset.version
    assert traced["runs"][0]["id"] == version.run_id
    assert "files" not in traced
    assert "held-out mIoU" in prints("diff", "1", "1")
    assert json.loads(prints("diff", "1", "1", "--json"))["settings"] == {}


def test_a_registry_that_refuses_is_said_and_not_taken_for_an_empty_one(
    recipe: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("no permission", PERMISSION_DENIED)

    monkeypatch.setattr(MlflowClient, "get_registered_model", refuse)
    with pytest.raises(StreetsegError, match=r"^cannot trace candidate: no permission$"):
        trace(recipe, "candidate")
