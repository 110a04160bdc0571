"""A registered model runs under MLflow where streetseg is not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mlflow
import numpy as np
import pytest

import streetseg
from streetseg.config.params import Registry
from streetseg.registry.register import log_model
from streetseg.registry.versions import download
from streetseg.tracking.store import connect
from tests.conftest import Trained

ELSEWHERE = """
import importlib.util
import sys
from pathlib import Path

sys.path = [path for path in sys.path if not (Path(path) / "streetseg" / "__init__.py").exists()]
sys.meta_path = [each for each in sys.meta_path if "editable" not in str(each).lower()]
spec = importlib.util.find_spec("streetseg")  # without origin: data files of an editable install
if spec and spec.origin:
    sys.exit(f"streetseg is here: {spec.origin}")
import mlflow.pyfunc
import numpy as np

folder, image, mask = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
np.save(mask, model.predict(np.load(image)))
import streetseg.inference

assert Path(streetseg.inference.__file__).is_relative_to(folder), streetseg.inference.__file__
"""


@pytest.fixture(scope="module")
def registry(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("portable")
    registry = Registry(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", model_name="portable")
    client = connect(registry, create=True)
    experiment = client.create_experiment("e", artifact_location=(folder / "files").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        mlflow.register_model(log_model(trained.artifact, None), "portable")
    return registry


@pytest.fixture(scope="module")
def stored(registry: Registry) -> Path:
    """The files of the version, as MLflow has them."""
    return download("models:/portable/1", registry).parent.parent


@pytest.fixture
def images(registry: Registry) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (2, 64, 128, 3), np.uint8)


def expected(images: np.ndarray, registry: Registry) -> np.ndarray:
    model = streetseg.load("models:/portable/1", registry)
    return np.stack([model.predict(image) for image in images])


def test_it_runs_from_its_own_code(
    stored: Path, registry: Registry, images: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "image.npy", images)
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(stored)]
    command += [str(tmp_path / "image.npy"), str(tmp_path / "mask.npy")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy"), expected(images, registry))


def test_its_requirements_are_those_of_inference_at_the_installed_versions(stored: Path) -> None:
    required = (stored / "requirements.txt").read_text().split()
    names = {"mlflow", "numpy", "onnxruntime", "opencv-python-headless", "pydantic", "pyyaml"}
    assert set(required) == {f"{name}=={metadata.version(name)}" for name in names | {"rich"}}


def test_its_code_is_small_and_takes_no_part_where_streetseg_is_installed(
    stored: Path, registry: Registry, images: np.ndarray
) -> None:
    code = [path for path in (stored / "code").rglob("*") if path.is_file()]
    sources = [path for path in code if path.suffix != ".pyc"]
    assert len(sources) < 30, "an artifact store takes a request for each"
    assert sum(path.stat().st_size for path in sources) < 200_000
    model = mlflow.pyfunc.load_model(str(stored))
    np.testing.assert_array_equal(model.predict(images), expected(images, registry))
    own = Path(streetseg.__file__).parent
    for name, module in list(sys.modules.items()):
        if name.startswith("streetseg.") and getattr(module, "__file__", None):
            assert Path(module.__file__).is_relative_to(own), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")
def test_mlflow_rebuilds_its_environment_with_uv(
    registry: Registry, images: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "input.json").write_text(json.dumps({"inputs": images.tolist()}))
    command = ["mlflow", "models", "predict", "--model-uri", "models:/portable/1"]
    command += ["--env-manager", "uv", "--input-path", "input.json", "--output-path", "output.json"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["MLFLOW_TRACKING_URI"] = str(registry.tracking_uri)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    predicted = json.loads((tmp_path / "output.json").read_text())["predictions"]
    np.testing.assert_array_equal(np.array(predicted), expected(images, registry))
