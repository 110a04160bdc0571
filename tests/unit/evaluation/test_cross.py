"""A model on several sources."""

from __future__ import annotations

import csv
import json
import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation import cross
from streetseg.evaluation.cross import cross_evaluate
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.other_data import prepare_for_model
from streetseg.evaluation.result import read_evaluation
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.confusion import category_miou
from streetseg.reports.html import render_page
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
    rows = pd.read_csv(crossed / "out" / "cross.csv").fillna({"source": "", "condition": ""})
    assert "<td>acdc</td><td>rain</td><td>1</td>" in page
    assert "<h3>acdc, night</h3>" in page
    table = page[page.index("<h3>IoU by category</h3>") : page.index("<h2>Where it breaks</h2>")]
    groups = [f"{row.source}, {row.condition}".strip(", ") for row in rows.itertuples()]
    assert re.findall("<th>([^<]*)</th>", table) == ["category", *groups]
    for name in rows.columns[5:]:
        cells = re.search(f"<td>{name}</td>((?:<td[^>]*>[^<]*</td>)*)</tr>", table)
        assert cells
        scores = [f"{100 * value:.1f}" if value == value else "-" for value in rows[name]]
        assert re.findall(">([^<]+)</td>", cells[1]) == scores
    assert page.count('alt="Truth"') == page.count('<div class="strip">')
    assert "<h3>cityscapes</h3>" in page
    assert page.count('<div class="strip">') >= 3


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


def test_evaluate_takes_other_data(
    crossed: Path, trained: Trained, streetseg: Command, tmp_path: Path
) -> None:
    called = streetseg(
        *("evaluate", "--model", trained.artifact, "--out", tmp_path / "out", "--json"),
        *("--data", crossed / "acdc", "--source", "acdc", "--set", "prepare.workers=1"),
        *("--set", f"registry.tracking_uri=sqlite:///{tmp_path}/mlflow.db"),
    )
    assert called.returncode == 0, called.stderr
    of_acdc = next(csv.DictReader((crossed / "out" / "cross.csv").open()))
    found = json.loads(called.stdout)
    assert found["miou"] == pytest.approx(float(of_acdc["miou"]), abs=1e-6)
    assert found["iou"]["sky"] == pytest.approx(float(of_acdc["sky"]), abs=1e-6)


def test_a_full_disk_leaves_no_page_of_other_scores(
    trained: Trained, crossed: Path, params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = params.override({"data.root": str(crossed / "acdc"), "data.source": "acdc"})
    out = tmp_path / "out"
    cross_evaluate(trained.artifact, settings, out)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(*arguments: object, **options: object) -> str:
        page = render_page(*arguments, **options)  # type: ignore[arg-type]
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(page) // 2, limits[1]))
        return page

    monkeypatch.setattr(cross, "render_page", limited)
    try:
        with pytest.raises(StreetsegError, match=r"cannot write .*cross\.html: File too large"):
            cross_evaluate(trained.artifact, settings, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in out.iterdir()) == ["evaluation", "prepared"]


def test_a_model_of_labels_of_its_own_is_scored_on_them(
    trained: Trained, params: Params, cityscapes: Path, tmp_path: Path
) -> None:
    own = tmp_path / "model"
    shutil.copytree(trained.artifact, own)
    labels = json.loads((own / "labels.json").read_text())
    labels["categories"][0]["name"], labels["name"] = "nothing", "ours"
    for label in labels["labels"]:
        label["category"] = label["category"].replace("void", "nothing")
    (own / "labels.json").write_text(json.dumps(labels))
    settings = params.override({"data.root": str(cityscapes)})
    dataset = prepare_for_model(Segmenter(own), settings, tmp_path / "prepared", "val")
    assert dataset.labels == Segmenter(own).labels
    alone = read_evaluation(trained.evaluation)
    found = evaluate(own, dataset, settings, tmp_path / "evaluation")
    assert found.scores.miou == pytest.approx(alone.scores.miou, abs=1e-6)
