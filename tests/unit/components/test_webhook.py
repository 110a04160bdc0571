"""How a run of the pipeline ended, told to a webhook."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from kfp import dsl

from components import component, webhook
from components.report_outcome import report_outcome
from components.webhook import post
from pipelines.compile import TRAINING
from pipelines.local.run import run_locally
from pipelines.pods import Placement
from scripts.servers import free_port
from streetseg.config.cluster import Cluster


class Hook:
    """A webhook that answers with the given statuses, the last one again and again."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[dict] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/json"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append(json.loads(body))
                left = hook.statuses
                self.send_response(left.pop(0) if len(left) > 1 else left[0])
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-path"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hook]]:
    """Start webhooks, the last of which the component finds."""
    monkeypatch.setattr(webhook, "PAUSE_S", 0.001)
    started: list[Hook] = []

    def start(*statuses: int) -> Hook:
        started.append(Hook(*statuses))
        monkeypatch.setenv("STREETSEG_WEBHOOK_URL", started[-1].url)
        return started[-1]

    yield start
    for each in started:
        each.close()


def status(state: str, message: str | None = None) -> dsl.PipelineTaskFinalStatus:
    return dsl.PipelineTaskFinalStatus(state, "resource", "exit-handler-1", None, message)


def test_the_outcome_is_posted_until_it_is_taken(hook: Callable[..., Hook]) -> None:
    server = hook(503, 503, 200)
    report_outcome.python_func(TRAINING, "run-x", "id-1", status("FAILED", "fetch failed"))
    assert server.got == 3 * [
        {
            "pipeline": TRAINING,
            "run": "run-x",
            "run_id": "id-1",
            "state": "FAILED",
            "error": "fetch failed",
        }
    ]


def test_a_webhook_that_fails_is_a_warning_without_its_url(
    hook: Callable[..., Hook], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = hook(500)

    def said() -> str:
        report_outcome.python_func(TRAINING, "run-x", "id-1", status("SUCCEEDED"))
        told = capsys.readouterr()
        assert told.out == ""
        assert "secret-path" not in told.err
        return told.err.removeprefix("warning: the outcome is not reported: ")

    assert said() == "the webhook answers with status 500\n"
    assert len(server.got) == 3
    for url, expected in [
        (f"http://127.0.0.1:{free_port()}/secret-path", "does not answer: Connection refused"),
        ("http://[secret-path", "does not answer: ValueError"),
        ("http://localhost:port/secret-path", "does not answer: InvalidURL"),
        ("http://localhost/secret-path with spaces", "does not answer: InvalidURL"),
        ("file:///secret-path", "has no key 'url' with http:// or https://"),
        ("", "has no key 'url' with http:// or https://"),
    ]:
        monkeypatch.setenv("STREETSEG_WEBHOOK_URL", url)
        assert expected in said()


def test_a_redirect_is_not_an_answer(hook: Callable[..., Hook]) -> None:
    assert post(hook(308).url, {}) == "the webhook answers with status 308"


@component
def give_up(message: str) -> None:
    """Fail, if there is something to say."""
    import sys

    if message:
        sys.exit(f"error: {message}")


@dsl.pipeline(name="fails")
def fails(message: str) -> None:
    give_up(message=message)


@pytest.mark.parametrize(("message", "state"), [("no luck", "FAILED"), ("", "SUCCEEDED")])
def test_a_run_reports_its_end_and_ends_as_it_would_without(
    hook: Callable[..., Hook], tmp_path: Path, message: str, state: str
) -> None:
    server = hook(200)
    pipeline = Placement(Cluster(webhook_secret="hook")).with_exit_report(fails)
    done = run_locally(pipeline, {"message": message}, tmp_path / "run", lambda line: None)
    assert done.succeeded == (state == "SUCCEEDED"), (tmp_path / "run" / "log.txt").read_text()
    assert done.error == message
    (told,) = server.got
    assert (told["pipeline"], told["state"]) == ("fails", state)
