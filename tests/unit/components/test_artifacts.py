"""What components hand on and take: artifacts that are still there, metrics that are numbers."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import numpy as np
import pytest
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Metrics, Model
from kfp.dsl.types.type_annotations import is_Input_Output_artifact_annotation

import components
from components.artifacts import Contents, checked, log_confusion, log_metrics, seal
from components.evaluate import evaluate
from components.fetch import fetch
from components.segment import segment
from components.train import train
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.result import read_evaluation
from tests.conftest import Trained
from tests.support.repositories import fill_remote

GONE = "the artifact of {} is gone from the store{}: submit again with --no-cache"
STEPS = {
    "dataset": "fetch",
    "model": "train",
    "evaluation": "evaluate",
    "evaluations": "score-set",
}


def inputs_of_components() -> Iterator[Any]:
    """Each component with the name of each of its input artifacts."""
    for module in pkgutil.iter_modules(components.__path__, "components."):
        for name, each in vars(importlib.import_module(module.name)).items():
            if hasattr(each, "python_func") and each.python_func.__module__ == module.name:
                for entry, spec in (each.component_spec.inputs or {}).items():
                    if spec.type.startswith("system."):
                        yield pytest.param(each.python_func, entry, id=f"{name}-{entry}")


@pytest.fixture
def artifacts(dataset: PreparedDataset, trained: Trained, tmp_path: Path) -> dict[str, Artifact]:
    """Copies of a dataset, a model and its evaluation, each as its step hands it on."""
    folders = {
        "dataset": (Dataset, dataset.path),
        "model": (Model, trained.artifact),
        "evaluation": (Artifact, trained.evaluation),
        "evaluations": (Artifact, trained.evaluation),
    }
    made = {}
    for name, (kind, folder) in folders.items():
        path = shutil.copytree(folder, tmp_path / name)
        made[name] = kind(name=name, uri=str(path), metadata={"registered": "models:/m/1"})
        seal(made[name], STEPS[name])
    return made


def arguments_of(component: Any, artifacts: dict[str, Artifact], params: Params, out: Path) -> dict:
    """Arguments that a component can be called with."""
    values: dict[str, Any] = {}
    for name, parameter in inspect.signature(component).parameters.items():
        kind = parameter.annotation
        if name in artifacts and is_Input_Output_artifact_annotation(kind):
            own = type(artifacts[name])(uri=str(out / name))
            values[name] = artifacts[name] if "Input" in repr(kind) else own
            if "List" in repr(kind):
                values[name] = [values[name]]
        elif is_Input_Output_artifact_annotation(kind):
            values[name] = Artifact(uri=str(out / name))
        else:
            values[name] = params.to_dict() if name == "settings" else (get_origin(kind) or kind)()
    return values


@pytest.mark.parametrize("lost", ["folder", "files", "a file", "bytes"])
@pytest.mark.parametrize(("component", "name"), inputs_of_components())
def test_a_step_whose_input_is_gone_ends_with_one_line(
    component: Any,
    name: str,
    lost: str,
    artifacts: dict[str, Artifact],
    params: Params,
    tmp_path: Path,
) -> None:
    folder = Path(artifacts[name].path)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    part = ""
    if lost in ("folder", "files"):
        shutil.rmtree(folder)
    if lost == "files":
        folder.mkdir()
    if lost == "a file":
        left = total - files[-1].stat().st_size
        files[-1].unlink()
        part = (
            f" in part ({len(files) - 1} of {len(files)} files are left, {left} of {total} bytes)"
        )
    if lost == "bytes":
        files[0].write_bytes(files[0].read_bytes()[:-1])
        part = (
            f" in part ({len(files)} of {len(files)} files are left, {total - 1} of {total} bytes)"
        )
    with pytest.raises(SystemExit) as ended:
        component(**arguments_of(component, artifacts, params, tmp_path / "out"))
    assert ended.value.code == f"error: {GONE.format(STEPS[name], part)}"


def test_each_component_that_takes_artifacts_is_among_them() -> None:
    taken = {param.id for param in inputs_of_components()}
    assert {"train-dataset", "train_job-dataset", "segment-model", "join_sets-evaluations"} <= taken
    assert {"evaluate-model", "register-model", "register-evaluation"} <= taken


def test_numbers_come_back_from_kubeflow_as_floats(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    (tmp_path / "empty").write_bytes(b"")
    assert Contents.of(tmp_path) == (2, 5)
    artifact = Artifact(uri=str(tmp_path))
    seal(artifact, "fetch")
    assert artifact.metadata == {"step": "fetch", "files": 2, "bytes": 5}
    artifact.metadata |= {"files": 2.0, "bytes": 5.0}
    assert checked(artifact) == tmp_path


def test_an_artifact_of_another_component_must_only_not_be_empty(tmp_path: Path) -> None:
    artifact = Dataset(name="frames", uri=str(tmp_path))
    with pytest.raises(StreetsegError) as raised:
        checked(artifact)
    assert str(raised.value) == GONE.format("the step that wrote 'frames'", "")
    (tmp_path / "a").write_bytes(b"")
    assert checked(artifact) == tmp_path
    assert checked(Dataset(uri=str(tmp_path / "a"))) == tmp_path / "a"


def test_each_producer_tells_its_step_and_what_it_wrote(
    dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    store = {"registry.tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    recipe = params.override({"train.epochs": 1, **store})
    fill_remote(tmp_path / "remote", dataset.path)
    fetched = Dataset(uri=str(tmp_path / "dataset"))
    fetch.python_func(dataset.version, str(tmp_path / "remote"), fetched)
    assert fetched.metadata.items() >= {"step": "fetch", "data_version": dataset.version}.items()

    model, curve = Model(uri=str(tmp_path / "model")), Metrics(uri=str(tmp_path / "curve"))
    train.python_func(fetched, recipe.to_dict(), model, curve)
    assert model.metadata["step"] == "train"
    assert sorted(curve.metadata) == ["IoU mean of the holdout", "best epoch"]
    assert curve.metadata["best epoch"] == 1

    evaluation = Artifact(uri=str(tmp_path / "evaluation"))
    metrics, confusion = (
        Metrics(uri=str(tmp_path / "m")),
        ClassificationMetrics(uri=str(tmp_path / "c")),
    )
    report = Artifact(uri=str(tmp_path / "report.html"))
    verdict = Artifact(uri=str(tmp_path / "verdict.md"))
    outputs = evaluation, metrics, confusion, report, verdict
    outcome = evaluate.python_func(model, fetched, recipe.to_dict(), *outputs)
    assert outcome.passed == Path(verdict.path).read_text().startswith("# Gate open")
    assert evaluation.metadata["step"] == "evaluate"
    for artifact in (fetched, model, evaluation):
        checked(artifact)

    scores = read_evaluation(tmp_path / "evaluation").scores
    assert sorted(metrics.metadata)[:2] == ["IoU mean", "IoU mean official"], "as the UI sorts"
    assert metrics.metadata["IoU mean"] == pytest.approx(scores.miou, abs=1e-6)
    assert len(metrics.metadata) <= 10
    assert json.loads((tmp_path / "m").read_text()) == metrics.metadata
    matrix = confusion.metadata["confusionMatrix"]
    names = [entry["displayName"] for entry in matrix["annotationSpecs"]]
    assert names == scores.categories
    for name, row in zip(names, matrix["rows"], strict=True):
        if not math.isnan(scores.recall[name]):
            assert row["row"][names.index(name)] == round(100 * scores.recall[name], 1)


def test_a_metric_that_is_no_number_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    values = {"a": math.nan, "b": 0.5, "c": math.inf, "d": 3}
    log_metrics(metrics, values)
    assert json.loads((tmp_path / "metrics").read_text()) == {"b": 0.5, "d": 3}
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "warning: 'a' is nan, no number: left out",
        "warning: 'c' is inf, no number: left out",
    ]


def test_the_first_ten_metrics_that_are_numbers_are_shown(tmp_path: Path) -> None:
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    log_metrics(metrics, {"none": math.nan} | {f"metric {each}": each for each in range(12)})
    assert metrics.metadata == {f"metric {each}": each for each in range(10)}


def test_the_confusion_is_in_per_cent_of_the_truth(tmp_path: Path) -> None:
    confusion = ClassificationMetrics(uri=str(tmp_path / "confusion"))
    counts = np.array([[2_000_000_000, 1_000_000_000, 0], [0, 0, 0], [0, 1, 999]])
    log_confusion(confusion, ["road", "sky", "car"], counts)
    rows = [row["row"] for row in confusion.metadata["confusionMatrix"]["rows"]]
    assert rows == [[66.7, 33.3, 0], [0, 0, 0], [0, 0.1, 99.9]]
    assert "NaN" not in (tmp_path / "confusion").read_text()


def test_a_model_that_was_only_trained_segments_too(
    artifacts: dict[str, Artifact], cityscapes: Path, tmp_path: Path
) -> None:
    model = artifacts["model"]
    del model.metadata["registered"]
    masks, report = Dataset(uri=str(tmp_path / "masks")), Artifact(uri=str(tmp_path / "r.html"))
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    images = str(next((cityscapes / "leftImg8bit" / "val").iterdir()))
    segment.python_func(model, images, "", {}, masks, report, metrics)
    assert metrics.metadata["images"] == 2
    assert checked(masks).name == "masks"
    assert masks.metadata["step"] == "segment"
