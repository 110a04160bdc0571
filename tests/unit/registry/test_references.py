"""Names of models, and addresses of registries, as people write them."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

import streetseg
from streetseg.config.params import Params, Registry
from streetseg.core.errors import StreetsegError
from streetseg.registry.local_copies import copy_model
from streetseg.registry.promotion import history, promote
from streetseg.registry.register import log_model
from streetseg.registry.versions import find, find_uri, locate, resolve_alias, versions
from streetseg.tracking.store import absolute_store, connect, sqlite_path
from tests.conftest import Trained

NAME = "named"


@pytest.fixture(scope="module")
def store(
    params: Params, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Registry, MlflowClient, list[str]]:
    """Two versions of the session's model, of which the *second* has the alias "1"."""
    folder = tmp_path_factory.mktemp("references")
    registry = Registry(tracking_uri=f"sqlite:///{folder}/mlflow.db?timeout=30", model_name=NAME)
    client = connect(registry, create=True)
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
    client.create_experiment("e", artifact_location=(folder / "mlartifacts").as_uri())
    return registry, client, []


@pytest.fixture(scope="module")
def registered(
    store: tuple[Registry, MlflowClient, list[str]], trained: Trained
) -> tuple[Registry, MlflowClient, list[str]]:
    _, client, logged = store
    for _ in range(2):
        with mlflow.start_run(experiment_id=client.get_experiment_by_name("e").experiment_id):
            logged.append(log_model(trained.artifact, None))
        mlflow.register_model(logged[-1], NAME)
    client.set_registered_model_alias(NAME, "1", "2")
    client.set_registered_model_alias(NAME, "champion", "1")
    return store


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("1", "1"),
        ("2", "2"),
        ("champion", "1"),
        (f"models:/{NAME}/1", "1"),
        (f"models:/{NAME}@1", "2"),
        (f"models:/{NAME}@champion", "1"),
        (f"models:/{NAME}/latest", "2"),
        ("the first logged model", "1"),
    ],
)
def test_each_reference_leads_to_its_version(
    registered: tuple[Registry, MlflowClient, list[str]], reference: str, number: str
) -> None:
    registry, client, logged = registered
    reference = reference.replace("the first logged model", logged[0])
    if not reference.startswith("models:/"):
        assert find(client, NAME, reference).version == number
        return
    assert find_uri(client, reference).version == number
    assert resolve_alias(reference, registry) == f"models:/{NAME}/{number}"
    assert locate(reference, registry)[0] == f"models:/{NAME}/{number}"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (f"models:/{NAME}", f"names no version: write models:/{NAME}@champion, models:/{NAME}/3"),
        (f"models:/m-{'0' * 32}", "has no version of 'models:/m-000"),
        (f"models:/{NAME}/7", "with version '7'"),
        (f"models:/{NAME}@7", "with alias '7'"),
        (f"models:/{NAME}/Production", "with alias 'Production'"),
        (
            f"runs:/{'0' * 32}/model",
            "is a file of a run, not a version: write models:/NAME/VERSION",
        ),
        (f"{NAME}@champion", f"a registered model is models:/{NAME}@champion"),
        (f"{NAME}/3", f"there is no folder '{NAME}/3': a registered model is models:/{NAME}/3"),
    ],
)
def test_what_names_no_version_is_one_true_line(
    registered: tuple[Registry, MlflowClient, list[str]],
    reference: str,
    message: str,
    tmp_path: Path,
) -> None:
    registry, _, _ = registered
    for act in (
        lambda: streetseg.load(reference, registry),
        lambda: resolve_alias(reference, registry),
        lambda: copy_model(reference, registry, tmp_path / "copy"),
    ):
        with pytest.raises(StreetsegError) as caught:
            act()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("uri", "path", "absolute"),
    [
        ("sqlite:///a.db", "a.db", "sqlite:///{here}/a.db"),
        ("sqlite:////b/a.db?timeout=9", "/b/a.db", "sqlite:////b/a.db?timeout=9"),
        ("sqlite:///a.db?timeout=9", "a.db", "sqlite:///{here}/a.db?timeout=9"),
        ("sqlite+pysqlite:///a.db", "a.db", "sqlite+pysqlite:///{here}/a.db"),
        (
            "sqlite:///file:a.db?mode=ro&uri=true",
            "a.db",
            "sqlite:///file:{here}/a.db?mode=ro&uri=true",
        ),
        ("http://mlflow:5000", None, "http://mlflow:5000"),
    ],
)
def test_the_file_of_an_sqlite_store_is_found_whatever_its_options(
    uri: str, path: str | None, absolute: str
) -> None:
    assert sqlite_path(uri) == (None if path is None else Path(path))
    assert absolute_store(uri) == absolute.format(here=Path.cwd())


def test_a_database_that_is_read_only_is_read_and_says_so_where_it_is_written(
    registered: tuple[Registry, MlflowClient, list[str]],
) -> None:
    registry, _, _ = registered
    database = sqlite_path(str(registry.tracking_uri))
    reader = Registry(tracking_uri=f"sqlite:///file:{database}?mode=ro&uri=true", model_name=NAME)
    assert [each.version for each in versions(reader)] == ["2", "1"]
    assert history(reader)[-1].after == "1"
    assert locate(f"models:/{NAME}@champion", reader)[0] == f"models:/{NAME}/1"
    with pytest.raises(StreetsegError) as caught:
        promote(reader, "2", "needed", force=True)
    assert str(caught.value) == f"cannot promote {NAME}: attempt to write a readonly database"
    connect(registry)


def test_a_store_of_files_is_told_how_to_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tracking_uri=(tmp_path / "mlruns").as_uri(), model_name=NAME)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(StreetsegError, match=r"is a folder of files, .*'mlflow migrate-filestore'"):
        versions(registry)


def test_a_store_of_files_that_is_allowed_shows_the_same_aliases_in_lists_and_look_ups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    registry = Registry(tracking_uri=(tmp_path / "mlruns").as_uri(), model_name=NAME)
    client = connect(registry)
    client.create_registered_model(NAME)
    client.create_model_version(NAME, "outputs/model")
    client.set_registered_model_alias(NAME, "champion", "1")
    (listed,) = versions(registry)
    assert listed.aliases == find(client, NAME, "champion").aliases == ["champion"]
