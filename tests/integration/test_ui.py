"""``make ui``: MLflow's server as it is started, a run's page in a browser, and its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripts.chromium import chromium
from scripts.screenshots import CONTAINS_TEXT, OFFLINE
from scripts.servers import free_port
from streetseg.config.params import Params
from streetseg.core.provenance import REPOSITORY
from streetseg.evaluation.result import read_evaluation
from streetseg.tracking.results import record_evaluation
from streetseg.tracking.store import connect
from tests.conftest import Trained

pytestmark = pytest.mark.slow

UP = re.compile(r"MLflow: (http://127\.0\.0\.1:\d+/#/experiments/\d+/runs) \(Ctrl-C stops it\)")
MAX_BYTES = 0.6e9
WIDTH, HEIGHT = 1400, 900
DRAWN = "document.querySelectorAll('main .js-plotly-plot').length >= 5"
CURVES = """() => Object.fromEntries([...document.querySelectorAll('main .js-plotly-plot')]
    .filter(plot => plot.getBoundingClientRect().top < innerHeight)
    .map(plot => [plot.data[0].metricKey, [...plot.data[0].y]]))"""


@pytest.fixture
def ui(params: Params, trained: Trained, tmp_path: Path) -> Iterator[tuple[psutil.Process, str]]:
    """The running ``make ui`` on a scored training, and the address that it prints."""
    scored = read_evaluation(trained.evaluation)
    record_evaluation(params.registry, scored, trained.evaluation, trained.artifact)
    make = ["make", "--no-print-directory", "--old-file=.venv/.synced", "ui"]
    make += [f"PORT={free_port()}", f"BIN={Path(sys.executable).parent}"]
    output = tmp_path / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            make,
            cwd=REPOSITORY,
            env=os.environ | {"MLFLOW_TRACKING_URI": str(params.registry.tracking_uri)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not (printed := UP.search(output.read_text())):
            assert process.poll() is None, output.read_text()
            time.sleep(0.2)
        assert output.read_text().splitlines() == [printed[0]], "no banner"
        yield psutil.Process(process.pid), printed[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_it_takes_two_processes_and_ends_with_its_make(ui: tuple[psutil.Process, str]) -> None:
    make, _ = ui
    below = make.children(recursive=True)
    assert len(below) == 2
    assert sum(each.memory_info().rss for each in below) < MAX_BYTES
    make.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs([make, *below], timeout=60)
    assert not alive


@pytest.mark.usefixtures("chromium")
def test_loss_and_iou_by_category_are_the_first_curves_of_a_run(
    ui: tuple[psutil.Process, str], params: Params, trained: Trained
) -> None:
    _, address = ui
    with chromium(OFFLINE) as browser:
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.set_default_timeout(120_000)
        tab.goto(address)
        tab.wait_for_function(CONTAINS_TEXT, arg="matching runs")
        assert tab.url.split("?")[0] == address, "the list of runs, not GenAI's page"
        tab.goto(f"{address}/{trained.run_id}/model-metrics")
        tab.wait_for_function(DRAWN)
        curves = tab.evaluate(CURVES)
    client = connect(params.registry)
    categories = [name for name in curves if name.startswith("held-out/iou/")]
    assert len(categories) > 1
    for name in ("held-out/loss", "held-out/miou", *categories):
        points = client.get_metric_history(trained.run_id, name)
        assert curves[name] == pytest.approx([point.value for point in points])
        assert len(curves[name]) == params.train.epochs
