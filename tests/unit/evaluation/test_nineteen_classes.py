"""The 19 classes of Cityscapes, from frames to a served version."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

import streetseg
from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.data.prepare import prepare
from streetseg.data.sources import load_source
from streetseg.data.versions import reference
from streetseg.data_quality.explore import explore
from streetseg.data_quality.validation import validate
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_png
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.register import register
from streetseg.tracking.results import record_evaluation
from streetseg.tracking.store import connect
from streetseg.training.train import train
from tests.support.official_script import official_scores

LABELS = LabelSpace.load("cityscapes-19")
MEANS = {
    "class_miou": "averageScoreClasses",
    "class_miiou": "averageScoreInstClasses",
    "category_miou": "averageScoreCategories",
    "category_miiou": "averageScoreInstCategories",
}
"""Our names of the four means, and those of the script."""


@dataclass(frozen=True)
class Chain:
    """A model of 19 classes and what it was made of."""

    params: Params
    dataset: PreparedDataset
    artifact: Path
    folder: Path
    """Of the evaluation."""
    official: dict
    """What the script says of the masks that would be served."""

    @property
    def evaluation(self) -> Evaluation:
        return read_evaluation(self.folder)


def add_instance_ids(root: Path) -> None:
    """Number the connected parts of the labels of objects."""
    objects = [label.id for label in LABELS.labels if label.instances]
    for path in (root / "gtFine").rglob("*_gtFine_labelIds.png"):
        ids = decode_ids(path.read_bytes())
        instances = ids.astype(np.uint16)
        for label in objects:
            _, parts = cv2.connectedComponents((ids == label).astype(np.uint8))
            instances[parts > 0] = label * 1000 + parts[parts > 0]
        path.with_name(path.name.replace("label", "instance")).write_bytes(encode_png(instances))


@pytest.fixture(scope="module")
def chain(params: Params, cityscapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A network trained for two epochs, and scored, by us and by the script."""
    root = tmp_path_factory.mktemp("classes")
    source = Path(shutil.copytree(cityscapes, root / "source"))
    add_instance_ids(source)
    settings = params.override(
        {
            "data.source": "cityscapes-19",
            "data.root": str(source),
            "data.prepared": str(root / "prepared"),
            "train.epochs": 2,
            "registry.model_name": "classes",
        }
    )
    dataset = PreparedDataset(prepare(settings))
    trained = train(settings, dataset, root / "model")
    evaluate(trained.artifact, dataset, settings, root / "evaluation")
    model, masks = Segmenter(trained.artifact), root / "masks"
    masks.mkdir()
    for frame in load_source("cityscapes-19").find(source):
        if frame.split == "val":
            categories = model.predict(decode_image(frame.image.read_bytes()))
            mask = encode_png(LABELS.representative_ids[categories])
            (masks / f"{frame.name}.png").write_bytes(mask)
    official = official_scores(masks, source / "gtFine" / "val")
    return Chain(settings, dataset, trained.artifact, root / "evaluation", official)


def test_the_prepared_data_has_the_classes_alone(chain: Chain, tmp_path: Path) -> None:
    assert chain.dataset.labels == LABELS
    for row in chain.dataset.rows("val"):
        assert set(np.unique(chain.dataset.categories(row))) <= {*range(19), 255}
    with reference(chain.params) as usual:
        validate(chain.dataset, chain.params.validation, tmp_path / "v.html", usual).require()
    explore(chain.dataset, chain.params, tmp_path / "explore.html")
    assert "traffic light" in (tmp_path / "explore.html").read_text()


def test_a_model_is_scored_as_the_script_scores_its_masks(chain: Chain) -> None:
    tables = chain.evaluation.tables
    for kind, word in (("classes", "class"), ("categories", "category")):
        for ours, theirs in ((tables[kind].iou, "Scores"), (tables[kind].iiou, "InstScores")):
            for name, value in (ours or {}).items():
                expected = chain.official[f"{word}{theirs}"][name]
                assert value == pytest.approx(expected, abs=1e-9, nan_ok=True), name
    assert len(tables["classes"].iou) == 19
    scores = chain.evaluation.scores
    assert scores.miou_official == pytest.approx(chain.official["averageScoreClasses"], abs=1e-6)
    assert not math.isnan(tables["classes"].miiou)


def test_the_means_are_metrics_of_the_run(chain: Chain) -> None:
    evaluation = chain.evaluation
    record_evaluation(chain.params.registry, evaluation, chain.folder, chain.artifact)
    metrics = connect(chain.params.registry).get_run(evaluation.run_id).data.metrics
    expected = {ours: chain.official[theirs] for ours, theirs in MEANS.items()}
    assert {name: metrics[f"val/{name}"] for name in MEANS} == pytest.approx(expected, abs=1e-9)
    assert "val/class_iou/road" in metrics


def test_the_page_shows_the_tables_of_a_paper(chain: Chain) -> None:
    page = (chain.folder / "report.html").read_text()
    assert "<h2>19 classes of Cityscapes</h2>" in page
    assert "<h2>7 categories of Cityscapes</h2>" in page
    for theirs in MEANS.values():
        assert f"<td><b>{100 * chain.official[theirs]:.1f}</b></td>" in page
    assert "official class score" in page
    assert "void" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_it_passes_the_gate_is_registered_and_answers(chain: Chain) -> None:
    settings = chain.params.override({"gate.allow_never_predicted": LABELS.names})
    verdict = judge(chain.evaluation, settings.gate)
    assert verdict.passed, verdict.reasons
    version = register(chain.artifact, chain.evaluation, verdict, settings)
    card = connect(settings.registry).get_model_version("classes", version.version).description
    mean = 100 * chain.official["averageScoreClasses"]
    assert "| Cityscapes benchmark | IoU, classes | iIoU, classes | IoU, categories |" in card
    assert f"| in percent | {mean:.1f} |" in card
    model = streetseg.load(f"models:/classes/{version.version}", settings.registry)
    mask = model.predict(np.array(chain.dataset.image(0)))
    assert mask.max() < 19
    assert [category.name for category in model.labels.categories] == LABELS.names


def test_the_card_has_a_row_of_19(chain: Chain) -> None:
    from streetseg.inference.artifact import read_config
    from streetseg.registry.model_card import describe_model

    verdict = judge(chain.evaluation, chain.params.gate)
    card = describe_model(
        read_config(chain.artifact), chain.evaluation, verdict, {}, "cityscapes-19"
    )
    lines = card.splitlines()
    header = f"| | {' | '.join(LABELS.names)} | mean |"
    position = lines.index(header)
    for line in lines[position : position + 4]:
        assert line.count("|") == 22
    iou = [chain.official["classScores"][name] for name in LABELS.names]
    shown = ["-" if math.isnan(value) else f"{100 * value:.1f}" for value in iou]
    assert lines[position + 2].split(" | ")[1:-1] == shown
    assert lines[position + 3].startswith("| iIoU | - | - |")


def test_an_evaluation_without_the_tables_is_still_read(chain: Chain, tmp_path: Path) -> None:
    content = json.loads((chain.folder / "evaluation.json").read_text())
    del content["benchmark"]
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    shutil.copy(chain.folder / "frames.npz", tmp_path)
    old = read_evaluation(tmp_path)
    assert old.tables == {}
    assert "class_miou" not in old.headline()
    assert old.headline()["miou"] == chain.evaluation.headline()["miou"]


def test_without_instance_ids_the_iiou_alone_is_missing(chain: Chain, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(chain.dataset.path, tmp_path / "prepared"))
    for path in folder.rglob("instances"):
        shutil.rmtree(path)
    dataset = PreparedDataset(folder)
    found = evaluate(chain.artifact, dataset, chain.params, tmp_path / "evaluation")
    before = chain.evaluation.tables
    assert {kind: table.iou for kind, table in found.tables.items()} == pytest.approx(
        {kind: pytest.approx(table.iou, nan_ok=True) for kind, table in before.items()}
    )
    assert found.tables["classes"].iiou is None
    assert "The iIoU needs instance ids" in (tmp_path / "evaluation/report.html").read_text()


def test_windows_have_the_tables_too(chain: Chain, tmp_path: Path) -> None:
    """Windows that cover the frame give the scores of the frame."""
    settings = chain.params.override({"evaluate.window": [128, 256]})
    found = evaluate(chain.artifact, chain.dataset, settings, tmp_path / "evaluation").to_dict()
    assert found["windows"]["benchmark"] == found["benchmark"]
    settings = chain.params.override({"evaluate.window": [64, 128]})
    found = evaluate(chain.artifact, chain.dataset, settings, tmp_path / "windows").to_dict()
    window, frame = found["windows"]["benchmark"], found["benchmark"]
    assert window["classes"]["iou"].keys() == frame["classes"]["iou"].keys()
    assert window["classes"]["miiou"] != frame["classes"]["miiou"]
    page = (tmp_path / "windows" / "report.html").read_text()
    assert f"<td><b>{100 * window['classes']['miou']:.1f}</b></td>" in page
