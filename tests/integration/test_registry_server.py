"""The registry of a team: an MLflow server on PostgreSQL, with its artifacts in S3.

The clients know the server's address and nothing else: neither the database nor S3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

import streetseg
from streetseg.config.params import Params, Registry
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.gate import judge
from streetseg.inference.artifact import weights_sha256
from streetseg.registry.compare_versions import VersionDiff
from streetseg.registry.lineage import trace
from streetseg.registry.model_card import CARD, DESCRIPTION_LIMIT, shorten
from streetseg.registry.promotion import MAX_REASON_LENGTH, history, promote, rollback
from streetseg.registry.register import register
from streetseg.registry.versions import ModelVersion, download, find, versions
from streetseg.tracking.results import record_evaluation
from streetseg.tracking.store import connect
from streetseg.training.train import train
from tests.conftest import Command
from tests.support.concurrent_promotions import contest
from tests.support.mlflow_server import mlflow_server

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Team:
    """A registry on the server with a trained model in it."""

    recipe: Params
    artifact: Path
    version: ModelVersion

    @property
    def registry(self) -> Registry:
        return self.recipe.registry


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def team(
    server: str,
    params: Params,
    dataset: PreparedDataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Team:
    """A model trained, scored and registered, all through the server."""
    root = tmp_path_factory.mktemp("team")
    recipe = params.override({"train.epochs": 1, "registry.tracking_uri": server})
    trained = train(recipe, dataset, root / "model")
    evaluation = evaluate(trained.artifact, dataset, recipe, root / "evaluation")
    record_evaluation(recipe.registry, evaluation, root / "evaluation", trained.artifact)
    version = register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)
    return Team(recipe, trained.artifact, version)


@pytest.fixture
def new_model(team: Team, request: pytest.FixtureRequest) -> Callable[[int], Registry]:
    """A model of the test's own, with so many empty versions that passed the gate."""

    def make(count: int) -> Registry:
        name = request.node.name
        client = connect(team.registry)
        client.create_registered_model(name)
        for _ in range(count):
            client.create_model_version(name, "s3://models/none", tags={"gate": "passed"})
        return team.registry.model_copy(update={"model_name": name})

    return make


def test_a_model_travels_through_the_server_to_s3_and_back(
    team: Team, dataset: PreparedDataset
) -> None:
    assert team.version.aliases == ["challenger"]
    model = streetseg.load("models:/street-segmenter@challenger", team.registry)
    image = np.array(dataset.image(0))
    expected = streetseg.load(str(team.artifact)).predict(image)
    np.testing.assert_array_equal(model.predict(image), expected)
    fetched = download("models:/street-segmenter/1", team.registry)
    assert weights_sha256(fetched) == team.version.tags["weights_sha256"]


def test_the_files_are_reached_through_the_server_alone(team: Team) -> None:
    run = connect(team.registry).get_run(team.version.run_id)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    paths = {each.path for each in connect(team.registry).list_artifacts(team.version.run_id)}
    assert {CARD, "evaluation", "predictions"} <= paths


def test_the_database_takes_the_longest_card_and_the_longest_reason(
    team: Team, new_model: Callable[[int], Registry]
) -> None:
    registry = new_model(1)
    client = connect(registry)
    card = shorten("Straße\n\n" * 2000)
    assert len(card) > DESCRIPTION_LIMIT - 20
    client.update_model_version(registry.model_name, "1", card)
    assert client.get_model_version(registry.model_name, "1").description == card
    reason = "ß🚋" * (MAX_REASON_LENGTH // 2)
    promote(registry, "1", reason)
    assert history(registry)[-1].reason == reason


def test_promotion_rollback_and_history(new_model: Callable[[int], Registry]) -> None:
    registry = new_model(2)
    promote(registry, "1", "first")
    promote(registry, "2", "second")
    assert rollback(registry, "back").aliases == ["champion"]
    assert [move.reason for move in history(registry)] == ["first", "second", "back"]
    assert [each.aliases for each in versions(registry)] == [["previous"], ["champion"]]


def test_an_alias_moved_in_the_ui_is_the_champion(
    server: str, new_model: Callable[[int], Registry]
) -> None:
    registry = new_model(2)
    promote(registry, "1")
    body = {"name": registry.model_name, "alias": "champion", "version": "2"}
    sent = httpx.post(f"{server}/ajax-api/2.0/mlflow/registered-models/alias", json=body)
    assert sent.status_code == 200, "the request that the page of a model sends"
    assert find(connect(registry), registry.model_name, "champion").version == "2"
    last = history(registry)[-1]
    assert (last.before, last.after, last.action) == ("1", "2", None)


def test_processes_that_promote_at_once_leave_a_history_without_a_gap(
    new_model: Callable[[int], Registry],
) -> None:
    registry = new_model(3)
    promote(registry, "1")
    contest(registry, ("1", "2"), ("3", "2"))


def test_while_someone_promotes_the_others_are_told(new_model: Callable[[int], Registry]) -> None:
    registry = new_model(1)
    lock = f"{registry.model_name} is being promoted"
    connect(registry).create_registered_model(lock, description="ben promotes version 1")
    with pytest.raises(StreetsegError, match="ben promotes version 1: wait"):
        promote(registry, "1")
    connect(registry).delete_registered_model(lock)
    assert history(registry) == []


def test_lineage_and_differences_are_told(team: Team, dataset: PreparedDataset) -> None:
    forth, back = trace(team.recipe, "1"), trace(team.recipe, dataset.version)
    assert forth.runs == back.runs
    assert forth.versions == back.versions == versions(team.registry)
    assert forth.data_version == dataset.version
    assert VersionDiff(team.registry, "1", "challenger").comparison.settings == {}


def test_the_commands_need_nothing_but_the_address(
    team: Team,
    server: str,
    streetseg: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)

    def prints(*arguments: str) -> str:
        done = streetseg(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert prints("promote", "--reason", "the first") == (
        "street-segmenter version 1 is the champion\n"
    )
    (listed,) = json.loads(prints("list", "--json"))
    assert listed["aliases"] == ["challenger", "champion"]
    assert history(team.registry)[-1].reason == "the first"
