"""Registries, models, data and evaluations of release 0.1.0 still work."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from starlette.testclient import TestClient

import streetseg
from streetseg.config.params import Params, load_params
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.evaluate import evaluate
from streetseg.images.encode import encode_png
from streetseg.registry.champion import find_champion
from streetseg.registry.promotion import history, promote, rollback
from streetseg.registry.versions import find, locate, versions
from streetseg.tracking.read import read_runs
from streetseg.tracking.store import connect
from tests.conftest import Command

RELEASE = Path(__file__).parents[1] / "data" / "release_0_1_0" / "release.tar.xz"
PATHS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
    "datasets": "dataset_source",
}
"""Columns of MLflow's database with absolute paths, below ``/release`` in the archive."""
CHAMPION = "models:/street-segmenter@champion"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The files of the release."""
    with tarfile.open(RELEASE) as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        for table, column in PATHS.items():
            replace = f"UPDATE {table} SET {column} = replace({column}, '/release', ?)"
            database.execute(replace, [str(tmp_path)])
    return tmp_path


@pytest.fixture
def params(release: Path) -> Params:
    return load_params(
        overrides={
            "data.prepared": str(release / "prepared"),
            "prepare.size": [32, 64],
            "gate.miou_floor": 0.001,
            "gate.against_champion": False,
            "registry.tracking_uri": f"sqlite:///{release / 'mlflow.db'}",
            "serve.cache": str(release / "serving"),
        }
    )


@pytest.fixture
def dataset(params: Params) -> PreparedDataset:
    return PreparedDataset(params.data.prepared)


@pytest.fixture
def client(params: Params, release: Path) -> Iterator[TestClient]:
    """The service, in this process."""
    (release / "params.yaml").write_text(yaml.safe_dump(params.to_dict()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREETSEG_PARAMS", str(release / "params.yaml"))
        sys.modules.pop("service", None)
        service = importlib.import_module("service")
        with TestClient(service.StreetSegmenter.to_asgi()) as http:
            yield http


def test_its_champion_loads_and_mlflow_runs_it(params: Params, dataset: PreparedDataset) -> None:
    image = np.array(dataset.image(0))
    model = streetseg.load(CHAMPION, params.registry)
    mask = model.predict(image)
    assert mask.shape == image.shape[:2]
    assert len(np.unique(mask)) > 1
    assert len(model.labels.categories) == 8
    by_mlflow = mlflow.pyfunc.load_model(CHAMPION)
    np.testing.assert_array_equal(by_mlflow.predict(image[None])[0], mask)


def test_its_versions_are_promoted_and_rolled_back_in_one_history(params: Params) -> None:
    registry = params.registry
    assert [each.title for each in versions(registry)] == [
        "2 (challenger, champion)",
        "1 (previous)",
    ]
    assert rollback(registry, "as before").version == "1"
    assert promote(registry, reason="again").version == "2"
    assert find(connect(registry), "street-segmenter", "previous").version == "1"
    moves = history(registry)
    assert [(move.before, move.after, move.action) for move in moves] == [
        (None, "1", "promote"),
        ("1", "2", "promote"),
        ("2", "1", "rollback"),
        ("1", "2", "promote"),
    ]
    assert [move.reason for move in moves] == ["the first", "better", "as before", "again"]


def test_its_champion_scores_as_it_did(
    params: Params, dataset: PreparedDataset, release: Path
) -> None:
    recorded = json.loads((release / "evaluation" / "evaluation.json").read_text())
    _, artifact = locate("models:/street-segmenter/1", params.registry)
    champion = find_champion(params.registry)
    result = evaluate(artifact, dataset, params, release / "new", champion).to_dict()
    assert result["data_version"] == recorded["data_version"] == dataset.version
    for score in ("miou", "miou_official"):
        assert result["champion"][score] == pytest.approx(recorded[score], abs=1e-3)
        assert result[score] == pytest.approx(recorded["champion"][score], abs=1e-3)


def test_its_evaluation_is_judged(streetseg: Command, params: Params, release: Path) -> None:
    (release / "params.yaml").write_text(yaml.safe_dump(params.to_dict()))
    judge = ("gate", "--evaluation", release / "evaluation")
    closed = streetseg(*judge, cwd=release)
    assert closed.stdout.startswith("# Gate closed")
    assert "never predicts" in closed.stdout, "a condition that release 0.1.0 did not have"
    allowed = "gate.allow_never_predicted=[flat,construction,object,nature,sky,human,vehicle]"
    done = streetseg(*judge, "--set", allowed, cwd=release)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Gate open")


def test_its_champion_is_served(client: TestClient, dataset: PreparedDataset) -> None:
    image = encode_png(np.array(dataset.image(0)))
    answer = client.post("/segment", files={"image": ("frame.png", image, "image/png")})
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Model-Version"] == "2"
    model = client.get("/model").json()
    assert model["aliases"] == ["challenger", "champion"]
    assert model["data_version"] == dataset.version


def test_its_settings_have_todays_names(params: Params) -> None:
    version = find(connect(params.registry), "street-segmenter", "champion")
    settings = json.loads(version.tags["settings"])
    assert settings["warmup_fraction"] == 0.2
    assert settings["loss"]["class_weight_power"] == 0.5
    assert "warmup" not in settings
    (run,) = read_runs(params.registry, [version.run_id])
    assert run.settings["train.warmup_fraction"] == "0.2"
    assert run.settings["train.loss.class_weight_power"] == "0.5"
