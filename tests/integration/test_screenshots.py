"""Screenshots of MLflow's pages: the real server in a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.screenshots import pages_of, take_screenshots
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.registry.promotion import promote
from streetseg.tracking.record import training_run
from streetseg.tracking.store import connect

CURVES = ("held-out/loss", "held-out/miou", "held-out/iou/sky", "train/loss")
FEWEST_COLORS = 20
"""An empty page of MLflow, with its frame and buttons, has about ten."""


def run_script(path: Path, *arguments: str, tools: str) -> subprocess.CompletedProcess[str]:
    """Call the script as a user would, with programs found in the folder ``tools``."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.screenshots", "--out", str(path), *arguments],
        env={**os.environ, "PATH": tools},
        capture_output=True,
        text=True,
        check=False,
    )


def add_run(recipe: Params, dataset: PreparedDataset) -> str:
    """The record of a training of two epochs, and of its score."""
    with training_run(recipe, dataset) as run:
        for epoch in (1, 2):
            run.log(epoch, dict.fromkeys(CURVES, 1 / epoch))
            run.log_image(f"epoch_{epoch:03d}", dataset.image(epoch))
        run.log(2, {"val/miou": 0.5})
    return run.id


@pytest.fixture
def recipe(params: Params, dataset: PreparedDataset, tmp_path: Path) -> Params:
    """The recipe of a run in a store of its own, whose model is the champion."""
    recipe = params.override({"registry.tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}"})
    name, run_id = "street-segmenter", add_run(recipe, dataset)
    client = connect(recipe.registry)
    client.create_registered_model(name)
    client.create_model_version(
        name,
        "s3://models/none",
        run_id,
        tags={"data_version": dataset.version, "gate": "passed"},
        description="# A network\n\n## Gate\n\nPassed.",
    )
    promote(recipe.registry, "1")
    return recipe


def test_without_chromium_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    done = run_script(tmp_path / "img", tools=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "error: Chromium is not installed: apt-get install chromium\n"
    assert not (tmp_path / "img").exists()


@pytest.mark.parametrize("store", ["sqlite:///{}/mlflow.db", "http://127.0.0.1:1", "{}"])
def test_a_store_that_is_not_there_is_not_made(store: str, tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match=r"no SQLite store .*: run 'make demo'"):
        pages_of(store.format(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_single_run_has_none_to_be_compared_with(recipe: Params) -> None:
    with pytest.raises(StreetsegError, match="no second run"):
        pages_of(str(recipe.registry.tracking_uri))


@pytest.mark.usefixtures("chromium")
@pytest.mark.slow
def test_each_page_has_a_screenshot(
    recipe: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    add_run(recipe.override({"train.seed": 1}), dataset)
    store = str(recipe.registry.tracking_uri)
    written = take_screenshots(store, tmp_path / "img")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "img").iterdir()}
    _, pages = pages_of(store)
    for page, path in zip(pages, written, strict=True):
        assert path.stem == page.name
        assert path.stat().st_size < 200_000
        with Image.open(path) as shown:
            assert shown.size == page.size
            assert len(shown.convert("RGB").getcolors(1 << 24) or []) > FEWEST_COLORS
