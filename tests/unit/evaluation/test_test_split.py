"""The split test: scored if it is asked for, and deciding nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.registry.register import register
from streetseg.tracking.results import record_scores
from streetseg.tracking.store import connect
from tests.conftest import Trained

PATTERNS = {
    "images": "leftImg8bit/{}/{{city}}/{{name}}_leftImg8bit.png",
    "labels": "gtFine/{}/{{city}}/{{name}}_gtFine_labelIds.png",
}


@pytest.fixture(scope="module")
def tested(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evaluation, Path]:
    """The scores of a model on the frames of val, which a source calls test; and their folder."""
    folder = tmp_path_factory.mktemp("tested")
    pairs = [
        {"split": split, **{key: text.format(folder) for key, text in PATTERNS.items()}}
        for folder, split in (("train", "train"), ("val", "test"))
    ]
    source = folder / "source.yaml"
    source.write_text(yaml.safe_dump({"label_space": "cityscapes", "pairs": pairs}))
    settings = params.override({"data.source": str(source), "data.prepared": folder / "prepared"})
    dataset = PreparedDataset(prepare(settings))
    assert {*dataset.index["split"]} == {"train", "test"}
    scores = evaluate(trained.artifact, dataset, settings, folder / "scores", split="test")
    return scores, folder / "scores"


def test_test_is_scored_as_val_would_be(tested: tuple[Evaluation, Path], trained: Trained) -> None:
    scores, _ = tested
    assert scores.split == "test"
    assert scores.scores.iou == pytest.approx(
        read_evaluation(trained.evaluation).scores.iou, abs=1e-6
    )


def test_scores_on_test_get_a_run_of_their_own(
    tested: tuple[Evaluation, Path], trained: Trained, params: Params
) -> None:
    run_id = record_scores(params.registry, *tested, trained.artifact)
    assert run_id not in (None, trained.run_id)
    assert connect(params.registry).get_run(str(run_id)).data.tags["split"] == "test"


def test_nothing_is_chosen_on_test(
    tested: tuple[Evaluation, Path], trained: Trained, params: Params
) -> None:
    scores, _ = tested
    with pytest.raises(StreetsegError, match="of the split test, on which no model is chosen"):
        judge(scores, params.gate)
    on_val = judge(read_evaluation(trained.evaluation), params.gate)
    with pytest.raises(StreetsegError, match="of the split test, on which no model is chosen"):
        register(trained.artifact, scores, on_val, params)
