"""Scoring a model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from streetseg.config import Params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError
from streetseg.evaluation import evaluate, score_folders
from streetseg.imaging import encode_png
from streetseg.inference import Segmenter
from streetseg.metrics import representative_ids
from streetseg.prepare import prepare
from streetseg.sources import load_source
from tests.conftest import Trained


@pytest.fixture(scope="module")
def evaluation(trained: Trained) -> dict:
    return json.loads((trained.evaluation / "evaluation.json").read_text())


def test_it_equals_scoring_the_masks_that_would_be_served(
    trained: Trained, cityscapes: Path, evaluation: dict, tmp_path: Path
) -> None:
    from streetseg.imaging import decode_rgb

    model = Segmenter(trained.artifact)
    for frame in load_source("cityscapes").find(cityscapes):
        if frame.split == "val":
            categories = model.predict(decode_rgb(frame.image.read_bytes()))
            mask = representative_ids(model.labels)[categories]
            (tmp_path / f"{frame.name}.png").write_bytes(encode_png(mask))
    scores, frames = score_folders(tmp_path, cityscapes / "gtFine" / "val", model.labels)
    assert frames == len(evaluation["frames"])
    assert evaluation["miou"] == pytest.approx(scores.miou, abs=1e-6)
    assert evaluation["miou_official"] == pytest.approx(scores.miou_official, abs=1e-6)


def test_every_pixel_of_the_truth_is_counted_at_native_size(
    dataset: PreparedDataset, evaluation: dict
) -> None:
    pixels = sum(dataset.label_ids(row).size for row in dataset.rows("val"))
    assert np.sum(evaluation["confusion"]) == pixels


def test_frames_are_ranked_from_best_to_worst(evaluation: dict) -> None:
    scores = [frame["miou"] for frame in evaluation["frames"]]
    assert scores == sorted(scores, reverse=True)


def test_the_report_is_one_file_that_asks_for_nothing_else(
    trained: Trained, evaluation: dict
) -> None:
    page = (trained.evaluation / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert f"{evaluation['miou']:.3f}" in page
    assert evaluation["frames"][-1]["frame"] in page


def test_a_model_of_another_size_is_refused(
    trained: Trained, params: Params, tmp_path: Path
) -> None:
    tree = params.to_dict()
    tree["prepare"]["size"] = [32, 64]
    tree["data"]["prepared"] = str(tmp_path / "small")
    small = PreparedDataset(prepare(Params.model_validate(tree)))
    with pytest.raises(StreetsegError, match="differ in label space or size"):
        evaluate(trained.artifact, small, params, tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()
