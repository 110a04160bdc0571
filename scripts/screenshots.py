"""Screenshots of MLflow's pages with real runs and versions, for the documentation.

MLflow's own server runs on this machine, on a store with a champion, and Debian's Chromium opens
its pages. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import BrowserContext
from playwright.sync_api import Error as BrowserError

from scripts.chromium import PICTURES, chromium, write_pictures
from scripts.servers import running
from streetseg.config.params import Registry
from streetseg.core.errors import StreetsegError, exit_on_error, one_line
from streetseg.core.program import set_up_environment
from streetseg.core.provenance import REPOSITORY
from streetseg.registry.versions import CHAMPION, find
from streetseg.tracking.store import connect, sqlite_path, translate_errors

STORE = f"sqlite:///{REPOSITORY / 'outputs' / 'mlflow.db'}"
SERVE = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "PORT"]
SERVE += ["--workers", "1", "--backend-store-uri"]
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
LOADS_WITHIN_S = 120
"""Seconds until a page must be complete."""
UNCHANGED_S = 0.5
"""A page that has not changed for so many seconds is complete."""
COLORS = 128
"""In an image's palette: enough for MLflow's pages, and a quarter of the bytes."""
COLUMNS = ("metrics.`val/miou`", "tags.`data_version`", "tags.`encoder`", "params.`train.seed`")
LOCAL_STORAGE = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.assistant.panelOpen_v1": False,
}
"""The user's choices that MLflow's page stores: model training, and no assistant."""

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""Chromium's option to reach this machine alone."""
CONTAINS_TEXT = "text => document.body.innerText.replace(/\\s+/g, ' ').includes(text)"
NO_TOOLBARS = ".modebar {display: none}"
"""Style that hides the toolbars of Plotly's charts, which a user sees on hovering."""


@dataclass(frozen=True)
class Page:
    """A page of MLflow, and how to tell that it is complete."""

    name: str
    path: str
    """The part of the address after ``#/``."""
    size: tuple[int, int]
    """Width and height of the image."""
    shows: tuple[str, ...]
    """Texts on the complete page."""
    clicks: tuple[str, ...] = ()
    """Texts to click first, in this order."""


def main() -> None:
    """Take every screenshot; status 1 with one clear line if something is missing."""
    set_up_environment()
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python -m scripts.screenshots --out outputs/pictures",
    )
    parser.add_argument("--store", default=STORE, help="an SQLite store with the runs of two demos")
    parser.add_argument("--out", type=Path, default=PICTURES)
    arguments = parser.parse_args()
    with exit_on_error():
        take_screenshots(arguments.store, arguments.out)


def take_screenshots(store: str, out: Path) -> list[Path]:
    """Write a PNG of each page; either all of them, or none.

    Args:
        store: ``sqlite:///<file>`` with a champion and another run that was scored.
        out: a folder, made if need be; its other files stay.

    Raises:
        StreetsegError: Chromium, the store, the champion or the other run is missing, or a page
            is not complete in time.
    """
    with chromium(OFFLINE) as browser, tempfile.TemporaryDirectory() as scratch:
        experiment, pages = pages_of(store)
        context = browser.new_context(locale="en-US", timezone_id="UTC")
        context.set_default_timeout(1000 * LOADS_WITHIN_S)
        context.add_init_script(local_storage_script(experiment))
        log = REPOSITORY / "outputs" / "screenshots.log"
        log.parent.mkdir(exist_ok=True)
        with running([*SERVE, store], "/health", log, QUIET, folder=Path(scratch)) as server:
            screenshots = {
                page.name: smaller(screenshot(context, server.url, page)) for page in pages
            }
    return write_pictures(screenshots, out)


def pages_of(store: str) -> tuple[str, list[Page]]:
    """The experiment of the champion, and the pages that show it, its run and another run.

    Raises:
        StreetsegError: the store, the champion or the other run is missing.
    """
    database = sqlite_path(store)
    if not database or not database.is_file():
        raise StreetsegError(f"there is no SQLite store {store}: run 'make demo', or name one")
    registry = Registry(tracking_uri=store)
    client = connect(registry)
    champion = find(client, registry.model_name, CHAMPION)
    with translate_errors(f"cannot read the run of version {champion.version}"):
        run = client.get_run(champion.run_id).info
        scored = client.search_runs([run.experiment_id], "metrics.`val/miou` > 0")
        predictions = client.list_artifacts(run.run_id, "predictions")
    others = [each.info.run_id for each in scored if each.info.run_id != run.run_id]
    if not others or not predictions:
        raise StreetsegError(
            f'{store} holds no second run to compare with: make demo SET="train.seed=1"'
        )
    runs = f"experiments/{run.experiment_id}/runs"
    model = f"models/{champion.name}"
    two = quote(json.dumps([run.run_id, others[0]]))
    return run.experiment_id, [
        Page("experiment", runs, (1400, 480), ("matching runs", "data_version", "miou")),
        Page(
            "metrics",
            f"{runs}/{run.run_id}/model-metrics",
            (1400, 900),
            ("held-out", "held-out/iou"),
        ),
        Page(
            "predictions",
            f"{runs}/{run.run_id}/artifacts/{predictions[-1].path}",
            (1400, 660),
            (predictions[-1].path,),
        ),
        Page("model", model, (1400, 1330), ("@ champion", "data_version"), ("Tags",)),
        Page(
            "version", f"{model}/versions/{champion.version}", (1400, 1330), ("@ champion", "Gate")
        ),
        Page(
            "compare",
            f"compare-runs?runs={two}&experiments={quote(json.dumps([run.experiment_id]))}",
            (1400, 1000),
            ("Run details", "held-out/miou"),
            clicks=("Visualizations", "Show diff only"),
        ),
    ]


def local_storage_script(experiment: str) -> str:
    """A script that sets the user's choices in each page before it loads."""
    view = f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState'
    choices = LOCAL_STORAGE | {view: {"selectedColumns": list(COLUMNS)}}
    return "".join(
        f"localStorage.setItem({json.dumps(key)}, {json.dumps(json.dumps(value))});"
        for key, value in choices.items()
    )


def screenshot(context: BrowserContext, url: str, page: Page) -> bytes:
    """Open a page and take a PNG of it once it is complete.

    Raises:
        StreetsegError: it is not complete in time.
    """
    width, height = page.size
    tab = context.new_page()
    try:
        tab.set_viewport_size({"width": width, "height": height})
        tab.goto(f"{url}/#/{page.path}")
        for text in page.clicks:
            tab.get_by_text(text, exact=True).first.dispatch_event("click")
        for text in page.shows:
            tab.wait_for_function(CONTAINS_TEXT, arg=text)
        tab.add_style_tag(content=NO_TOOLBARS)
        before, deadline = b"", time.monotonic() + LOADS_WITHIN_S
        while (png := tab.screenshot()) != before:
            if time.monotonic() > deadline:
                raise StreetsegError(f"MLflow's page {page.path} keeps changing")
            before = png
            tab.wait_for_timeout(1000 * UNCHANGED_S)
        return png
    except BrowserError as error:
        raise StreetsegError(
            f"MLflow's page {page.path} does not load: {one_line(error)}"
        ) from None
    finally:
        tab.close()


def smaller(png: bytes) -> Image.Image:
    """The image with a palette of ``COLORS`` colours."""
    return Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
