"""The page of an evaluation: what it says, shows and weighs."""

from __future__ import annotations

import copy
import csv
import json
import math
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE, Category, LabelSpace
from streetseg.evaluation.cost import network_cost
from streetseg.evaluation.curves import HEIGHT, WIDTH, Curves
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.frames_shown import MAX_PICTURES_BYTES, shown_frames
from streetseg.evaluation.ranked_frames import PredictedFrame, RankedFrames
from streetseg.evaluation.report import (
    MAX_PAGE_BYTES,
    shown_intervals,
    top_confusions,
    write_report,
)
from streetseg.evaluation.result import Evaluation, FrameScore, read_evaluation
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.confusion import category_iou, category_miou
from streetseg.reports.drawing import draw_confusion, error_color, legend_columns
from tests.conftest import Trained
from tests.support.evaluations import evaluation_of

NAMES = ["road", "pole", "person"]


def table_on(page: str) -> dict[str, Any]:
    found = re.search(r'id="frames">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def page(trained: Trained) -> str:
    return (trained.evaluation / "report.html").read_text()


def test_confusions_are_told_in_words_the_largest_first() -> None:
    confusion = np.array([[990, 0, 10], [0, 50, 0], [300, 31, 669]])
    first, second, third = top_confusions(confusion, NAMES)
    assert first["words"] == "person taken for road: 30.0 % of person"
    assert second["words"] == "person taken for pole: 3.1 % of person"
    assert (second["true"], second["predicted"], second["pixels"]) == (2, 1, 31)
    assert third["words"] == "road taken for person: 1.0 % of road"
    assert top_confusions(np.diag([5, 5]), NAMES[:2]) == []


def test_the_table_has_every_frame_and_is_the_csv_beside_the_page(
    trained: Trained, page: str
) -> None:
    evaluation = json.loads((trained.evaluation / "evaluation.json").read_text())
    table = table_on(page)
    names = [each["frame"] for each in evaluation["frames"]]
    assert [row[0] for row in table["data"]] == names
    mious = [row[table["columns"].index("miou")] for row in table["data"]]
    assert mious == pytest.approx([each["miou"] for each in evaluation["frames"]], abs=1e-4)
    with (trained.evaluation / "frames.csv").open() as file:
        head, *rows = csv.reader(file)
    assert head == table["columns"]
    assert [row[0] for row in rows] == names
    with np.load(trained.evaluation / "frames.npz") as frames:
        counts = dict(zip(frames["frames"].tolist(), frames["counts"], strict=True))
    for row in rows:
        told = dict(zip(head, row, strict=True))
        matrix = counts[told["frame"]]
        iou = dict(zip(evaluation["categories"], category_iou(matrix), strict=True))
        assert float(told["worst_iou"]) == pytest.approx(iou[told["worst"]], abs=1e-4)
        accuracy = matrix.diagonal().sum() / matrix.sum()
        assert float(told["accuracy"]) == pytest.approx(accuracy, abs=1e-4)


def test_each_category_has_its_worst_frame(trained: Trained, page: str) -> None:
    evaluation = json.loads((trained.evaluation / "evaluation.json").read_text())
    with np.load(trained.evaluation / "frames.npz") as frames:
        counts, names = frames["counts"], frames["frames"].tolist()
    iou = category_iou(counts)
    iou[counts.sum(axis=1) + counts.sum(axis=2) < 100] = math.nan
    captions = re.findall(r"<figcaption>(\S+): mIoU(.*?)</figcaption>", page)
    for column, name in enumerate(evaluation["categories"]):
        if np.isnan(iou[:, column]).all():
            continue
        worst = np.nanmin(iou[:, column])
        frames_of = [frame for frame, text in captions if f"<b>{name}: IoU {worst:.3f}</b>" in text]
        assert len(frames_of) == 1, name
        assert iou[names.index(frames_of[0]), column] == worst


def test_cost_is_on_the_page(trained: Trained, page: str) -> None:
    cost = json.loads((trained.evaluation / "evaluation.json").read_text())["performance"]
    model = onnx.load(trained.artifact / "model.onnx")
    weights = [math.prod(each.dims) for each in model.graph.initializer if each.data_type == 1]
    assert cost["parameters"] == sum(weights)
    assert f"<b>{cost['parameters'] / 1e6:.2f} M</b> parameters" in page
    assert f"<b>{cost['gmacs']:.2f}</b> GMACs" in page


def test_macs_are_those_that_pytorch_counts(trained: Trained) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from streetseg.models.load import load_torch

    with FlopCounterMode(display=False) as counter:
        load_torch(trained.artifact)(torch.zeros(1, 64, 128, 3, dtype=torch.uint8))
    _, gmacs = network_cost(trained.artifact / "model.onnx")
    assert 2e9 * gmacs == pytest.approx(counter.get_total_flops())


def test_few_drives_have_no_interval(trained: Trained, page: str) -> None:
    evaluation = json.loads((trained.evaluation / "evaluation.json").read_text())
    assert evaluation["intervals"]["miou"] is not None, "it stays in the numbers"
    assert evaluation["drives"]["number"] == 4
    assert 'class="of"' not in page
    assert "So few drives\nsay too little about others" in page
    assert not re.search(r'<div class="span" title="0\.', page)


def test_enough_drives_have_one_and_a_category_in_few_of_them_has_none() -> None:
    counts = np.tile(np.diag([100, 50, 0]), (8, 1, 1))
    counts[:3, 2, 2] = 10
    ends = [0.5, 0.6]
    metrics = {"intervals": {"miou": ends, "iou": {"road": ends, "human": ends, "vehicle": ends}}}
    evaluation = evaluation_of(counts, metrics=metrics)
    assert shown_intervals(evaluation) == {"miou": ends, "iou": {"road": ends, "human": ends}}
    few = evaluation_of(counts[:4], metrics=metrics)
    assert shown_intervals(few) == {"iou": {}}


def test_the_words_of_cityscapes_are_for_cityscapes(
    trained: Trained, dataset: PreparedDataset, params: Params, page: str, tmp_path: Path
) -> None:
    assert "Cityscapes benchmark script" in page
    assert "IoU, official" in page
    evaluation, ranked = many_frames(trained, dataset, 2, 3, 1)
    write(evaluation, ranked, tmp_path)
    other = (tmp_path / "report.html").read_text()
    assert "Cityscapes" not in other
    assert "official" not in other


def test_the_error_color_is_no_categorys() -> None:
    for labels in (LabelSpace.load("cityscapes"), LabelSpace.load("cityscapes-19"), mapillary(66)):
        color = np.array(error_color(labels))
        distance = np.abs(np.array(labels.palette, int) - color).sum(axis=1).min()
        assert distance >= 60, labels.name


def test_a_legend_has_as_many_columns_as_its_names_have_room() -> None:
    assert legend_columns(["sky", "road"]) == 2
    assert legend_columns(["x" * 40] * 30) == 2
    assert legend_columns(["x" * 200] * 3) == 1


def test_learning_curves_are_drawn_where_they_are_known(
    trained: Trained, dataset: PreparedDataset, params: Params, page: str, tmp_path: Path
) -> None:
    assert "The run that trained this model, or its curves, are not in the registry" in page
    curves = Curves({1: 2.0, 2: 1.0, 3: 1.5}, {1: 0.25})
    (line,) = curves.lines
    assert line.points == f"0.0,0.0 {WIDTH / 2},{HEIGHT}.0 {WIDTH}.0,{HEIGHT / 2}"
    evaluate(trained.artifact, dataset, params, tmp_path / "out", curves=curves)
    drawn = (tmp_path / "out" / "report.html").read_text()
    assert line.points in drawn
    assert "training loss: from 1.000 to 2.000 over epochs 1 to 3, 1.500 at the end" in drawn


# With many frames, categories and places


class NoisyFrames(RankedFrames):
    """Frames of noise, which no format compresses: the largest pictures there can be."""

    @cached_property
    def noise(self) -> np.random.Generator:
        return np.random.default_rng(0)

    def predict(self, rank: int) -> PredictedFrame:
        n_categories = len(self.dataset.labels.names)
        rgb = self.noise.integers(0, 255, (512, 1024, 3), np.uint8)
        truth, predicted = self.noise.integers(0, n_categories, (2, 512, 1024), np.uint8)
        truth[:50] = IGNORE
        return PredictedFrame(rank, self.scores[rank], rgb, truth, predicted)


def mapillary(n_categories: int) -> LabelSpace:
    """Labels of Mapillary Vistas, each a category of its own."""
    drawn = LabelSpace.load("mapillary-1.2").drawn[:n_categories]
    return LabelSpace(
        name="streets",
        categories=tuple(Category(label.name, label.color) for label in drawn),
        labels=tuple(replace(label, category=label.name) for label in drawn),
    )


def many_frames(
    trained: Trained, dataset: PreparedDataset, n_frames: int, n_categories: int, n_places: int
) -> tuple[Evaluation, NoisyFrames]:
    large = copy.copy(dataset)
    large.labels = mapillary(n_categories)
    large.cities_are_places = False
    index = pd.concat([dataset.index] * (n_frames // len(dataset.index) + 1), ignore_index=True)
    large.index = index.iloc[:n_frames].assign(
        split="val",
        frame=[f"a-drive-through-the-city-{number:06d}" for number in range(n_frames)],
        city=[f"sequence-{number % n_places:04d}" for number in range(n_frames)],
    )
    random = np.random.default_rng(1)
    counts = random.integers(0, 5000, (n_frames, n_categories, n_categories))
    mious = np.array([category_miou(matrix) for matrix in counts])
    order = np.argsort(-mious, kind="stable")
    scores = [FrameScore(large.index["frame"].iloc[row], float(mious[row])) for row in order]
    slices = [
        {
            "name": f"sequence-{number:04d}",
            "frames": 12,
            "drives": 1,
            "miou": number / 1000,
            "interval": None,
        }
        for number in range(n_places)
    ]
    scored = read_evaluation(trained.evaluation)
    metrics = scored.metrics | {"slices": {"city": slices}, "rows": None, "object_sizes": None}
    metrics["intervals"] = {}
    metrics["boundary_iou"] = dict.fromkeys(large.labels.names, 0.5)
    evaluation = evaluation_of(
        counts,
        large.labels.names,
        frames=scores,
        metrics=metrics,
        drives=large.index["city"].to_numpy(str),
    )
    return evaluation, NoisyFrames(Segmenter(trained.artifact), large, order, scores)


def write(evaluation: Evaluation, ranked: RankedFrames, folder: Path) -> None:
    confusion = folder / "confusion.png"
    draw_confusion(evaluation.scores.category_confusion, ranked.dataset.labels.names, confusion)
    write_report(evaluation, ranked, confusion, folder)


@pytest.mark.slow
def test_with_5000_frames_it_stays_below_its_limit(
    trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    evaluation, ranked = many_frames(trained, dataset, 5000, 66, 400)
    write(evaluation, ranked, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert 3_000_000 < len(page.encode()) < MAX_PAGE_BYTES
    assert len(table_on(page)["data"]) == 5000
    assert "<summary>392 more, with higher scores</summary>" in page
    assert "<summary>46 more, with higher scores</summary>" in page
    assert "<summary>The colors of 66 categories</summary>" in page
    table = page[page.index("<h2>Categories</h2>") : page.index("<h2>Where it fails</h2>")]
    names = re.findall(r'"swatch"[^>]*></i>([^<]+)</td>', table)
    iou = evaluation.scores.iou
    assert names == sorted(iou, key=lambda name: iou[name])
    assert "<th>sequence</th>" in page
    assert page.index("<td>sequence-0000</td>") < page.index("<td>sequence-0009</td>")
    shown = shown_frames(evaluation, ranked)
    assert sum(each.bytes for each in shown) <= MAX_PICTURES_BYTES
    assert len(shown) >= 3


@pytest.mark.parametrize(
    ("frames", "categories"), [(2, 1), (1, 2), pytest.param(2, 66, marks=pytest.mark.slow)]
)
def test_few_frames_and_few_categories_have_a_page_too(
    trained: Trained, dataset: PreparedDataset, tmp_path: Path, frames: int, categories: int
) -> None:
    evaluation, ranked = many_frames(trained, dataset, frames, categories, 1)
    write(evaluation, ranked, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count('<figure class="shot"') == frames
    assert len(table_on(page)["data"]) == frames
