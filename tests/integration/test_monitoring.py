"""Alerts and dashboard before a real Prometheus; skipped where none is installed."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from scripts.servers import running
from streetseg import __version__
from streetseg.config.params import Params
from streetseg.core.provenance import REPOSITORY, git_revision
from tests.conftest import Trained
from tests.support.live_service import LiveService, live_service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus is not installed"),
]

MONITORING = REPOSITORY / "deploy" / "components" / "monitoring"
SCRAPED = {"job": "streetseg-serve", "pod": "one"}
"""The labels that the ServiceMonitor gives each series."""
WITHIN_S = 60
SLOW = 'streetseg_request_seconds_bucket{route="/segment",le="%s"}'
SERIES = {
    "StreetsegDown": {'up{job="streetseg-serve",pod="one"}': "1 0x90"},
    "StreetsegErrors": {
        'streetseg_request_seconds_count{route="/segment",status="200"}': "0+9x90",
        'streetseg_request_seconds_count{route="/segment",status="503"}': "0+1x90",
        'streetseg_request_seconds_count{route="/model",status="200"}': "0+9x90",
    },
    "StreetsegSlow": {SLOW % "2.0": "0+9x90", SLOW % "5.0": "0+10x90", SLOW % "+Inf": "0+10x90"},
    "StreetsegWaiting": {
        'streetseg_queue_seconds_sum{stage="network",pod="one"}': "0+3x90",
        'streetseg_stage_seconds_sum{stage="network",pod="one"}': "0+2x90",
        'streetseg_queue_seconds_sum{stage="network",pod="two"}': "0+1x90",
        'streetseg_stage_seconds_sum{stage="network",pod="two"}': "0+2x90",
    },
    "StreetsegChampionNotFollowed": {
        'streetseg_registry_followed{pod="one"}': "0x90",
        'streetseg_registry_followed{pod="two"}': "1x90",
    },
    "StreetsegSwapFailed": {'streetseg_swaps_total{outcome="failed",pod="one"}': "0x59 1x30"},
    "StreetsegVersionsDiffer": {
        'streetseg_build_info{model="m",model_version="1",pod="one"}': "1x90",
        'streetseg_build_info{model="m",model_version="2",pod="two"}': "1x90",
    },
    "StreetsegDrift": {
        'streetseg_drift_psi{feature="brightness",pod="one"}': "0.3x90",
        'streetseg_drift_psi{feature="brightness",pod="two"}': "0.4x90",
        'streetseg_drift_psi{feature="saturation",pod="one"}': "0.2x90",
    },
}
"""For each alert, series by the minute of which it fires once."""
WELL = {
    'up{job="streetseg-serve",pod="one"}': "1x90",
    'streetseg_request_seconds_count{route="/segment",status="200"}': "0+9x90",
    SLOW % "2.0": "0+9x90",
    SLOW % "+Inf": "0+9x90",
    'streetseg_queue_seconds_sum{stage="network",pod="one"}': "0+1x90",
    'streetseg_stage_seconds_sum{stage="network",pod="one"}': "0+2x90",
    'streetseg_registry_followed{pod="one"}': "1x90",
    'streetseg_swaps_total{outcome="loaded",pod="one"}': "1+1x90",
    'streetseg_build_info{model="m",model_version="1",pod="one"}': "0x90",
    'streetseg_build_info{model="m",model_version="2",pod="one"}': "1x90",
    'streetseg_drift_psi{feature="brightness",pod="one"}': "0.2x90",
}
"""Series of a service that does what it should."""


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    """The rules, as Prometheus reads them from a file."""
    return yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]


@pytest.fixture
def rules_file(rules: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


def promtool(*arguments: str | Path) -> str:
    """What it says, if it is content."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def firing(rules_file: Path, alert: str, series: dict[str, str]) -> int:
    """How many alerts of a name fire in the 70th minute of some series."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": "70m", "alertname": alert, "exp_alerts": []}],
    }
    path = rules_file.with_name("test.yaml")
    path.write_text(yaml.safe_dump({"rule_files": [str(rules_file)], "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    count = (done.stdout + done.stderr).count("Labels:{")
    assert bool(count) == bool(done.returncode), done.stderr
    return count


def test_the_rules_are_valid_and_each_is_tried(rules: dict[str, Any], rules_file: Path) -> None:
    assert f"SUCCESS: {len(SERIES)} rules found" in promtool("check", "rules", rules_file)
    alerts = [rule["alert"] for rule in rules["groups"][0]["rules"]]
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    assert alerts == list(SERIES) == re.findall(r"^\| `(Streetseg\w+)`", page, re.MULTILINE)


@pytest.mark.parametrize("alert", SERIES)
def test_an_alert_fires_when_it_should_alone(rules_file: Path, alert: str) -> None:
    series = SERIES[alert]
    assert firing(rules_file, alert, series) == 1
    assert firing(rules_file, alert, WELL) == 0


@pytest.fixture(scope="module")
def service(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    with live_service(params, trained, tmp_path_factory.mktemp("serve"), "watched") as service:
        yield service


@pytest.fixture(scope="module")
def prometheus(
    service: LiveService, rules: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a Prometheus that asks the service each second, while images are sent."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    target = {"targets": [f"127.0.0.1:{service.port}"], "labels": {"pod": SCRAPED["pod"]}}
    scrape = {"job_name": SCRAPED["job"], "static_configs": [target]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:PORT"]
    with running(command, "/-/ready", folder / "log") as server:
        yield server.url


def queries() -> dict[str, str]:
    """Each query of the dashboard, by its panel and letter."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel.get("targets", [])
    }


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", f"{query}: {answer.get('error')}"
    return answer["data"]["result"]


def send_image(service: LiveService) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 32)).save(file, "PNG")
    httpx.post(f"{service.url}/segment", files={"image": file.getvalue()}).raise_for_status()


def test_every_query_of_the_dashboard_has_an_answer(service: LiveService, prometheus: str) -> None:
    empty = {name: query.replace("$__rate_interval", "30s") for name, query in queries().items()}
    assert len(empty) > 15
    deadline = time.monotonic() + WITHIN_S
    while empty and time.monotonic() < deadline:
        send_image(service)
        time.sleep(1)
        empty = {name: query for name, query in empty.items() if not ask(prometheus, query)}
    assert empty == {}


def test_every_metric_of_rules_and_dashboard_is_one_of_the_service(
    service: LiveService, prometheus: str, rules: dict[str, Any]
) -> None:
    send_image(service)
    expressions = [rule["expr"] for rule in rules["groups"][0]["rules"]] + [*queries().values()]
    named = set(re.findall(r"\b(?:streetseg|process)_\w+", " ".join(expressions)))
    offered = httpx.get(f"{service.url}/metrics").text
    assert {name for name in named if not re.search(rf"^{name}\b", offered, re.MULTILINE)} == set()


def test_build_info_tells_program_and_model(service: LiveService, prometheus: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not (found := ask(prometheus, "streetseg_build_info == 1")):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    (build,) = [each["metric"] for each in found]
    model = httpx.get(f"{service.url}/model").json()
    told = {name: build[name] for name in ("version", "revision", "model", "model_version")}
    assert told == {
        "version": __version__,
        "revision": git_revision(),
        "model": "watched",
        "model_version": model["version"],
    }


def test_process_metrics_are_those_of_the_service(service: LiveService, prometheus: str) -> None:
    text = httpx.get(f"{service.url}/metrics").text
    (line,) = re.findall(r"^process_resident_memory_bytes.* (\S+)$", text, re.MULTILINE)
    assert math.isclose(float(line), service.process.memory_info().rss, rel_tol=0.2)
