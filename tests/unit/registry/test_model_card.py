"""The model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from streetseg.config.params import Params
from streetseg.data.sources import LAYOUTS, load_source
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation, FrameScore, read_evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.artifact import read_config
from streetseg.registry.model_card import (
    CARD,
    DESCRIPTION_LIMIT,
    describe_model,
    shorten,
    weaknesses,
)
from streetseg.registry.register import register
from streetseg.tracking.store import connect
from tests.conftest import Trained
from tests.support.evaluations import evaluation_of

RUN = {"source": "kitti-road", "recipe": "mine", "frames_train": "231", "frames_val": "58"}
OPEN = Verdict(True, ["mean IoU is 0.500: at or above the floor of 0.4"])


@pytest.fixture
def evaluation() -> Evaluation:
    """Three categories, of which the last has no pixels; half of the road is taken for sky."""
    counts = np.array([[[50, 45, 5], [1, 199, 0], [0, 0, 0]]])
    scored = evaluation_of(counts, ["road", "sky", "cow"], data_version="0123.dir")
    scores = replace(
        scored.scores,
        miou=0.5,
        miou_official=0.75,
        iou={"road": 0.4, "sky": 0.6, "cow": np.nan},
        dice={"road": 0.57, "sky": 0.75, "cow": np.nan},
    )
    return replace(scored, scores=scores, frames=[FrameScore("a", 0.5)])


@pytest.fixture
def config() -> dict[str, Any]:
    params = Params().to_dict()
    return {
        "params": params,
        "size": [256, 512],
        "run_id": "abc",
        "epoch": 7,
        "data_version": "0123.dir",
        "git_revision": "cafe",
    }


def test_the_weakest_come_first_with_what_they_are_mistaken_for(evaluation: Evaluation) -> None:
    road, sky = weaknesses(evaluation.scores)
    assert (road.category, road.iou) == ("road", 0.4)
    assert road.mistaken_for == [("sky", 0.45), ("cow", 0.05)]
    assert (sky.category, sky.mistaken_for) == ("sky", []), "half a percent is not worth naming"


def test_the_card_says_what_it_is_for_how_good_it_is_and_where_it_comes_from(
    config: dict, evaluation: Evaluation
) -> None:
    card = describe_model(config, evaluation, OPEN, RUN, "cityscapes")
    for part in (
        "Mean IoU **0.500** over 2 of 3 categories",
        "on 1 val frames",
        "## Out of scope",
        "- **road**, IoU 0.400: mistaken for 45 % sky, 5 % cow\n",
        "kitti-road; 231 train frames, 58 val frames\n- Data version: `0123.dir`",
        "- Licence: CC BY-NC-SA 3.0",
        "- Initial weights: imagenet in the encoder\n",
        "selected: epoch 7",
        "Passed.",
        "- mean IoU is 0.500: at or above the floor of 0.4\n",
        "| category | IoU | Dice |\n|---|---:|---:|\n| road | 0.400 | 0.570 |\n",
        "| cow | - | - |\n",
    ):
        assert part in card
    assert "95 %" not in card
    assert "\n\n\n" not in card


def test_intervals_are_shown_where_they_are_known(config: dict, evaluation: Evaluation) -> None:
    intervals: dict[str, Any] = {"miou": [0.45, 0.55], "iou": {"road": [0.3, 0.5]}}
    scored = replace(evaluation, metrics={"intervals": intervals})
    card = describe_model(config, scored, OPEN, RUN, "cityscapes")
    assert "**0.500** (95 %: 0.450 to 0.550)" in card
    assert "| category | IoU | 95 % | Dice |\n|---|---:|---:|---:|\n" in card
    assert "| road | 0.400 | 0.300 to 0.500 | 0.570 |" in card
    assert "| sky | 0.600 | - | 0.750 |" in card
    intervals = {"miou": None, "miou_official": None, "iou": {"road": None}}
    scored = replace(evaluation, metrics={"intervals": intervals})
    card = describe_model(config, scored, OPEN, RUN, "cityscapes")
    assert "Mean IoU **0.500** over" in card
    assert "| road | 0.400 | - | 0.570 |" in card


def test_a_model_scored_on_other_data_says_so(config: dict, evaluation: Evaluation) -> None:
    scored = replace(evaluation, data_version="4567.dir")
    assert "Scored on data version: `4567.dir`" in describe_model(
        config, scored, OPEN, RUN, "cityscapes"
    )


def test_every_shipped_source_has_a_licence() -> None:
    assert all(load_source(path.stem).licence for path in LAYOUTS.glob("*.yaml"))


def test_a_custom_source_may_have_one(config: dict, evaluation: Evaluation, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text((LAYOUTS / "cityscapes.yaml").read_text().replace("licence:", "licence: ours #"))
    run = {**RUN, "source": "mine.yaml"}
    assert "- Licence: ours" in describe_model(config, evaluation, OPEN, run, str(own))
    assert "- Licence: not stated\n" in describe_model(config, evaluation, OPEN, run, "elsewhere")
    assert "- Source: not recorded\n" in describe_model(config, evaluation, OPEN, {}, "cityscapes")


def test_a_long_card_is_cut_between_sections_and_says_where_the_rest_is() -> None:
    sections = [f"## {number}\n\n{'x' * 990}" for number in range(9)]
    short = shorten("\n\n".join(sections))
    assert short.startswith("\n\n".join(sections[:4]))
    assert "## 5" not in short
    assert short.endswith("The whole card is model_card.md in the artifacts of the run.\n")
    assert len(short) <= DESCRIPTION_LIMIT
    assert len(shorten("x" * 9000)) == DESCRIPTION_LIMIT
    assert shorten("short") == "short"


def test_a_registered_version_carries_its_card_and_so_does_its_run(
    params: Params, trained: Trained
) -> None:
    recipe = params.override({"registry.model_name": "carded"})
    evaluation = read_evaluation(trained.evaluation)
    verdict = judge(evaluation, recipe.gate)
    version = register(trained.artifact, evaluation, verdict, recipe)
    client = connect(recipe.registry)
    kept = mlflow.artifacts.load_text(f"runs:/{trained.run_id}/{CARD}")
    tags = client.get_run(trained.run_id).data.tags
    assert kept == describe_model(
        read_config(trained.artifact), evaluation, verdict, tags, recipe.data.source
    )
    assert client.get_model_version("carded", version.version).description == shorten(kept)
    assert "16 train frames, 4 val frames" in kept
