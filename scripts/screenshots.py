"""Pictures of MLflow's pages with real runs and versions in them, for the documentation.

MLflow's own server is started on this machine on a store that holds a champion, and Debian's
Chromium looks at it, led by the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)
over two pipes. Nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from PIL import Image

from streetseg.atomic import unfinished_path
from streetseg.config import Registry
from streetseg.errors import StreetsegError, exit_on_error
from streetseg.provenance import REPOSITORY
from streetseg.registry import CHAMPION, find
from streetseg.tracking import clear_errors, connect

STORE = f"sqlite:///{REPOSITORY / 'outputs' / 'demo' / 'mlflow.db'}"
PATIENCE_S = 120
"""How long the server may take to start, and a page to show what it holds."""
SETTLED_S = 0.5
"""A page that looks the same after this time has done loading."""
COLORS = 128
"""Of a picture's palette: MLflow's pages need no more, and the files are a quarter as large."""
COLUMNS = ("metrics.`miou`", "tags.`data_version`", "tags.`encoder`", "params.`train.seed`")
CURVES = ("loss", "selection_miou", "learning_rate")
REMEMBERED = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.assistant.panelOpen_v1": False,
}
"""What MLflow's page keeps of its user's choices: model training, and no assistant beside it."""

SHOWN = "document.body.innerText.replace(/\\s+/g, ' ').includes(%s)"
CLICK = """(found => found && (found.click(), true))([...document.querySelectorAll('*')].find(
    each => [...each.childNodes].some(
        child => child.nodeType === Node.TEXT_NODE && child.data.trim() === %s)))"""
FOCUS_SEARCH = """(found => found && (found.focus(), true))(
    document.querySelector('main input[placeholder^=Search]'))"""
HIDE_TOOLBARS = """document.head.append(Object.assign(document.createElement('style'),
    {textContent: '.modebar {display: none}'}))"""
"""Those of Plotly's charts, which a user sees under the pointer alone."""


@dataclass(frozen=True)
class Page:
    """A page of MLflow, and when it is ready."""

    name: str
    path: str
    """What comes after ``#/`` in the address."""
    size: tuple[int, int]
    """Width and height of the picture."""
    shows: tuple[str, ...]
    """Texts that are on the page once it is ready."""
    clicks: tuple[str, ...] = ()
    """Texts to click first, in this order."""
    search: str = ""
    """What to type into the page's search."""


def main() -> None:
    """Take every picture; status 1 with one clear line where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=STORE, help="an SQLite store, as 'make demo' leaves it")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "img")
    arguments = parser.parse_args()
    with exit_on_error():
        for path in take_pictures(arguments.store, arguments.out):
            print(f"{os.path.relpath(path)}  {path.stat().st_size // 1000} kB")


def take_pictures(store: str, out: Path) -> list[Path]:
    """Write a PNG of each page; either all of them, or none.

    Args:
        store: ``sqlite:///<file>`` with a champion and another run that was scored.
        out: a folder, made if need be; what else it holds stays.

    Raises:
        StreetsegError: Chromium, the store, the champion or the other run is missing, or a page
            does not show what it should.
    """
    if not (program := shutil.which("chromium")):
        raise StreetsegError("Chromium is not installed: apt-get install chromium")
    experiment, pages = pages_of(store)
    view = {"selectedColumns": list(COLUMNS)}
    remembered = {
        f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState': view
    }
    with (
        tempfile.TemporaryDirectory() as scratch,
        mlflow_server(store, Path(scratch) / "server.log") as url,
        chromium(program, Path(scratch) / "profile") as browser,
    ):
        browser.remember(REMEMBERED | remembered)
        pictures = {page.name: browser.picture(url, page) for page in pages}
    out.mkdir(parents=True, exist_ok=True)
    return [write_small(png, out / f"{name}.png") for name, png in pictures.items()]


def pages_of(store: str) -> tuple[str, list[Page]]:
    """The experiment of the champion, and the pages that show it, its run and another run.

    Raises:
        StreetsegError: the store, the champion or the other run is missing.
    """
    path = Path(store.removeprefix("sqlite:///"))
    if not store.startswith("sqlite:///") or not path.is_file():
        raise StreetsegError(f"there is no SQLite store {store}: run 'make demo', or name one")
    registry = Registry(tracking_uri=store)
    client = connect(registry)
    champion = find(client, registry.model_name, CHAMPION)
    with clear_errors(f"cannot read the run of version {champion.version}"):
        run = client.get_run(champion.run_id).info
        scored = client.search_runs([run.experiment_id], "metrics.miou > 0")
        drawn = client.list_artifacts(run.run_id, "predictions")
    others = [each.info.run_id for each in scored if each.info.run_id != run.run_id]
    if not others or not drawn:
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
            (1400, 630),
            CURVES,
            search="|".join(f"^{name}" for name in CURVES),
        ),
        Page(
            "predictions",
            f"{runs}/{run.run_id}/artifacts/{drawn[-1].path}",
            (1400, 660),
            (drawn[-1].path,),
        ),
        Page("model", model, (1400, 1330), ("@ champion", "data_version"), ("Tags",)),
        Page(
            "version", f"{model}/versions/{champion.version}", (1400, 1330), ("@ champion", "Gate")
        ),
        Page(
            "compare",
            f"compare-runs?runs={two}&experiments={quote(json.dumps([run.experiment_id]))}",
            (1400, 1000),
            ("Run details", "selection_miou"),
            clicks=("Visualizations", "Show diff only"),
        ),
    ]


def write_small(png: bytes, path: Path) -> Path:
    """Write a picture with a palette of few colours."""
    unfinished = unfinished_path(path)
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(unfinished, "PNG", optimize=True)
    return unfinished.rename(path)


@contextmanager
def mlflow_server(store: str, log: Path) -> Iterator[str]:
    """MLflow's own server on a free port of this machine, stopped when the block ends.

    Raises:
        StreetsegError: it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        log.open("w") as output,
        running(
            command, stdout=output, stderr=output, env=os.environ | quiet, cwd=log.parent
        ) as server,
    ):
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_S
        while not answers(f"{url}/health"):
            if server.poll() is not None or time.monotonic() > deadline:
                why = log.read_text().strip().split("\n")[-1]
                raise StreetsegError(f"MLflow's server does not start on {store}: {why}")
            time.sleep(0.2)
        yield url


def answers(url: str) -> bool:
    """Whether a server is there and well."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def running(command: list[str], **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block, and waited for."""
    with subprocess.Popen(command, **how) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def chromium(program: str, profile: Path) -> Iterator[Browser]:
    """A headless Chromium with a profile of its own, which sees this machine alone."""
    flags = [
        "--headless",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--lang=en-US",
        "--hide-scrollbars",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    # Chromium reads commands from descriptor 3 and answers on 4.
    pipes = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh"]
    with running(
        [*pipes, program, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield Browser(process)


class Browser:
    """A page of Chromium, led by the DevTools protocol: JSON objects that a zero byte ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Open an empty page in a Chromium that listens on its standard input."""
        self.process = process
        self.unread = b""
        self.calls = 0
        self.session: dict[str, str] = {}
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        self.call("Page.enable")
        self.call("Emulation.setTimezoneOverride", timezoneId="UTC")

    def remember(self, choices: dict[str, Any]) -> None:
        """Put what a page's user has chosen into each page before it loads."""
        script = "".join(
            f"localStorage.setItem({json.dumps(key)}, {json.dumps(json.dumps(value))});"
            for key, value in choices.items()
        )
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def picture(self, url: str, page: Page) -> bytes:
        """Open a page and take a PNG of it once it is ready and at rest.

        Raises:
            StreetsegError: it does not become so in time.
        """
        width, height = page.size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=f"{url}/#/{page.path}")
        for text in page.clicks:
            self.wait_for(CLICK % json.dumps(text), page, text)
        if page.search:
            self.wait_for(FOCUS_SEARCH, page, "Search")
            self.call("Input.insertText", text=page.search)
            self.run("document.activeElement.blur()")
        for text in page.shows:
            self.wait_for(SHOWN % json.dumps(text), page, text)
        self.run(HIDE_TOOLBARS)
        before, deadline = b"", time.monotonic() + PATIENCE_S
        while (png := self.shoot()) != before:
            if time.monotonic() > deadline:
                raise StreetsegError(f"MLflow's page {page.path} does not come to rest")
            before = png
            time.sleep(SETTLED_S)
        return png

    def wait_for(self, script: str, page: Page, text: str) -> None:
        """Wait until an expression is true of the page, as it is once it shows ``text``."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.run(script):
            if time.monotonic() > deadline:
                raise StreetsegError(f"MLflow's page {page.path} does not show '{text}'")
            time.sleep(0.1)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def shoot(self) -> bytes:
        """A PNG of the page as it is now."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        assert self.process.stdin
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters, **self.session}
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\0")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise StreetsegError("Chromium does not start") from None
        while (answer := self.receive()).get("id") != self.calls:
            pass
        if "error" in answer:
            raise StreetsegError(f"Chromium refuses {method}: {answer['error']['message']}")
        return answer["result"]

    def receive(self) -> dict[str, Any]:
        """The next message: an answer, or an event, which nobody waits for."""
        assert self.process.stdout
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
            received = os.read(self.process.stdout.fileno(), 1 << 20) if ready else b""
            if not received:
                raise StreetsegError("Chromium has ended, or does not answer")
            self.unread += received
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)


if __name__ == "__main__":
    main()
