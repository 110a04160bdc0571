"""Proxies of the environment, beside a real one that counts what it is asked."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest
import requests

from streetseg.client import Client
from streetseg.config.params import Registry
from streetseg.core.errors import StreetsegError
from streetseg.core.proxies import bypass_proxies_for_loopback, proxy_for
from streetseg.tracking.store import connect, translate_errors

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.send_response(418)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that is asked directly with a path, as a proxy with a URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    server.paths = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        for variable in (name, name.lower()):
            monkeypatch.setenv(variable, "")  # so that the end of the test restores it
            monkeypatch.delenv(variable)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_without_the_proxy(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    url = f"http://{host}:{server.server_port}"
    with Client(url, retries=0) as service, pytest.raises(StreetsegError, match="418"):
        service.model()
    bypass_proxies_for_loopback()
    assert requests.get(f"{url}/mlflow", timeout=5).status_code == 418
    assert server.paths == ["/model", "/mlflow"]  # type: ignore[attr-defined]


def test_every_program_keeps_its_own_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "mlflow.example,localhost")
    code = "import sys, streetseg.cli, os; sys.argv = ['streetseg', '--version']\n"
    code += "try: streetseg.cli.main()\nfinally: print(os.environ['NO_PROXY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "mlflow.example,localhost,127.0.0.1,::1"


def test_a_store_on_this_machine_is_asked_without_the_proxy(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    store = f"http://127.0.0.1:{server.server_port}"
    before = mlflow.get_tracking_uri()
    try:
        with pytest.raises(StreetsegError, match="418"), translate_errors("cannot find"):
            connect(Registry(tracking_uri=store)).get_experiment_by_name("x")
    finally:
        mlflow.set_tracking_uri(before)


def test_others_are_asked_through_the_proxy(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    with Client("http://service.invalid", retries=0) as service, pytest.raises(StreetsegError):
        service.model()
    assert server.paths == ["http://service.invalid/model"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("proxy", ["http://bob:hunter2@127.0.0.1:9", "bob:hunter2@127.0.0.1:9"])
def test_a_proxy_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    url, named = "http://service.invalid", r"through the proxy http://\*\*\*@127\.0\.0\.1:9"
    with Client(url, retries=0) as service, pytest.raises(StreetsegError, match=named) as caught:
        service.model()
    assert "hunter2" not in str(caught.value)


def test_mlflow_behind_a_proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://bob:hunter2@127.0.0.1:9")
    said = error_of_mlflow(monkeypatch)
    assert "through the proxy http://***@127.0.0.1:9: " in said
    assert "list the host in NO_PROXY" in said
    assert "hunter2" not in said


def test_mlflow_behind_a_socks_proxy_is_one_line_with_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for proxy, named, why in (
        ("socks5://bob:hunter2@127.0.0.1:9", "socks5://***@127.0.0.1:9", "SOCKS support"),
        ("http://", "http://", "malformed"),
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        said = error_of_mlflow(monkeypatch)
        unreached = "cannot list: cannot reach the MLflow store http://service.invalid"
        assert said.startswith(f"{unreached} through the proxy {named}: ")
        assert why in said
        assert "list the host in NO_PROXY; for SOCKS, pip install 'requests[socks]'" in said
        assert "hunter2" not in said
        assert "\n" not in said


def error_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> str:
    """The line about a store on a host that does not exist."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("http://service.invalid")
    try:
        with pytest.raises(StreetsegError) as caught, translate_errors("cannot list"):
            mlflow.MlflowClient().search_experiments()
    finally:
        mlflow.set_tracking_uri(before)
    return str(caught.value)


def test_a_socks_proxy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://bob:hunter2@127.0.0.1:9")
    with pytest.raises(StreetsegError, match=r"cannot use the proxy.*httpx\[socks\]") as caught:
        Client("http://service.invalid")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_host_that_is_excepted_has_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert proxy_for("http://service.invalid/x") == "http://127.0.0.1:9"
    for url in ("http://mlflow.example.org", "http://localhost:5000", "sqlite:///x.db"):
        assert proxy_for(url) == ""
