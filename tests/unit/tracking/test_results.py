"""Scores and verdicts in MLflow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import read_evaluation
from streetseg.tracking.results import record_scores, record_verdict
from streetseg.tracking.store import connect
from tests.conftest import Trained


def test_scores_and_verdicts_on_other_data_leave_those_of_the_training(
    params: Params, trained: Trained
) -> None:
    scored = read_evaluation(trained.evaluation)
    assert record_scores(params.registry, scored, trained.evaluation, trained.artifact) is None
    client = connect(params.registry)
    before = client.get_run(trained.run_id).data
    assert before.metrics["miou"] == pytest.approx(scored.scores.miou, abs=1e-6)

    other = replace(scored, data_version="4567.dir", scores=replace(scored.scores, miou=0.125))
    run_id = record_scores(params.registry, other, trained.evaluation, trained.artifact)
    assert run_id
    run = client.get_run(run_id)
    assert run.data.metrics["miou"] == 0.125
    assert run.data.tags["model_run"] == trained.run_id
    assert run.data.tags["scored_on"] == "4567.dir"
    verdict = judge(other, params.gate)
    with pytest.raises(StreetsegError, match=r"it is on data version 4567.dir, the model was tr"):
        record_verdict(params.registry, trained.run_id, verdict, other.data_version)
    assert client.get_run(trained.run_id).data.to_dictionary() == before.to_dictionary()
