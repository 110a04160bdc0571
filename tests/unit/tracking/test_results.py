"""Scores and verdicts in MLflow."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.registry.register import register
from streetseg.tracking.read import read_runs
from streetseg.tracking.record import training_run
from streetseg.tracking.results import read_metric, record_scores, record_verdict
from streetseg.tracking.store import connect
from tests.conftest import Trained


def test_scores_and_verdicts_on_other_data_leave_those_of_the_training(
    params: Params, trained: Trained
) -> None:
    scored = read_evaluation(trained.evaluation)
    assert record_scores(params.registry, scored, trained.evaluation, trained.artifact) is None
    client = connect(params.registry)
    before = client.get_run(trained.run_id).data
    assert before.metrics["val/miou"] == pytest.approx(scored.scores.miou, abs=1e-6)

    other = replace(scored, data_version="4567.dir", scores=replace(scored.scores, miou=0.125))
    run_id = record_scores(params.registry, other, trained.evaluation, trained.artifact)
    assert run_id
    run = client.get_run(run_id)
    assert run.data.metrics["val/miou"] == 0.125
    assert run.data.tags["model_run"] == trained.run_id
    assert run.data.tags["scored_on"] == "4567.dir"
    verdict = judge(other, params.gate)
    with pytest.raises(StreetsegError, match=r"it is on data version 4567.dir, the model was tr"):
        record_verdict(params.registry, other, verdict)
    assert client.get_run(trained.run_id).data.to_dictionary() == before.to_dictionary()


def test_scores_and_verdicts_of_the_int8_graph_leave_those_of_the_training(
    params: Params, trained: Trained
) -> None:
    scored = read_evaluation(trained.evaluation)
    assert scored.graph_precision == "float32"
    content = scored.to_dict()
    assert Evaluation.from_dict(content | {"graph_precision": "int8"}).graph_precision == "int8"
    del content["graph_precision"]  # as in releases before 0.2.0
    assert Evaluation.from_dict(content).graph_precision == "float32"

    client = connect(params.registry)
    before = client.get_run(trained.run_id).data.to_dictionary()
    int8 = replace(scored, graph_precision="int8")
    assert record_scores(params.registry, int8, trained.evaluation, trained.artifact)
    with pytest.raises(StreetsegError, match="it is on the int8 graph"):
        record_verdict(params.registry, int8, judge(int8, params.gate))
    assert client.get_run(trained.run_id).data.to_dictionary() == before


def test_a_version_scored_on_other_data_leaves_the_tags_of_its_run(
    params: Params, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    other = params.override({"registry.model_name": "scored-elsewhere"})
    scored = replace(read_evaluation(trained.evaluation), data_version="4567.dir")
    client = connect(params.registry)
    before = client.get_run(trained.run_id).data.tags
    verdict = replace(judge(scored, other.gate), compared_with="version 77")
    version = register(trained.artifact, scored, verdict, other)
    assert "scored on data version 4567.dir and trained on" in capsys.readouterr().err
    assert version.tags["scored_on"] == "4567.dir"
    assert version.tags["gate_compared_with"] == "version 77"
    after = client.get_run(trained.run_id).data.tags
    assert after.get("gate_compared_with") == before.get("gate_compared_with")
    assert after.get("miou") == before.get("miou")


def test_runs_of_earlier_releases_are_read_by_their_former_names(
    params: Params, dataset: PreparedDataset
) -> None:
    with training_run(params, dataset) as run:
        run.log(1, {"loss": 0.5, "selection_miou": 0.25})
        run.log(2, {"train/loss": 0.375, "held-out/miou": 0.5})  # resumed with this release
        run.log(2, {"best_selection_miou": 0.5, "miou": 0.625, "miou_official": 0.75})
        run.log(2, {"iou_flat": 0.875, "held-out/iou/flat": 0.125})
    (record,) = read_runs(params.registry, [run.id])
    assert record.loss == {1: 0.5, 2: 0.375}
    assert record.selection_miou == {1: 0.25, 2: 0.5}
    assert record.scores == {"miou": 0.625, "miou_official": 0.75}
    assert record.iou == {"flat": 0.875}
    assert read_metric(params.registry, run.id, "held-out/miou_best") == 0.5
    with pytest.raises(StreetsegError, match=r"cannot read val/x of run .*: it has no such metric"):
        read_metric(params.registry, run.id, "val/x")


def test_the_evaluation_tells_its_data(params: Params, trained: Trained) -> None:
    scored = read_evaluation(trained.evaluation)
    inputs = connect(params.registry).get_run(trained.run_id).inputs.dataset_inputs
    evaluated = {
        each.dataset.name: each.dataset for each in inputs if each.tags[0].value == "evaluation"
    }["cityscapes val"]  # other tests evaluate the same run on other data
    assert evaluated.digest == scored.data_version
    assert json.loads(evaluated.profile) == {"num_rows": len(scored.frames)}
