"""The pipeline: compiled for a cluster, and run on this machine by the demo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from streetseg.core.provenance import REPOSITORY

pytestmark = pytest.mark.slow

TINY = {
    "synth.size": "[128, 256]",
    "synth.frames": "{train: 16, val: 4}",
    "synth.cities": 2,
    "prepare.size": "[64, 128]",
    "train.epochs": 1,
    "gate.miou_floor": 0.001,
}
IMAGE = "registry.example/streetseg:1.2"
SUMMARY = {
    "data_version",
    "git_revision",
    "run_id",
    "model_name",
    "model_version",
    "alias",
    "miou",
    "miou_official",
    "iou",
    "gate",
    "pipeline",
    "serving",
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    subprocess.run(
        [sys.executable, "-m", "pipelines.training", "compile", "--out", str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "STREETSEG_IMAGE": IMAGE},
        check=True,
    )
    return next(yaml.safe_load_all(path.read_text()))


def test_every_input_has_a_description_and_all_but_the_data_a_default(compiled: dict) -> None:
    inputs = compiled["root"]["inputDefinitions"]["parameters"]
    assert all(entry["description"] for entry in inputs.values())
    assert [name for name, entry in inputs.items() if "defaultValue" not in entry] == [
        "data_version"
    ]


def test_every_component_runs_on_the_one_image(compiled: dict) -> None:
    executors = compiled["deploymentSpec"]["executors"].values()
    assert {entry["container"]["image"] for entry in executors} == {
        "registry.example/streetseg:1.2"
    }
    assert not any("pip install" in str(entry["container"]) for entry in executors)


def test_the_gate_stands_beside_the_registration(compiled: dict) -> None:
    tasks = compiled["root"]["dag"]["tasks"]
    assert "evaluate" in tasks["gate"]["dependentTasks"]
    assert "gate" not in tasks["register"]["dependentTasks"], "one pod less after the other"


class DemoRun:
    """A finished call of the demo."""

    def __init__(self, done: subprocess.CompletedProcess[str], out: Path) -> None:
        self.status, self.printed = done.returncode, done.stdout + done.stderr
        path = out / "summary.json"
        self.summary = json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DemoRun]:
    """Run the demo in one folder, again and again, with other settings."""
    out = tmp_path_factory.mktemp("demo")

    def run(*flags: str, folder: Path = out, **settings: object) -> DemoRun:
        chosen = {**TINY, **{key.replace("__", "."): value for key, value in settings.items()}}
        sets = [part for item in chosen.items() for part in ("--set", "{}={}".format(*item))]
        (folder / "summary.json").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "scripts.demo", "--out", str(folder), *sets, *flags],
            cwd=REPOSITORY,
            env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{out / 'mlflow.db'}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return DemoRun(done, folder)

    run.out = out  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def closed(demo: Callable[..., DemoRun]) -> DemoRun:
    """The first call, with a gate that no model passes: everything up to the gate runs."""
    return demo(gate__miou_floor=0.99)


@pytest.fixture(scope="module")
def first(closed: DemoRun, demo: Callable[..., DemoRun]) -> DemoRun:
    """The first call whose gate is open."""
    return demo()


def test_a_closed_gate_registers_nothing_and_explains_itself(
    closed: DemoRun, demo: Callable[..., DemoRun]
) -> None:
    from mlflow import MlflowClient

    assert closed.status == 0, closed.printed
    assert not closed.summary["gate"]["passed"]
    assert "below the floor of 0.99" in closed.summary["gate"]["reasons"][0]
    assert closed.summary["model_version"] is None
    assert closed.summary["serving"] is None
    assert "closed: nothing registered" in closed.printed
    assert {"gate", "register"} <= closed.summary["pipeline"]["tasks"].keys()
    client = MlflowClient(f"sqlite:///{demo.out / 'mlflow.db'}")
    assert not client.search_registered_models()
    assert client.get_run(closed.summary["run_id"]).data.tags["gate"] == "failed"


def test_the_whole_job_runs_from_frames_to_an_answer_over_http(first: DemoRun) -> None:
    assert first.status == 0, first.printed
    assert first.summary.keys() == SUMMARY
    assert re.fullmatch(r"[0-9a-f]{32}\.dir", first.summary["data_version"])
    assert first.summary["pipeline"]["status"] == "SUCCEEDED"
    tasks = list(first.summary["pipeline"]["tasks"])
    assert tasks[0] == "configure"
    assert set(tasks[1:3]) == {"fetch", "validate"}
    assert tasks[3:5] == ["train", "evaluate"]
    assert set(tasks[5:]) == {"gate", "register"}
    assert first.summary["gate"]["passed"]
    assert first.summary["serving"]["status"] == 200


def test_the_version_that_answers_is_the_champion_in_the_registry(
    first: DemoRun, demo: Callable[..., DemoRun]
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{demo.out / 'mlflow.db'}")
    champion = client.get_model_version_by_alias("street-segmenter", "champion")
    assert str(champion.version) == first.summary["model_version"]
    assert first.summary["serving"]["model_version"] == first.summary["model_version"]
    assert champion.tags["data_version"] == first.summary["data_version"]
    assert champion.tags["git_revision"] == first.summary["git_revision"]
    assert champion.tags["gate"] == "passed"
    assert "no other champion" in champion.tags["gate_compared_with"]
    assert champion.run_id == first.summary["run_id"]
    run = client.get_run(champion.run_id)
    assert run.info.run_name.startswith("demo, cityscapes "), "the recipe's"
    assert run.data.metrics["val/miou"] == pytest.approx(first.summary["miou"], abs=1e-6)


def test_it_leaves_pictures_and_pages(first: DemoRun, demo: Callable[..., DemoRun]) -> None:
    for name in ("predictions.png", "report.html", "validation.html", "answer.png"):
        assert (demo.out / name).stat().st_size > 500
        assert name in first.printed


def test_components_leave_metrics_and_a_confusion_matrix_for_the_ui(
    first: DemoRun, demo: Callable[..., DemoRun]
) -> None:
    path = max(demo.out.glob("pipeline/*/evaluate/executor_output.json"))
    artifacts = json.loads(path.read_text())["artifacts"]
    metrics = artifacts["metrics"]["artifacts"][0]["metadata"]
    assert metrics["IoU mean"] == pytest.approx(first.summary["miou"], abs=1e-6)
    matrix = artifacts["confusion"]["artifacts"][0]["metadata"]["confusionMatrix"]
    assert [entry["displayName"] for entry in matrix["annotationSpecs"]][1] == "flat"


def test_a_second_call_reuses_what_has_not_changed(
    first: DemoRun, demo: Callable[..., DemoRun]
) -> None:
    second = demo()
    assert second.status == 0, second.printed
    reused = {name for name, seconds in second.summary["pipeline"]["tasks"].items() if not seconds}
    assert reused == {"fetch", "validate", "train"}, "the registry may have another champion"
    for key in ("data_version", "run_id", "model_version", "miou"):
        assert second.summary[key] == first.summary[key]


def test_a_closed_gate_fails_the_run_only_if_asked_to(
    first: DemoRun, demo: Callable[..., DemoRun]
) -> None:
    failed = demo(gate__miou_floor=0.99, gate__fail_on_gate="true")
    assert failed.status == 1
    assert failed.summary["pipeline"]["status"] == "FAILED"
    assert "below the floor of 0.99" in failed.summary["gate"]["reasons"][0]
    assert failed.printed.rstrip().splitlines()[-1].startswith("error: the gate is closed")


def test_the_checkout_stays_clean(first: DemoRun) -> None:
    """Only ignored files may appear."""
    before = subprocess.run(
        ["git", "status", "--porcelain", "--", "data", "dvc.lock", "params.yaml", ".dvc"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert before.stdout == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train__epochz": 3}, "did you mean 'epochs'"),
        ({"model__encoder": "resnet1818"}, "did you mean 'resnet"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    first: DemoRun, demo: Callable[..., DemoRun], settings: dict, message: str
) -> None:
    wrong = demo(**settings)
    assert wrong.status == 1
    assert message in wrong.printed.rstrip().splitlines()[-1]
    assert "Traceback" not in wrong.printed


def test_bad_data_is_one_clear_line(demo: Callable[..., DemoRun], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    empty = demo("--data", str(data), folder=tmp_path / "out")
    assert empty.status == 1
    assert empty.printed.rstrip().splitlines()[-1].startswith(f"error: {data} holds no")
    assert "ERROR" not in empty.printed
