"""The registry fails: its server is away, or its store takes no files.

A real server, killed for real or behind a proxy that breaks in the middle of a request.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from mlflow import MlflowClient

from streetseg.config.params import Params
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.artifact import weights_sha256
from streetseg.registry.champion import find_champion
from streetseg.registry.promotion import history, promote, rollback
from streetseg.registry.register import register
from streetseg.registry.versions import ModelVersion, find, versions
from streetseg.tracking.store import connect
from streetseg.training.train import TrainedModel, train
from tests.conftest import Trained
from tests.support.mlflow_server import BreakableProxy, KillableServer, proxy_of
from tests.unit.training.test_distributed import torchrun

pytestmark = pytest.mark.slow

EPOCHS = 3
PASSED = Verdict(True, [])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableServer]:
    killable = KillableServer(tmp_path_factory.mktemp("registry"))
    killable.start()
    try:
        killable.wait()
        yield killable
    finally:
        killable.kill()


@pytest.fixture
def proxy(server: KillableServer) -> Iterator[BreakableProxy]:
    with proxy_of(server) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries twice, without a pause."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@pytest.fixture
def recipe(params: Params, proxy: BreakableProxy, request: pytest.FixtureRequest) -> Params:
    """A small network, logged and registered over the proxy under names of the test's own."""
    tree = params.to_dict()
    tree["model"] = {"architecture": "MiniUnet", "encoder_weights": "none"}
    tree["train"] |= {"epochs": EPOCHS, "checkpoint_minutes": 999}
    name = re.sub(r"\W+", "-", request.node.name)
    tree["registry"] |= {"tracking_uri": proxy.url, "model_name": name, "experiment": name}
    return Params.model_validate(tree)


@pytest.fixture
def artifact(recipe: Params, trained: Trained, tmp_path: Path) -> Path:
    """The trained model, as if a run on this server had trained it."""
    client = connect(recipe.registry)
    experiment = client.create_experiment(recipe.registry.experiment)
    run = client.create_run(experiment, tags={"source": "cityscapes"})
    client.set_terminated(run.info.run_id)
    copy = shutil.copytree(trained.artifact, tmp_path / "model")
    config = json.loads((copy / "config.json").read_text()) | {"run_id": run.info.run_id}
    (copy / "config.json").write_text(json.dumps(config))
    return copy


@pytest.fixture
def evaluated(artifact: Path, trained: Trained, tmp_path: Path) -> Path:
    """The evaluation of the model, of the same run."""
    copy = shutil.copytree(trained.evaluation, tmp_path / "evaluation")
    run_id = json.loads((artifact / "config.json").read_text())["run_id"]
    scores = json.loads((copy / "evaluation.json").read_text()) | {"run_id": run_id}
    (copy / "evaluation.json").write_text(json.dumps(scores))
    return copy


@pytest.fixture
def evaluation(evaluated: Path) -> Evaluation:
    return read_evaluation(evaluated)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def the_only_version(recipe: Params, artifact: Path) -> ModelVersion:
    """The version of the registry, which has all that it should have."""
    (version,) = versions(recipe.registry)
    assert version.aliases == ["challenger"]
    assert version.tags["weights_sha256"] == weights_sha256(artifact)
    assert version.tags["source"] == "cityscapes"
    stored = connect(recipe.registry).get_model_version(version.name, version.version)
    assert "cityscapes" in stored.description, "the model card"
    return version


def no_version(recipe: Params) -> bool:
    client = connect(recipe.registry)
    return not client.search_model_versions(f"name = '{recipe.registry.model_name}'")


def streetseg(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streetseg", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_whose_registry_is_away_is_kept_and_registered_later(
    recipe: Params, proxy: BreakableProxy, artifact: Path, evaluated: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "params.yaml"
    settings.write_text(yaml.safe_dump(recipe.to_dict()))
    command = ["register", "--params", settings, "--model", artifact]
    command += ["--evaluation", evaluated]
    before = content(artifact)

    proxy.broken = True
    away = streetseg(*command)
    assert proxy.dropped == 2, "tried once more"
    assert away.returncode == 1
    *_, last = away.stderr.splitlines()
    failed = f"error: cannot register {recipe.registry.model_name}: "
    assert last.startswith(f"{failed}cannot reach the MLflow store {proxy.url}: ")
    assert f"the model is kept in {artifact}: run 'streetseg register' again" in last
    assert "Traceback" not in away.stderr
    assert content(artifact) == before

    proxy.repair()
    for _ in range(2):
        back = streetseg(*command)
        output = f"{recipe.registry.model_name} version 1: challenger\n"
        assert back.stdout.endswith(output), back.stderr
    the_only_version(recipe, artifact)


@pytest.mark.parametrize(
    "request_of",
    [
        "/runs/set-tag",
        "weights.safetensors",
        "/model-versions/create",
        "/logged-models/",
        "/registered-models/alias",
        "/model-versions/update",
    ],
)
def test_a_registration_that_broke_off_is_completed_by_the_next(
    recipe: Params, proxy: BreakableProxy, artifact: Path, evaluation: Evaluation, request_of: str
) -> None:
    proxy.breaks_at = request_of
    with pytest.raises(StreetsegError, match="run 'streetseg register' again once this is fixed"):
        register(artifact, evaluation, PASSED, recipe)
    assert proxy.dropped >= 2
    proxy.repair()
    first = register(artifact, evaluation, PASSED, recipe)
    second = register(artifact, evaluation, PASSED, recipe)
    assert first == second == the_only_version(recipe, artifact)
    assert connect(recipe.registry).get_run(first.run_id).info.status == "FINISHED"


def test_a_request_that_was_repeated_because_its_answer_was_lost_makes_no_second_version(
    recipe: Params, proxy: BreakableProxy, artifact: Path, evaluation: Evaluation
) -> None:
    proxy.loses = "/model-versions/create"
    registered = register(artifact, evaluation, PASSED, recipe)
    assert proxy.loses is None
    assert registered == the_only_version(recipe, artifact)


def test_a_champion_that_cannot_be_looked_up_is_not_taken_for_none(
    recipe: Params, proxy: BreakableProxy
) -> None:
    assert find_champion(recipe.registry) is None, "there is no such model"
    connect(recipe.registry).create_registered_model(recipe.registry.model_name)
    assert find_champion(recipe.registry) is None, "the model has no champion"
    proxy.breaks_at = "/registered-models/alias"
    with pytest.raises(StreetsegError, match="cannot look up alias 'champion' of") as caught:
        find_champion(recipe.registry)
    assert "\n" not in str(caught.value)


@pytest.fixture
def promoted(recipe: Params) -> Params:
    """Three empty versions, of which the second is the champion and the first the one before."""
    client, name = connect(recipe.registry), recipe.registry.model_name
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, "s3://models/none", tags={"gate": "passed"})
    promote(recipe.registry, "1")
    promote(recipe.registry, "2")
    return recipe


def repaired(proxy: BreakableProxy, name: str) -> None:
    """Repair the proxy, and remove the lock that the promotion could not delete."""
    proxy.repair()
    MlflowClient(proxy.url).delete_registered_model(f"{name} is being promoted")


def test_a_promotion_that_broke_off_leaves_champion_and_way_back(
    promoted: Params, proxy: BreakableProxy
) -> None:
    registry, name = promoted.registry, promoted.registry.model_name
    proxy.breaks_at = '"champion"'
    with pytest.raises(StreetsegError, match=f"cannot promote {name}: "):
        promote(registry, "3")
    repaired(proxy, name)
    client = connect(registry)
    assert find(client, name, "champion").version == "2"
    assert find(client, name, "previous").version == "1"
    assert rollback(registry).version == "1"


def test_a_promotion_that_broke_off_after_the_champion_says_so_and_is_in_the_history(
    promoted: Params, proxy: BreakableProxy
) -> None:
    registry, name = promoted.registry, promoted.registry.model_name
    proxy.breaks_at = '"previous"'
    message = (
        f"version 3 of {name} is the champion, but the alias 'previous' is not set to version 2"
    )
    with pytest.raises(StreetsegError, match=message):
        promote(registry, "3")
    repaired(proxy, name)
    assert find(connect(registry), name, "champion").version == "3"
    last = history(registry)[-1]
    assert (last.before, last.after, last.action) == ("2", "3", "promote")


@contextmanager
def read_only(store: Path) -> Iterator[None]:
    """A file where the store was: nobody, not even root, can write below it."""
    aside = store.rename(store.with_name("aside"))
    store.touch()
    try:
        yield
    finally:
        store.unlink()
        aside.rename(store)


@contextmanager
def full(store: Path) -> Iterator[None]:
    """A file system of half a megabyte over the store."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", store]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system takes root, and a container that may mount")
    try:
        yield
    finally:
        subprocess.run(["umount", store], check=True)


@pytest.mark.parametrize("fault", [read_only, full])
def test_a_store_that_takes_no_files_is_named_and_nothing_is_registered(
    recipe: Params, server: KillableServer, artifact: Path, evaluation: Evaluation, fault: Callable
) -> None:
    with fault(server.store):
        with pytest.raises(StreetsegError) as caught:
            register(artifact, evaluation, PASSED, recipe)
        message = str(caught.value)
        assert message.startswith("cannot store files in mlflow-artifacts:/")
        assert f"of {recipe.registry.tracking_uri}, nothing is registered: " in message
        assert f"the model is kept in {artifact}: run 'streetseg register' again" in message
        assert "\n" not in message
        assert no_version(recipe)
    register(artifact, evaluation, PASSED, recipe)
    the_only_version(recipe, artifact)


def epochs_of(run_id: str, recipe: Params) -> list[int]:
    """The epochs of which the run has points."""
    history = connect(recipe.registry).get_metric_history(run_id, "held-out/miou")
    return [point.step for point in history]


@pytest.fixture(scope="module")
def undisturbed(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> TrainedModel:
    """The same training with a registry that is always there."""
    tree = params.to_dict()
    tree["model"] = {"architecture": "MiniUnet", "encoder_weights": "none"}
    tree["train"] |= {"epochs": EPOCHS}
    recipe = Params.model_validate(tree)
    return train(recipe, dataset, tmp_path_factory.mktemp("undisturbed") / "model")


def test_a_server_that_starts_again_during_a_training_is_waited_for(
    recipe: Params,
    dataset: PreparedDataset,
    server: KillableServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "8")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    recipe = recipe.override({"registry.tracking_uri": server.url})

    def restart(epoch: int, miou: float) -> None:
        if epoch == 1:
            server.kill()
            server.start()

    trained = train(recipe, dataset, tmp_path / "model", restart)
    server.wait()
    assert epochs_of(trained.run_id, recipe) == [1, 2, 3]
    assert connect(recipe.registry).get_run(trained.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    "request_of",
    ["held-out/miou", "/epoch_001.png", "held-out/miou_best"],
    ids=["points", "picture", "end"],
)
def test_a_training_whose_registry_stays_away_goes_on_later_without_a_loss(
    recipe: Params,
    dataset: PreparedDataset,
    proxy: BreakableProxy,
    undisturbed: TrainedModel,
    tmp_path: Path,
    request_of: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy.breaks_at = request_of
    with pytest.raises(StoppedError) as caught:
        train(recipe, dataset, tmp_path / "model")
    checkpoint = tmp_path / "model.checkpoint"
    assert str(caught.value).endswith(f": run the same command to resume from {checkpoint}")
    assert proxy.url.removeprefix("http://127.0.0.1:") in str(caught.value)
    assert "\n" not in str(caught.value)
    stored = torch.load(checkpoint, weights_only=True)
    last = request_of == "held-out/miou_best"
    assert (stored["epoch"], stored["step"] > 0) == ((EPOCHS + 1, False) if last else (1, True))

    proxy.repair()
    resumed = train(recipe, dataset, tmp_path / "model")
    assert "resuming in epoch" in capsys.readouterr().err
    assert resumed.run_id == stored["run_id"]
    assert set(epochs_of(resumed.run_id, recipe)) == {1, 2, 3}
    assert resumed.selection_miou == undisturbed.selection_miou
    assert weights_sha256(resumed.artifact) == weights_sha256(undisturbed.artifact)
    client = connect(recipe.registry)
    assert client.get_run(resumed.run_id).info.status == "FINISHED"
    assert client.list_artifacts(resumed.run_id, "predictions")
    assert not checkpoint.exists()


def test_a_run_that_cannot_be_closed_costs_no_model(
    recipe: Params,
    dataset: PreparedDataset,
    proxy: BreakableProxy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy.breaks_at = '"FINISHED"'
    trained = train(recipe.override({"train.epochs": 1}), dataset, tmp_path / "model")
    assert (trained.artifact / "model.onnx").is_file()
    assert "the run is still open in MLflow, not FINISHED: " in capsys.readouterr().err


def test_processes_that_train_together_stop_together_when_the_registry_is_away(
    recipe: Params, dataset: PreparedDataset, proxy: BreakableProxy, tmp_path: Path
) -> None:
    settings = tmp_path / "params.yaml"
    settings.write_text(yaml.safe_dump(recipe.to_dict()))
    proxy.breaks_at = "held-out/miou"
    running = torchrun(2, settings, tmp_path / "model")
    _, output = running.communicate()
    assert running.returncode != 0
    assert f"to resume from {tmp_path / 'model.checkpoint'}" in output
    stored = torch.load(tmp_path / "model.checkpoint", weights_only=True)
    assert len(stored["random"]) == 2, "of both"
