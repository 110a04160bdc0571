"""A model on several sources."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.cross import cross_evaluate
from streetseg.evaluation.result import read_evaluation
from streetseg.metrics.confusion import category_miou
from tests.conftest import Command, Trained
from tests.support.public_sets import public_set


@pytest.fixture(scope="module")
def crossed(
    params: Params, trained: Trained, cityscapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model of 8 categories on Cityscapes' frames and on two conditions of ACDC."""
    root = tmp_path_factory.mktemp("cross")
    (root / "cityscapes").symlink_to(cityscapes)
    public_set(root / "acdc", "acdc")
    night = root / "acdc" / "rgb_anon" / "night"
    for kind, suffix in (("rgb_anon", "rgb_anon"), ("gt", "gt_labelIds")):
        rain = root / "acdc" / kind / "rain" / "val" / "GP010400"
        rain.mkdir(parents=True)
        frame = f"GOPR0351_frame_000159_{suffix}.png"
        original = (night.parent.parent / kind / "night" / "val" / "GOPR0351" / frame).read_bytes()
        (rain / f"GP010400_frame_000001_{suffix}.png").write_bytes(original)
    sources = [{"source": name, "folder": name} for name in ("cityscapes", "acdc")]
    settings = params.override({"data.root": str(root), "data.sources": sources})
    cross_evaluate(trained.artifact, settings, root / "out")
    return root


def test_a_source_is_scored_as_it_would_be_alone(crossed: Path, trained: Trained) -> None:
    alone = read_evaluation(trained.evaluation)
    together = read_evaluation(crossed / "out" / "evaluation")
    (of_source,) = [each for each in together.metrics["groups"] if each["source"] == "cityscapes"]
    assert of_source["frames"] == len(alone.frames)
    assert of_source["miou"] == pytest.approx(alone.scores.miou, abs=1e-6)
    assert of_source["miou_official"] == pytest.approx(alone.scores.miou_official, abs=1e-6)
    assert of_source["iou"] == pytest.approx(alone.scores.iou, abs=1e-6, nan_ok=True)


def test_each_condition_has_a_row(crossed: Path) -> None:
    rows = list(csv.DictReader((crossed / "out" / "cross.csv").open()))
    listed = [(row["source"], row["condition"], int(row["frames"])) for row in rows]
    frames = listed[-1][2]
    assert listed == [
        ("acdc", "", 2),
        ("acdc", "night", 1),
        ("acdc", "rain", 1),
        ("cityscapes", "", frames - 2),
        ("all", "", frames),
    ]
    dataset = PreparedDataset(crossed / "out" / "prepared")
    (night,) = np.flatnonzero(dataset.index["condition"] == "night")
    with np.load(crossed / "out" / "evaluation" / "frames.npz") as stored:
        counts = stored["counts"][[*dataset.rows("val")].index(night)]
    assert float(rows[1]["miou"]) == pytest.approx(category_miou(counts), abs=1e-6)


def test_the_page_shows_the_table_and_where_it_breaks(crossed: Path) -> None:
    page = (crossed / "out" / "cross.html").read_text()
    assert "<td>acdc</td><td>rain</td><td>1</td>" in page
    assert "<h3>acdc, night</h3>" in page
    assert "<h3>cityscapes</h3>" in page
    assert page.count('<div class="four">') >= 3


def test_the_command_takes_folders_anywhere(
    crossed: Path, trained: Trained, streetseg: Command, tmp_path: Path
) -> None:
    called = streetseg(
        "cross-evaluate",
        *("--model", str(trained.artifact), "--out", str(tmp_path / "out")),
        *("--on", f"acdc={crossed / 'acdc'}", "--set", "prepare.workers=1"),
    )
    assert called.returncode == 0, called.stderr
    assert "night" in called.stdout
    wrong = streetseg("cross-evaluate", "--model", str(trained.artifact), "--on", "acdc")
    assert wrong.returncode == 2
