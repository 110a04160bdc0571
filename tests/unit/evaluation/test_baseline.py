"""The champion, scored on the same frames."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx.numpy_helper import to_array
from safetensors.numpy import load_file, save_file

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.baseline import Champion, differences
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import EXAMPLE
from streetseg.metrics.confusion import category_iou, category_miou
from streetseg.metrics.jackknife import Drives
from streetseg.registry.champion import find_champion
from streetseg.registry.promotion import promote
from streetseg.registry.register import register
from streetseg.tracking.judged import last_judged
from streetseg.tracking.results import record_scoring
from streetseg.tracking.store import connect
from tests.conftest import Command, Trained


def other_model(artifact: Path, destination: Path, **config: object) -> Champion:
    """A copy of a model that says something else about itself."""
    shutil.copytree(artifact, destination)
    path = destination / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "run_id": "f" * 32, **config}))
    return Champion("7", destination)


@pytest.fixture(scope="module")
def weak(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Champion:
    """A model that names the least likely category: the signs of its last layer are turned."""
    champion = other_model(trained.artifact, tmp_path_factory.mktemp("weak") / "model")
    graph = onnx.load(champion.artifact / "model.onnx")
    *_, last = (node for node in graph.graph.node if node.op_type == "Conv")
    for tensor in graph.graph.initializer:
        if tensor.name in last.input:
            tensor.raw_data = (-to_array(tensor)).tobytes()
    onnx.save(graph, champion.artifact / "model.onnx")
    example = load_file(champion.artifact / EXAMPLE)
    example["logits"] = Segmenter(champion.artifact).logits(example["images"])
    save_file(example, champion.artifact / EXAMPLE)
    return champion


@pytest.fixture(scope="module")
def folder(
    trained: Trained,
    dataset: PreparedDataset,
    params: Params,
    weak: Champion,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The evaluation of the trained model beside the weak one."""
    out = tmp_path_factory.mktemp("compared") / "evaluation"
    evaluate(trained.artifact, dataset, params, out, weak)
    return out


@pytest.fixture(scope="module")
def scores(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def test_it_gets_the_scores_that_it_would_get_alone(
    folder: Path,
    scores: dict,
    weak: Champion,
    dataset: PreparedDataset,
    params: Params,
    trained: Trained,
    tmp_path: Path,
) -> None:
    evaluate(weak.artifact, dataset, params, tmp_path / "alone")
    alone = json.loads((tmp_path / "alone" / "evaluation.json").read_text())
    for key in ("run_id", "data_version", "label_space", "categories", "miou", "iou"):
        assert scores["champion"][key] == alone[key]
    assert scores["champion"]["miou_official"] == alone["miou_official"]
    assert scores["champion"]["version"] == "7"
    assert scores["champion"]["miou"] < scores["miou"]
    before = json.loads((trained.evaluation / "evaluation.json").read_text())
    assert scores["miou"] == before["miou"], "a champion changes nothing in the score of the model"
    with (
        np.load(tmp_path / "alone" / "frames.npz") as single,
        np.load(folder / "frames.npz") as both,
    ):
        np.testing.assert_array_equal(both["champion_counts"], single["counts"])
        np.testing.assert_array_equal(both["frames"], single["frames"])
        assert "champion_counts" not in single


def test_the_page_says_who_is_better_and_by_how_much(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    with np.load(folder / "frames.npz") as frames:
        drives = Drives.of_names(frames["drives"])
        mean, *_ = differences(frames["counts"], frames["champion_counts"], drives)
    low, high = mean.interval(lowest=-1)
    outcome = (
        "better" if low > 0 else "worse" if high < 0 else "neither surely better nor surely worse"
    )
    assert "Comparison with the champion" in page
    assert f"This model is <b>{outcome}</b>:\n{mean.value:+.3f} in mean IoU" in page
    assert f"{low:+.3f} to {high:+.3f}" in page


def test_both_models_are_scored_on_each_source(
    trained: Trained,
    dataset: PreparedDataset,
    params: Params,
    weak: Champion,
    tmp_path: Path,
    folder: Path,
) -> None:
    copy = PreparedDataset(dataset.path)
    rows = copy.rows("val")
    new = rows[-2:]
    copy.index["source"] = ["new city" if row in new else "cityscapes" for row in copy.index.index]
    out = tmp_path / "evaluation"
    evaluate(trained.artifact, copy, params, out, weak)
    scored = read_evaluation(out)
    with np.load(folder / "frames.npz") as alone:
        counts, champion_counts = alone["counts"], alone["champion_counts"]
    assert scored.sources is not None
    assert scored.sources.tolist() == ["cityscapes"] * (len(rows) - 2) + ["new city"] * 2
    by_source = scored.metrics["sources"]
    for each, chosen in zip(by_source, (slice(-2), slice(-2, None)), strict=True):
        miou = category_miou(counts[chosen].sum(axis=0))
        of_champion = category_miou(champion_counts[chosen].sum(axis=0))
        assert each["miou"] == pytest.approx(miou, abs=1e-6)
        assert each["champion_miou"] == pytest.approx(of_champion, abs=1e-6)
        assert each["difference"] == pytest.approx(miou - of_champion, abs=1e-6)
    page = (out / "report.html").read_text()
    assert "<h3>By source</h3>" in page
    assert (
        f"<td>{by_source[1]['champion_miou']:.3f}</td><td>{by_source[1]['miou']:.3f}</td>" in page
    )
    assert "By source" not in (folder / "report.html").read_text()

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    registry = params.override({"registry.tracking_uri": store}).registry
    run_id = record_scoring(registry, None, scored, out)
    metrics = connect(registry).get_run(run_id).data.metrics
    connect(registry).set_tag(run_id, "data_version", copy.version)  # as of the run that trained
    judged = last_judged(registry, copy.version)
    assert judged is not None
    assert judged.sources == {
        each["name"]: (pytest.approx(each["miou"]), pytest.approx(each["champion_miou"]))
        for each in by_source
    }
    assert metrics["val/miou_on/new city"] == pytest.approx(by_source[1]["miou"])
    assert metrics["val/champion_miou_on/cityscapes"] == pytest.approx(
        by_source[0]["champion_miou"]
    )


def test_a_difference_is_paired_by_frame() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(10, 1000, (20, 1, 1)) * random.integers(1, 100, (20, 3, 3))
    better = counts + (counts.sum(axis=(1, 2), keepdims=True) // 20) * np.eye(3, dtype=int)
    drives = Drives(np.arange(20))
    mean, *by_category = differences(better, counts, drives)
    old, new = (group.sum(axis=0) for group in (counts, better))
    assert mean.value == pytest.approx(category_miou(new) - category_miou(old))
    assert [each.value for each in by_category] == pytest.approx(
        category_iou(new) - category_iou(old)
    )
    low, high = mean.interval(lowest=-1)
    assert 0 < low < mean.value < high, "though frames differ widely"
    assert differences(counts, counts, drives)[0].interval(lowest=-1) == (0, 0)


def test_frames_that_it_was_trained_on_are_counted(
    scores: dict, trained: Trained, dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    assert scores["trained_on_these"] == scores["champion"]["trained_on_these"] == 0
    champion = other_model(trained.artifact, tmp_path / "champion")
    hashes = dataset.index["image_hash"][dataset.rows("val")[:3]]
    (champion.artifact / "trained_on.txt").write_text("".join(f"{line}\n" for line in hashes))
    evaluation = evaluate(trained.artifact, dataset, params, tmp_path / "evaluation", champion)
    assert evaluation.to_dict()["champion"]["trained_on_these"] == 3
    page = (tmp_path / "evaluation" / "report.html").read_text()
    assert "The champion was trained on 3 of these frames" in page


def spoilt(labels: dict, size: list[int], how: str) -> tuple[dict, list[int]]:
    if how == "label space":
        return {**labels, "name": "another"}, size
    if how == "categories":
        return {**labels, "categories": labels["categories"][::-1]}, size
    return labels, [2 * side for side in size]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("label space", "its label space is another, that of these frames cityscapes"),
        ("categories", "its categories are vehicle, human"),
        ("size", "it takes frames of 256x128, these are prepared at 128x64"),
    ],
)
def test_one_that_cannot_be_scored_is_named_with_the_reason(
    trained: Trained,
    dataset: PreparedDataset,
    params: Params,
    tmp_path: Path,
    how: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels, size = spoilt(dataset.labels.to_dict(), list(dataset.size), how)
    champion = other_model(trained.artifact, tmp_path / "champion", size=size)
    (champion.artifact / "labels.json").write_text(json.dumps(labels))
    (champion.artifact / "trained_on.txt").unlink()
    evaluate(trained.artifact, dataset, params, tmp_path / "evaluation", champion)
    scored = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())["champion"]
    assert reason in scored["reason"]
    assert scored["miou"] is scored["miou_official"] is scored["iou"] is None
    assert scored["trained_on_these"] is None, "it does not say"
    assert reason in capsys.readouterr().err
    assert reason in (tmp_path / "evaluation" / "report.html").read_text()
    with np.load(tmp_path / "evaluation" / "frames.npz") as frames:
        assert set(frames) == {"frames", "counts", "drives"}


def test_a_model_is_not_compared_with_itself(
    trained: Trained,
    dataset: PreparedDataset,
    params: Params,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    itself = Champion("3", trained.artifact)
    evaluation = evaluate(trained.artifact, dataset, params, tmp_path / "evaluation", itself)
    assert evaluation.champion is None
    assert "this model is the champion, version 3" in capsys.readouterr().err


def test_a_champion_that_is_no_model_is_one_clear_line(
    trained: Trained, dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    with pytest.raises(StreetsegError, match="holds no model artifact"):
        evaluate(
            trained.artifact, dataset, params, tmp_path / "out", Champion("1", tmp_path / "nowhere")
        )
    assert not (tmp_path / "out").exists()


def test_it_is_looked_up_in_the_registry(
    trained: Trained, params: Params, scores: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = params.override({"registry.model_name": "looked-up"})
    assert find_champion(recipe.registry) is None
    assert "looked-up has no champion yet" in capsys.readouterr().err
    register(trained.artifact, Evaluation.from_dict(scores), Verdict(True, []), recipe)
    assert find_champion(recipe.registry) is None, "a challenger is none"
    promote(recipe.registry)
    champion = find_champion(recipe.registry)
    assert champion is not None
    assert champion.version == "1"
    names = {path.name: path.read_bytes() for path in champion.artifact.iterdir()}
    assert json.loads(names.pop("reference.json")) == scores["reference"]
    assert names == {path.name: path.read_bytes() for path in trained.artifact.iterdir()}


def test_the_command_compares_with_the_champion_of_the_registry(
    streetseg: Command, trained: Trained, params: Params, scores: dict, tmp_path: Path
) -> None:
    recipe = params.override({"registry.model_name": "commanded"})
    client = connect(recipe.registry)
    experiment = client.get_run(trained.run_id).info.experiment_id
    run_id = client.create_run(experiment).info.run_id
    earlier = other_model(trained.artifact, tmp_path / "earlier", run_id=run_id)
    evaluation = replace(read_evaluation(trained.evaluation), run_id=run_id)
    register(earlier.artifact, evaluation, Verdict(True, []), recipe)
    promote(recipe.registry)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    done = streetseg("evaluate", "--model", trained.artifact, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    low, high = scores["intervals"]["miou"]
    assert f"categories  {scores['miou']:.3f} [{low:.3f}, {high:.3f}]" in done.stdout
    assert f"champion, version 1  {scores['miou']:.3f}" in done.stdout, "it is the same graph"
    written = read_evaluation(tmp_path / "outputs/evaluation")
    assert written.champion is not None
    assert written.champion.run_id == run_id


def test_a_registry_that_does_not_answer_is_one_clear_line(params: Params, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database")
    broken = params.override({"registry.tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"})
    with pytest.raises(StreetsegError, match="cannot reach the MLflow store"):
        find_champion(broken.registry)
