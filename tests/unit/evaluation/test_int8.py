"""An int8 graph beside the float one: it must pass the same gate."""

import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from kfp.dsl import Artifact, Model

import components.register
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.gate import judge
from streetseg.evaluation.int8 import Int8, try_int8
from streetseg.evaluation.result import ChampionScores, read_evaluation, write_evaluation
from streetseg.inference.artifact import GRAPHS, weights_sha256
from streetseg.inference.segmenter import Segmenter
from streetseg.models.quantization import CALIBRATION_FRAMES, calibration_frames, quantize_onnx
from streetseg.registry.register import PipelineRun, register
from streetseg.registry.versions import ModelVersion, download, find
from streetseg.tracking.store import connect
from tests.conftest import Trained
from tests.support.repositories import fill_remote


def recipe_of(params: Params, name: str, **gate: float) -> Params:
    """The recipe with int8, for a registered model of its own."""
    tree = params.to_dict()
    tree["registry"] |= {"model_name": name, "int8": True}
    tree["gate"] |= gate
    return Params.model_validate(tree)


def registered(recipe: Params, dataset: PreparedDataset | None, trained: Trained) -> ModelVersion:
    evaluation = read_evaluation(trained.evaluation)
    verdict = judge(evaluation, recipe.gate)
    return register(trained.artifact, evaluation, verdict, recipe, PipelineRun("run-1"), dataset)


@pytest.fixture(scope="module")
def int8(
    params: Params,
    dataset: PreparedDataset,
    trained: Trained,
    tmp_path_factory: pytest.TempPathFactory,
) -> Int8:
    """The trained model's int8 version, tried but not registered."""
    evaluation = read_evaluation(trained.evaluation)
    scratch = tmp_path_factory.mktemp("int8")
    return try_int8(trained.artifact, dataset, evaluation, params, scratch)


@pytest.fixture(scope="module")
def version(params: Params, dataset: PreparedDataset, trained: Trained) -> ModelVersion:
    return registered(recipe_of(params, "int8"), dataset, trained)


def test_what_passes_is_registered_beside_float(
    params: Params, trained: Trained, version: ModelVersion
) -> None:
    tags = version.tags
    assert tags["int8"] == "passed"
    assert abs(float(tags["int8_miou"]) - float(tags["miou"])) < 0.05
    assert float(tags["int8_megabytes"]) < 0.4 * float(tags["float32_megabytes"])
    assert float(tags["int8_latency_ms"]) > 0
    assert "at or above the floor" in tags["int8_reasons"]
    assert tags["weights_sha256"] == weights_sha256(trained.artifact)
    client = connect(params.registry)
    card = mlflow.artifacts.load_text(
        f"{client.get_run(trained.run_id).info.artifact_uri}/model_card.md"
    )
    assert "| int8 | " in card
    assert "passed the gate: services on a CPU answer with it" in card
    files = {file.path for file in client.list_artifacts(trained.run_id, "evaluation-int8")}
    assert "evaluation-int8/report.html" in files


def test_a_cpu_serves_the_int8_graph_and_answers_nearly_alike(
    params: Params, dataset: PreparedDataset, version: ModelVersion
) -> None:
    stored = download(f"models:/int8/{version.version}", params.registry)
    served, plain = Segmenter(stored), Segmenter(stored, "float32")
    assert (served.precision, plain.precision) == ("int8", "float32")
    image = np.array(dataset.image(int(dataset.rows("val")[0])))
    answers = served.predict(image), plain.predict(image)
    assert 0.75 < np.mean(answers[0] == answers[1]) < 1
    model = mlflow.pyfunc.load_model(f"models:/int8/{version.version}")
    np.testing.assert_array_equal(model.predict(image[None])[0], answers[0])


def test_the_model_that_was_trained_stays_as_it_is(trained: Trained, version: ModelVersion) -> None:
    assert not (trained.artifact / GRAPHS["int8"]).exists()
    assert Segmenter(trained.artifact).precision == "float32"


def test_int8_is_judged_by_the_gate_that_float_passed(
    params: Params,
    dataset: PreparedDataset,
    trained: Trained,
    int8: Int8,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A floor for the category that int8 is worst at, between its score and float's."""
    float_iou, int8_iou = (
        read_evaluation(folder).scores.iou for folder in (trained.evaluation, int8.evaluation)
    )
    lost = {name: iou - int8_iou[name] for name, iou in float_iou.items() if not np.isnan(iou)}
    worst = max(lost, key=lambda name: lost[name])
    floors = {worst: (float_iou[worst] + int8_iou[worst]) / 2}
    recipe = recipe_of(params, "int8-refused", iou_floors=floors)  # type: ignore[arg-type]
    refused = registered(recipe, dataset, trained)
    assert refused.aliases == ["challenger"]
    assert (refused.tags["gate"], refused.tags["int8"]) == ("passed", "failed")
    assert f"IoU of {worst} is" in refused.tags["int8_reasons"]
    assert "below the floor" in refused.tags["int8_reasons"]
    assert "registered without it" in capsys.readouterr().out
    stored = download("models:/int8-refused@challenger", recipe.registry)
    assert not (stored / GRAPHS["int8"]).exists()
    assert Segmenter(stored).precision == "float32"


def test_int8_is_compared_with_the_champion_on_the_same_frames(
    params: Params, dataset: PreparedDataset, trained: Trained, tmp_path: Path
) -> None:
    evaluation = read_evaluation(trained.evaluation)
    with np.load(trained.evaluation / "frames.npz") as arrays:
        names, counts = arrays["frames"].tolist(), arrays["counts"]
    champion = ChampionScores(
        version="1",
        run_id="f" * 32,
        data_version=evaluation.data_version,
        label_space=evaluation.label_space,
        categories=evaluation.scores.categories,
        n_seen_in_training=0,
        miou=evaluation.scores.miou,
        counts=counts,
    )
    write_evaluation(replace(evaluation, champion=champion, counts=counts), tmp_path, names)
    compared = read_evaluation(tmp_path)
    int8 = try_int8(trained.artifact, dataset, compared, params, tmp_path / "scratch")
    assert int8.verdict.compared_with == "version 1"
    assert int8.verdict.probability is not None


def test_a_broken_int8_graph_is_one_clear_line(int8: Int8, tmp_path: Path) -> None:
    broken = shutil.copytree(int8.artifact, tmp_path / "model")
    graph = broken / GRAPHS["int8"]
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(StreetsegError, match=r"cannot open .*model\.int8\.onnx: ") as caught:
        Segmenter(broken)
    assert "\n" not in str(caught.value)


def test_an_interrupted_quantization_leaves_nothing(
    dataset: PreparedDataset, trained: Trained, tmp_path: Path
) -> None:
    def interrupted():
        yield int(dataset.rows("train")[0])
        raise KeyboardInterrupt

    source = trained.artifact / GRAPHS["float32"]
    with pytest.raises(KeyboardInterrupt):
        quantize_onnx(source, dataset, interrupted(), tmp_path / "model.int8.onnx")  # type: ignore
    assert not list(tmp_path.iterdir())
    (tmp_path / "broken.onnx").write_text("no graph")
    with pytest.raises(StreetsegError, match=r"cannot quantize .*: register it with") as caught:
        quantize_onnx(tmp_path / "broken.onnx", dataset, [0], tmp_path / "model.int8.onnx")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]


def test_calibration_takes_train_frames_of_every_city(dataset: PreparedDataset) -> None:
    rows = calibration_frames(dataset)
    train = dataset.index.iloc[dataset.rows("train")]
    assert len(rows) == min(CALIBRATION_FRAMES, len(train))
    assert set(dataset.index["split"].iloc[rows]) == {"train"}
    assert set(dataset.index["city"].iloc[rows]) == set(train["city"])


def test_other_data_than_was_scored_is_refused(
    params: Params, dataset: PreparedDataset, trained: Trained, tmp_path: Path
) -> None:
    other = shutil.copytree(dataset.path, tmp_path / "prepared")
    (other / "extra").write_text("")
    recipe = recipe_of(params, "int8-other")
    with pytest.raises(StreetsegError, match=r"is data version .*, the evaluation is on"):
        registered(recipe, PreparedDataset(other), trained)
    with pytest.raises(StreetsegError, match=r"registry\.int8 needs the prepared dataset"):
        registered(recipe, None, trained)


def test_the_step_of_the_pipeline_fetches_what_was_scored(
    params: Params, dataset: PreparedDataset, trained: Trained, tmp_path: Path
) -> None:
    recipe = recipe_of(params, "int8-step").override({"data.remote": str(tmp_path / "remote")})
    fill_remote(tmp_path / "remote", dataset.path)
    components.register.register.python_func(
        model=Model(uri=str(trained.artifact)),
        evaluation=Artifact(uri=str(trained.evaluation)),
        settings=recipe.to_dict(),
        pipeline_run="run-1",
        pipeline_run_id="",
    )
    version = find(connect(recipe.registry), "int8-step", "challenger")
    assert version.tags["int8"] == "passed"
