"""A network can be trained on each public set in its published layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.evaluation.evaluate import evaluate
from streetseg.training.train import train
from tests.support.public_sets import PUBLISHED, public_set

pytestmark = pytest.mark.slow

WITHOUT_TRAIN = "dark-zurich"


@pytest.mark.parametrize("name", sorted({*PUBLISHED} - {WITHOUT_TRAIN}))
def test_a_network_trains_on_a_set_and_is_scored(name: str, tmp_path: Path) -> None:
    public_set(tmp_path / "set", name, frames=4)
    params = Params.model_validate(
        {
            "data": {"source": name, "root": tmp_path / "set", "prepared": tmp_path / "prepared"},
            "prepare": {"size": (32, 64), "workers": 1},
            "model": {"architecture": "MiniUnet", "encoder_weights": "none"},
            "train": {"epochs": 1, "batch_size": 2},
            "registry": {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
    )
    dataset = PreparedDataset(prepare(params))
    trained = train(params, dataset, tmp_path / "model")
    evaluation = evaluate(trained.artifact, dataset, params, tmp_path / "evaluation")
    shown = dataset.category_pixels(dataset.rows("val")) > 0
    pixels = evaluation.scores.category_confusion.sum(axis=1)
    assert ((pixels > 0) == shown).all()
    assert 0 <= evaluation.scores.miou <= 1
