"""The pages of reports in the frame that Kubeflow's UI shows them in: a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Frame, Page, sync_playwright

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.drafting.draft import draft
from streetseg.data.drafting.measure import measure
from streetseg.data.prepare import prepare
from streetseg.data_quality.draft_page import draft_page
from streetseg.data_quality.explore import explore
from streetseg.data_quality.validation import validate
from streetseg.evaluation.cross import cross_evaluate
from streetseg.evaluation.evaluate import evaluate
from streetseg.inference.artifact import read_labels
from streetseg.inference.segmenter import Segmenter
from streetseg.labelling.loop import Loop, write_loop
from streetseg.labelling.select import select_frames
from streetseg.monitoring.drift import DriftWatch, Reference, observe
from streetseg.monitoring.drift_report import drift_page
from streetseg.prediction.batch import segment_folder
from streetseg.prediction.batch_report import write_batch_page
from streetseg.synth import write_cityscapes
from streetseg.training.train import train
from streetseg.tuning.search import tune
from tests.support.public_sets import public_set
from tests.unit.evaluation.test_baseline import other_model
from tests.unit.evaluation.test_nineteen_classes import add_instance_ids

pytestmark = pytest.mark.slow

NAMES = [
    *("evaluation", "evaluation-19", "validation", "validation-failed", "batch"),
    *("cross-19", "drift", "explore", "explore-19", "init", "tune", "select", "loop"),
]
FRAME = {"width": 527, "height": 598}
"""CSS pixels of a page in the UI, in a window of 1600."""
LONG = "a-drive-through-the-city-centre-with-a-name-that-never-ends_2026-11-30T12-00-00_front-left"
OVERFLOWING = """() => [...document.body.querySelectorAll('*')].filter(element => {
    for (let box = element.parentElement; box; box = box.parentElement)
        if (getComputedStyle(box).overflowX !== 'visible') return false;
    return element.getBoundingClientRect().right > innerWidth + 0.5;
}).map(element => element.outerHTML.slice(0, 120))"""


def of_eight_categories(
    params: Params, dataset: PreparedDataset, artifact: Path, out: Path
) -> None:
    """Reports about a model of 8 categories."""
    champion = other_model(artifact, out / "champion")
    evaluate(artifact, dataset, params, out / "e8", champion)
    shutil.copy(out / "e8" / "report.html", out / "evaluation.html")
    validate(dataset, params.validation, out / "validation.html")
    strict = params.override(
        {"validate.brightness": [120, 121], "validate.min_frames": {"val": 999}}
    )
    validate(dataset, strict.validation, out / "validation-failed.html")
    explore(dataset, params, out / "explore.html")
    drafted = draft(Path(str(params.data.root)), 20)
    (out / "init.html").write_text(draft_page(drafted, *measure(drafted)))
    images = out / "images"
    images.mkdir()
    for number, frame in enumerate((Path(str(params.data.root)) / "leftImg8bit").rglob("*.png")):
        shutil.copy(frame, images / f"{LONG}-{number}.png")
    (images / f"{LONG}-broken.png").write_bytes(b"no image")
    batch = segment_folder(str(images), str(out / "masks"), artifact, "models:/street-segmenter/7")
    write_batch_page(batch, out / "batch.html")
    labels, segmenter = read_labels(artifact), Segmenter(artifact)
    frames = [np.array(dataset.image(row)) for row in range(len(dataset.index))]
    seen = [observe(rgb, segmenter.logits(rgb[None])[0]) for rgb in frames] * 20
    watch = DriftWatch(labels.names, Reference.of(seen, labels.names, "0.dir", "val"), 200)
    for each in seen[:200]:
        watch.add(replace(each, brightness=each.brightness / 2))
    model = {"name": "street-segmenter", "version": "7"}
    (out / "drift.html").write_text(drift_page(watch.state(), model, labels))
    select_frames(str(images), out / "selection", artifact, "models:/street-segmenter/7", count=5)
    shutil.copy(out / "selection" / "selection.html", out / "select.html")
    write_loop(Loop.read(params, out, [out / "selection"]), out / "loop.html")
    space = {"train.learning_rate": {"low": 1e-4, "high": 1e-2}, "train.batch_size": [2, 4]}
    search = {"tune.trials": 2, "tune.space": space, "train.epochs": 1}
    tune(params.override(search), dataset, out / "search")
    shutil.copy(out / "search" / "tune.html", out / "tune.html")


def add_conditions(root: Path) -> None:
    """Make frames of ACDC in four conditions."""
    public_set(root, "acdc")
    for kind, suffix in (("rgb_anon", "rgb_anon"), ("gt", "gt_labelIds")):
        night = root / kind / "night" / "val" / "GOPR0351"
        for number, condition in enumerate(("fog", "rain", "snow")):
            drive = f"GP0{number}0400"
            folder = root / kind / condition / "val" / drive
            folder.mkdir(parents=True)
            name = f"GOPR0351_frame_000159_{suffix}.png"
            shutil.copy(night / name, folder / f"{drive}_frame_000001_{suffix}.png")


def of_nineteen_classes(params: Params, out: Path) -> None:
    """Reports about a model of 19 classes, on many cities and conditions."""
    frames = {"train": 12, "val": 8}
    write_cityscapes(
        out / "raw" / "town", frames=frames, cities=4, size=(128, 256), seed=3, workers=2
    )
    add_instance_ids(out / "raw" / "town")
    settings = params.override(
        {
            "data.source": "cityscapes-19",
            "data.root": str(out / "raw" / "town"),
            "data.prepared": str(out / "p19"),
            "train.epochs": 1,
            "evaluate.tta": ["flip", "scales"],
            "evaluate.window": [64, 128],
        }
    )
    dataset = PreparedDataset(prepare(settings))
    model = train(settings, dataset, out / "m19")
    evaluate(model.artifact, dataset, settings, out / "e19", other_model(model.artifact, out / "c"))
    shutil.copy(out / "e19" / "report.html", out / "evaluation-19.html")
    explore(dataset, settings, out / "explore-19.html")
    add_conditions(out / "raw" / "acdc")
    sources = [{"source": "cityscapes-19", "folder": "town"}, {"source": "acdc", "folder": "acdc"}]
    several = params.override({"data.root": str(out / "raw"), "data.sources": sources})
    cross_evaluate(model.artifact, several, out / "c19")
    shutil.copy(out / "c19" / "cross.html", out / "cross-19.html")


@pytest.fixture(scope="module")
def pages(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the page of each report."""
    out = tmp_path_factory.mktemp("pages")
    settings = params.override({"train.epochs": 1})
    model = train(settings, dataset, out / "m8")
    of_eight_categories(settings, dataset, model.artifact, out)
    of_nineteen_classes(settings, out)
    return out


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=sandbox)


def framed(page: Page, html: str) -> Frame:
    """A page as the UI shows it: inline in a sandbox, with scripts and without storage."""
    page.set_content("<body style='margin: 0'><iframe sandbox='allow-scripts' style='border: 0'>")
    page.eval_on_selector(
        "iframe",
        "(frame, [html, size]) => { Object.assign(frame, size); frame.srcdoc = html; }",
        [html, FRAME],
    )
    page.locator("iframe").content_frame.locator("h1").wait_for()
    (frame,) = page.main_frame.child_frames
    return frame


@pytest.mark.parametrize("name", NAMES)
def test_a_report_fits_the_frame_of_the_ui(name: str, pages: Path, browser: Browser) -> None:
    page = browser.new_page(viewport=FRAME)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url[:80]))
    frame = framed(page, (pages / f"{name}.html").read_text())
    page.screenshot(path=pages / f"{name}.png")
    assert frame.evaluate("innerWidth") == FRAME["width"]
    assert frame.evaluate(OVERFLOWING) == []
    assert frame.evaluate("document.documentElement.scrollWidth") <= FRAME["width"]
    assert [each for each in complaints if not each.startswith(("data:", "about:"))] == []
    page.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_accessible_at_every_width(name: str, pages: Path, browser: Browser) -> None:
    for scheme, width in product(("light", "dark"), (420, 800, 1400)):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto((pages / f"{name}.html").as_uri())
        assert page.evaluate(OVERFLOWING) == [], (scheme, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (scheme, width)
        violations = [each["id"] for each in Axe().run(page).response["violations"]]
        assert violations == [], (scheme, width)
        page.close()


def test_the_evaluation_works_in_the_frame_of_the_ui(pages: Path, browser: Browser) -> None:
    page = browser.new_page(viewport=FRAME)
    html = (pages / "evaluation-19.html").read_text()
    frame = framed(page, html)
    assert frame.locator(".shot:visible").count() == 8
    frame.locator("#choice").select_option("worst of all")
    assert frame.locator(".shot:visible").count() == 3
    frame.locator(".stack:visible").first.click()
    assert frame.locator(".shot.large").count() == 1
    frame.locator("input[value=errors]").check()
    assert frame.locator(".truth:visible").count() == 0
    assert frame.locator(".errors:visible").count() == 3
    frame.locator("#table th", has_text="mIoU").get_by_role("button").click()
    scores = [float(each) for each in frame.locator("#table td:nth-child(3)").all_text_contents()]
    assert len(scores) == 8
    assert scores == sorted(scores, reverse=True)
    frame.locator("#csv").click()
    href = frame.locator("#csv").get_attribute("href") or ""
    assert unquote(href).startswith("data:text/csv;charset=utf-8,frame,city,miou,")
    assert unquote(href).count("\n") == 8
    page.close()
