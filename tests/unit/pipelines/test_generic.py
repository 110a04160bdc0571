"""The pipelines beside the training: compiled, submitted, and run on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kfp.dsl import Model
from mlflow import MlflowClient
from typer.testing import CliRunner

from components.fetch_model import fetch_model
from pipelines.batch import batch_pipeline
from pipelines.batch_parts import batch_parts_pipeline
from pipelines.cli.generic import main, read_inputs
from pipelines.cli.training import app
from pipelines.cross_evaluation import cross_evaluation_pipeline
from pipelines.evaluation import evaluation_pipeline
from pipelines.local.run import LocalRun, run_locally
from pipelines.pods import PipelineFactory, no_pods
from pipelines.prepare import prepare_pipeline
from pipelines.tune import tune_pipeline
from streetseg.config.overrides import format_overrides, parse_overrides
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset, data_version
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import read_evaluation
from streetseg.images.encode import encode_png
from streetseg.registry.promotion import promote
from streetseg.registry.register import register
from streetseg.tracking.read import trained_on
from streetseg.tracking.results import record_evaluation
from streetseg.tracking.store import connect
from tests.conftest import Trained
from tests.support.evaluations import evaluation_with
from tests.support.kfp_api import NAMESPACE, TOKEN, FakeKubeflow
from tests.support.repositories import fill_remote

NAME = "in-pipelines"
CHAMPION = f"models:/{NAME}@champion"
PIPELINES = {
    "batch": batch_pipeline,
    "evaluation": evaluation_pipeline,
    "prepare": prepare_pipeline,
    "batch_parts": batch_parts_pipeline,
    "cross_evaluation": cross_evaluation_pipeline,
    "tune": tune_pipeline,
}


@pytest.fixture(scope="module")
def champion(params: Params, trained: Trained) -> Params:
    """A recipe whose registered model has version 1, the champion, scored by its training."""
    recipe = params.override({"registry.model_name": NAME})
    evaluation = read_evaluation(trained.evaluation)
    register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)
    promote(recipe.registry, None, "the only one")
    scored = evaluation_with(trained.run_id, miou=0.5)
    record_evaluation(recipe.registry, scored, trained.evaluation, trained.artifact)
    return recipe


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images, and one that is none."""
    root = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        pixels = rng.integers(0, 255, (64, 128, 3), np.uint8)
        (root / f"{name}.png").write_bytes(encode_png(pixels))
    (root / "bad.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def remote(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A DVC remote with the dataset, and its data version."""
    root = tmp_path_factory.mktemp("remote")
    fill_remote(root, dataset.path)
    version = data_version(dataset.path)
    listing = root / "files" / "md5" / version[:2] / version[2:]
    assert listing.is_file()
    return str(root), version


@dataclass(frozen=True)
class Run:
    """A run on this machine that has ended."""

    done: LocalRun

    def metadata(self, name: str) -> dict[str, Any]:
        return self.done.outputs[name].metadata


@pytest.fixture(scope="module")
def run(champion: Params, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    def start(pipeline: Any, **inputs: Any) -> Run:
        store = {"registry.tracking_uri": champion.registry.tracking_uri}
        overrides = {**store, "registry.model_name": NAME, **inputs.pop("overrides", {})}
        folder = tmp_path_factory.mktemp("run")
        arguments = {"model": CHAMPION, "overrides": format_overrides(overrides), **inputs}
        return Run(run_locally(pipeline, arguments, folder, [].append))

    return start


def test_a_folder_is_segmented_into_an_artifact(run: Callable[..., Run], frames: Path) -> None:
    finished = run(batch_pipeline(), images=str(frames))
    assert finished.done.succeeded, finished.done.error
    assert list(finished.done.tasks) == ["fetch-model", "segment"]
    assert finished.done.outputs["model"] == f"models:/{NAME}/1"
    masks = Path(finished.done.outputs["masks"].path)
    assert sorted(path.name for path in masks.iterdir()) == [
        "a.png_mask.png",
        "b.png_mask.png",
        "c.png_mask.png",
        "summary.csv",
        "summary.json",
    ]
    model = json.loads((masks / "summary.json").read_text())["model"]
    assert (model["name"], model["version"]) == (NAME, "1")
    assert finished.metadata("masks")["registered"] == f"models:/{NAME}/1"
    metrics = finished.metadata("metrics")
    assert (metrics["images"], metrics["images failed"]) == (4, 1)
    assert min(metrics) == "images", "the UI sorts them"
    assert len(metrics) == 10
    assert sum(v for k, v in metrics.items() if k.startswith("share of")) == pytest.approx(1)
    page = Path(finished.done.outputs["report"].path).read_text()
    assert page.count("data:image/jpeg") == 3
    assert "bad.png" in page


def test_a_mistake_ends_a_run_with_one_line(
    run: Callable[..., Run], champion: Params, tmp_path: Path
) -> None:
    wrong = run(batch_pipeline(), images=str(tmp_path))
    assert not wrong.done.succeeded
    assert wrong.done.error.startswith(f"{tmp_path} holds no images")
    store = {"registry.tracking_uri": champion.registry.tracking_uri}
    artifact = Model(uri=str(tmp_path / "model"))
    with pytest.raises(SystemExit, match=f"error: .* no model '{NAME}' with version '7'"):
        fetch_model.python_func(f"models:/{NAME}/7", "default", store, artifact)


@pytest.mark.slow
def test_a_version_is_scored_in_a_run_of_its_own(
    run: Callable[..., Run], champion: Params, trained: Trained, remote: tuple[str, str]
) -> None:
    address, version = remote
    client = connect(champion.registry)
    before = client.get_run(trained.run_id).to_dictionary()
    data = {"data.remote": address, "evaluate.tta": ["flip"]}
    finished = run(evaluation_pipeline(), data_version=version, overrides=data)
    assert finished.done.succeeded, finished.done.error
    assert set(finished.done.tasks) == {"configure", "fetch-model", "fetch", "validate", "evaluate"}

    scores = json.loads(
        (Path(finished.done.outputs["evaluation"].path) / "evaluation.json").read_text()
    )
    assert (scores["data_version"], scores["split"]) == (version, "val")
    assert client.get_run(trained.run_id).to_dictionary() == before, "what it was registered with"
    (scored,) = _scorings(client, champion)
    assert scored.info.run_name == f"{NAME} 1 on {version[:8]}"
    assert scored.info.status == "FINISHED"
    assert scored.data.metrics["val/miou"] == pytest.approx(scores["miou"], abs=1e-6)
    expected = {
        "model_name": NAME,
        "model_version": "1",
        "model_run": trained.run_id,
        "scored_on": version,
        "split": "val",
    }
    assert expected.items() <= scored.data.tags.items()
    files = {entry.path for entry in client.list_artifacts(scored.info.run_id, "evaluation")}
    assert {"evaluation/evaluation.json", "evaluation/report.html"} <= files


def test_scoring_does_not_count_as_training(champion: Params, dataset: PreparedDataset) -> None:
    """A schedule would otherwise take data that was scored on for data that was trained on."""
    from streetseg.tracking.results import record_scoring

    assert trained_on(champion.registry, "9" * 32) is None
    scored = replace(evaluation_with("1", miou=0.1), data_version="9" * 32)
    record_scoring(champion.registry, f"models:/{NAME}/1", scored, dataset.path / "val")
    assert trained_on(champion.registry, "9" * 32) is None


def _scorings(client: MlflowClient, params: Params) -> list[Any]:
    experiment = client.get_experiment_by_name(f"{params.registry.experiment}-evaluation")
    assert experiment
    return list(client.search_runs([experiment.experiment_id]))


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Call the command line of a pipeline; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(factory: PipelineFactory, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main(factory)
        assert ended.value.code in (0, None), ended.value.code
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("factory", PIPELINES.values(), ids=PIPELINES)
def test_every_input_has_a_description(call: Callable[..., str], factory: PipelineFactory) -> None:
    printed = call(factory, "compile", "--out", "pipeline.yaml")
    assert printed.startswith("pipeline.yaml: components run on the image")
    compiled = next(yaml.safe_load_all(Path("pipeline.yaml").read_text()))
    assert compiled["pipelineInfo"]["name"] == factory(no_pods).name
    assert compiled["pipelineInfo"]["description"]
    inputs = compiled["root"]["inputDefinitions"]["parameters"]
    assert all(entry["description"] for entry in inputs.values())
    required = [name for name, entry in inputs.items() if "defaultValue" not in entry]
    assert len(required) == 1
    help_text = " ".join(call(factory, "run", "--help").split())
    for name in inputs.keys() - {"overrides"}:
        assert f"{name}=..." in help_text


@pytest.mark.slow
def test_a_run_resumes_at_its_destination(
    call: Callable[..., str], run: Callable[..., Run], champion: Params, frames: Path
) -> None:
    store = f"registry.tracking_uri={champion.registry.tracking_uri}"
    arguments = (f"images={frames}", "output=masks", f"model={CHAMPION}")
    printed = call(batch_pipeline, "run", *arguments, "--set", store, "--folder", "out")
    assert f"model: models:/{NAME}/1" in printed
    assert len(list(Path("masks").glob("*_mask.png"))) == 3

    where = str(Path("masks").resolve())
    again = run(batch_pipeline(), images=str(frames), output=where)
    left = Path(again.done.outputs["masks"].path)
    assert {path.name for path in left.iterdir()} == {"summary.csv", "summary.json"}
    assert again.metadata("masks")["destination"] == where
    assert "frames_per_second" not in again.metadata("metrics"), "nothing was left to do"


@pytest.mark.slow
def test_parts_of_a_batch_make_one_table_and_one_page(
    call: Callable[..., str], champion: Params, frames: Path
) -> None:
    store = f"registry.tracking_uri={champion.registry.tracking_uri}"
    arguments = (f"images={frames}", "output=masks", "parts=2", f"model={CHAMPION}")
    printed = call(batch_parts_pipeline, "run", *arguments, "--set", store, "--folder", "out")
    assert f"model: models:/{NAME}/1" in printed
    left = {path.name for path in Path("masks").iterdir()}
    assert left == {"summary.csv", "summary.json", *(f"{n}.png_mask.png" for n in "abc")}
    assert json.loads(Path("masks/summary.json").read_text())["failed"] == 1
    (page,) = Path("out").rglob("report")
    assert page.read_text().count("data:image/jpeg") == 3


@pytest.mark.slow
def test_workers_search_together(
    params: Params, remote: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    address, version = remote
    settings = {
        "data.remote": address,
        "registry.tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "model.architecture": params.model.architecture,
        "model.encoder_weights": "none",
        "train.epochs": 1,
        "train.batch_size": 4,
        "tune.trials": 2,
        "tune.space": {"train.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}},
    }
    arguments = {
        "data_version": version,
        "overrides": format_overrides(settings),
        "workers": 2,
    }
    done = run_locally(tune_pipeline(), arguments, tmp_path / "run", print)
    assert done.succeeded, done.error
    assert 1e-5 <= parse_overrides([done.outputs["best"]])["train.learning_rate"] <= 1e-2
    assert "2 trials" in Path(done.outputs["report"].path).read_text()
    assert (tmp_path / "run/studies.db").is_file()


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubeflow]:
    server = FakeKubeflow()
    monkeypatch.setenv("KFP_ENDPOINT", server.url)
    monkeypatch.setenv("KFP_NAMESPACE", NAMESPACE)
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    yield server
    server.close()


def test_a_pipeline_is_submitted_with_its_inputs(
    call: Callable[..., str], kubeflow: FakeKubeflow
) -> None:
    arguments = ("images=s3://frames/drive", "--set", "serve.max_megapixels=80")
    printed = call(batch_pipeline, "submit", *arguments)
    (pipeline,) = kubeflow.pipelines.values()
    assert pipeline["name"] == "street-segmentation-batch"
    (run,) = kubeflow.runs.values()
    assert run["runtime_config"]["parameters"] == {
        "images": "s3://frames/drive",
        "overrides": "serve.max_megapixels=80",
    }
    assert f"run {run['run_id']}: " in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"needs images=\.\.\.: Folder, or prefix"),
        (["image=x"], "has no input 'image': did you mean 'images'"),
        (["source=x"], "the input 'source' is now called 'images'"),
        (["frames"], "'frames': write an input as name=value"),
        (["images=x", "--set", "serve.max_megapixel=1"], "did you mean 'max_megapixels'"),
    ],
)
def test_a_wrong_input_is_found_at_once(arguments: list[str], message: str) -> None:
    sets = arguments[arguments.index("--set") + 1 :] if "--set" in arguments else []
    with pytest.raises(StreetsegError, match=message):
        read_inputs(batch_pipeline(), arguments[:1], parse_overrides(sets))


@pytest.mark.parametrize("option", [["--gpus"], ["--network", "host"]])
def test_options_of_containers_need_the_docker_runner(option: list[str]) -> None:
    done = CliRunner().invoke(app, ["run", *option])
    assert done.exit_code == 2
    assert "--runner docker" in done.output
