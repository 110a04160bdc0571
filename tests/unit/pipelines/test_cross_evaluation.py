"""The cross-evaluation pipeline, run on this machine."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from pipelines.cross_evaluation import cross_evaluation_pipeline
from pipelines.local.run import LocalRun, run_locally
from streetseg.config.overrides import format_overrides
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset, data_version
from streetseg.data.prepare import prepare
from streetseg.evaluation.cross import cross_evaluate
from streetseg.evaluation.gate import judge
from streetseg.evaluation.other_data import prepare_for_model
from streetseg.evaluation.result import read_evaluation
from streetseg.evaluation.scored_sets import join_sets, parse_sets, score_set
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.register import register
from tests.conftest import Trained
from tests.support.public_sets import public_set
from tests.support.repositories import fill_remote

NAME = "across"
DATA = f"{'1' * 32}.dir"


def rows_of(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


@pytest.mark.slow
def test_sets_in_pods_make_the_table_of_one_machine(
    params: Params, trained: Trained, cityscapes: Path, tmp_path: Path
) -> None:
    (tmp_path / "cityscapes").symlink_to(cityscapes)
    public_set(tmp_path / "acdc", "acdc")
    recipe = params.override({"data.root": str(tmp_path), "registry.model_name": NAME})
    sources = [{"source": name, "folder": name} for name in ("cityscapes", "acdc")]
    cross_evaluate(trained.artifact, recipe.override({"data.sources": sources}), tmp_path / "one")
    evaluation = read_evaluation(trained.evaluation)
    register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)

    model, versions = Segmenter(trained.artifact), {}
    for name in ("cityscapes", "acdc"):
        data = {"data.root": str(tmp_path / name), "data.source": name}
        alone = prepare_for_model(model, recipe.override(data), tmp_path / f"of-{name}", "val")
        fill_remote(tmp_path / "remote", alone.path)
        versions[name] = alone.version
    small = {"prepare.size": [32, 64], "data.prepared": str(tmp_path / "small")}
    fill_remote(tmp_path / "remote", prepare(params.override(small)))
    wrong = versions | {"acdc": data_version(tmp_path / "small")}
    shown: list[str] = []

    def run(sets: dict[str, str]) -> LocalRun:
        settings = {
            "data.remote": str(tmp_path / "remote"),
            "registry.tracking_uri": params.registry.tracking_uri,
        }
        arguments = {
            "data_versions": " ".join(f"{name}={version}" for name, version in sets.items()),
            "model": f"models:/{NAME}/1",
            "overrides": format_overrides(settings),
        }
        shown.clear()
        return run_locally(cross_evaluation_pipeline(), arguments, tmp_path / "run", shown.append)

    failed = run(wrong)
    assert not failed.succeeded
    assert failed.error.startswith("set 'acdc': the model takes frames of [64, 128]"), failed.error
    done = run(versions)
    assert done.succeeded, done.error
    assert shown.count("» score-set (unchanged)") == 1, "the set that was scored is kept"
    expected = rows_of(tmp_path / "one" / "cross.csv")
    assert rows_of(Path(done.outputs["table"].path)) == expected
    assert [(row["source"], row["condition"]) for row in expected] == [
        ("acdc", ""),
        ("acdc", "night"),
        ("cityscapes", ""),
        ("all", ""),
    ]
    page = (tmp_path / "one" / "cross.html").read_text()
    for name in versions:  # sources that are prepared together have it in the names of frames
        page = page.replace(f"% in {name}_", "% in ")
    assert Path(done.outputs["report"].path).read_text() == page
    metrics = done.outputs["metrics"].metadata
    assert metrics["IoU mean"] == pytest.approx(float(expected[-1]["miou"]))
    assert metrics["IoU mean of acdc night"] == pytest.approx(float(expected[1]["miou"]))
    assert min(metrics) == "IoU mean", "the UI sorts them"


def test_sets_of_different_models_are_not_joined(
    params: Params, trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    other = shutil.copytree(trained.artifact, tmp_path / "model")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"run_id": "0" * 32}))
    folders = []
    for artifact in (trained.artifact, other):
        folders.append(tmp_path / str(len(folders)))
        score_set("one", artifact, dataset, params, folders[-1])
    with pytest.raises(StreetsegError, match="scored with different models"):
        join_sets(folders, tmp_path / "cross.csv", tmp_path / "cross.html")
    with pytest.raises(StreetsegError, match=r"set\.json is no scored set"):
        join_sets([trained.evaluation], tmp_path / "cross.csv", tmp_path / "cross.html")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 sets"),
        (DATA, f"'{DATA}' is no NAME=VERSION, such as acdc="),
        (f"acdc={DATA} bdd=", "'bdd=' is no NAME=VERSION"),
        (f"../acdc={DATA}", "is no NAME=VERSION"),
        (f"acdc={DATA} acdc=v2", "names 'acdc' twice"),
        (" ".join(f"s{number}={DATA}" for number in range(101)), "has 101 sets: give 1 to 100"),
    ],
)
def test_a_wrong_entry_is_one_line(text: str, message: str) -> None:
    with pytest.raises(StreetsegError, match=message):
        parse_sets(text)


def test_sets_are_sorted_by_name() -> None:
    assert list(parse_sets(f"kitti={DATA}\nacdc=v2").items()) == [("acdc", "v2"), ("kitti", DATA)]
