"""The components as YAML, for pipelines of others."""

from __future__ import annotations

import re
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import yaml
from kfp.compiler import Compiler
from kfp.components import load_component_from_file
from mlflow import MlflowClient

from pipelines.component_files import all_components, compile_components
from pipelines.local.run import run_locally
from streetseg.config.cluster import SECRETS_OF
from streetseg.config.overrides import format_overrides
from streetseg.config.params import Params
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import PreparedDataset, data_version
from tests.support.repositories import fill_remote

COMMITTED = REPOSITORY / "components/yaml"
PAGE = REPOSITORY / "docs/components.md"
NAMES = ("segmenter-north", "segmenter-south")


def test_every_step_of_the_pipelines_is_a_component() -> None:
    assert all_components().keys() == SECRETS_OF.keys()


def test_the_yaml_in_the_repository_is_current(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").write_text("")
    compile_components(tmp_path)
    current = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in COMMITTED.iterdir()} == current, (
        "env -u STREETSEG_IMAGE python -m pipelines.component_files compile"
    )


@pytest.mark.parametrize("name", sorted(SECRETS_OF))
def test_kubeflow_loads_each_with_its_image(name: str) -> None:
    loaded = load_component_from_file(str(COMMITTED / f"{name}.yaml"))
    ours = all_components()[name].component_spec
    assert loaded.name == name
    assert (loaded.component_spec.inputs or {}).keys() == (ours.inputs or {}).keys()
    assert loaded.component_spec.implementation.container.image == (
        ours.implementation.container.image
    )


def test_the_page_names_every_component() -> None:
    described = PAGE.read_text().split("|---|---|---|---|")[1].split("\n\n")[0]
    first = [row.split("|")[1] for row in described.strip().splitlines()]
    assert {*re.findall(r"`([\w-]+)`", " ".join(first))} == SECRETS_OF.keys()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The pipeline of the page."""
    monkeypatch.chdir(REPOSITORY)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "two_sources.py").write_text(code)
    return run_path(str(tmp_path / "two_sources.py"))["two_sources"]


def test_the_pipeline_of_the_page_compiles(example: Any, tmp_path: Path) -> None:
    Compiler().compile(example, str(tmp_path / "two.yaml"))
    spec = next(yaml.safe_load_all((tmp_path / "two.yaml").read_text()))
    tasks = spec["root"]["dag"]["tasks"].keys()
    steps = ("configure", "fetch", "validate", "train", "evaluate", "register")
    assert tasks == {f"{step}{number}" for step in steps for number in ("", "-2")}


@pytest.mark.slow
def test_the_pipeline_of_the_page_registers_two_models(
    example: Any, params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    fill_remote(tmp_path / "remote", dataset.path)
    version, store = data_version(dataset.path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    settings = {
        "data.remote": str(tmp_path / "remote"),
        "registry.tracking_uri": store,
        "model.architecture": params.model.architecture,
        "model.encoder_weights": "none",
        "train.epochs": 1,
        "train.batch_size": 4,
        "gate.miou_floor": 0.001,
        "gate.allow_never_predicted": dataset.labels.names,
        "validate.min_frames": {"train": 1, "val": 1},
    }
    arguments = {"north": version, "south": version, "overrides": format_overrides(settings)}
    done = run_locally(example, arguments, tmp_path / "run", print)
    assert done.succeeded, done.error
    client = MlflowClient(store)
    for name in NAMES:
        registered = client.get_model_version(name, "1")
        assert registered.tags["data_version"] == version
