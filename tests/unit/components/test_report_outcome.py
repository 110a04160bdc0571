"""The outcome of a run, posted to a webhook."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import dsl

from components import component
from components.report_outcome import report_outcome
from pipelines.local.run import run_locally
from pipelines.pods import ClusterPods
from scripts.servers import free_port
from streetseg.config.cluster import Cluster
from tests.support.faulty_server import FaultyServer, faulty_server, say

PIPELINE = "street-segmentation-training"


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A webhook that takes what is posted, and to which the component posts without pauses."""
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: None)
    with faulty_server(say(200)) as server:
        monkeypatch.setenv("STREETSEG_WEBHOOK_URL", f"{server.url}/secret-path")
        yield server


def status(state: str, message: str | None = None) -> dsl.PipelineTaskFinalStatus:
    return dsl.PipelineTaskFinalStatus(state, "resource", "exit-handler-1", None, message)


@pytest.fixture
def warning(capsys: pytest.CaptureFixture[str]) -> Iterator:
    """Report an outcome, and return the warning about it."""

    def report() -> str:
        report_outcome.python_func(PIPELINE, "run-x", "id-1", status("SUCCEEDED"))
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "secret-path" not in printed.err
        return printed.err.removeprefix("warning: the outcome is not reported: ")

    return report


def test_the_outcome_is_posted_until_it_is_taken(webhook: FaultyServer) -> None:
    webhook.script[:0] = [say(503, Retry_After="3600"), say(503)]
    report_outcome.python_func(PIPELINE, "run-x", "id-1", status("FAILED", "fetch failed"))
    assert [json.loads(body) for body in webhook.bodies] == 3 * [
        {
            "pipeline": PIPELINE,
            "run": "run-x",
            "run_id": "id-1",
            "state": "FAILED",
            "error": "fetch failed",
        }
    ]
    assert {each["Content-Type"] for each in webhook.requests} == {"application/json"}


@pytest.mark.parametrize(("code", "tries"), [(500, 3), (404, 3), (308, 1)])
def test_an_answer_that_is_no_success_is_a_warning(
    webhook: FaultyServer, warning, code: int, tries: int
) -> None:
    webhook.script = [say(code, Location="/elsewhere")]
    assert warning() == f"the webhook answers with status {code}\n"
    assert [each["path"] for each in webhook.requests] == ["/secret-path"] * tries


def test_no_answer_is_a_warning_without_the_url(
    webhook: FaultyServer, warning, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_a_url = "has no key 'url' with a valid http:// or https:// URL"
    for url, expected in [
        (f"http://127.0.0.1:{free_port()}/secret-path", "does not answer: Connection refused"),
        ("http://secret-path.invalid/", "does not answer: "),
        ("http://[secret-path", not_a_url),
        ("http://localhost:port/secret-path", not_a_url),
        ("file:///secret-path", not_a_url),
        ("", not_a_url),
    ]:
        monkeypatch.setenv("STREETSEG_WEBHOOK_URL", url)
        assert expected in warning()


@component
def give_up(message: str) -> None:
    """Fail, if there is a message."""
    import sys

    if message:
        sys.exit(f"error: {message}")


@dsl.pipeline(name="fails")
def fails(message: str) -> None:
    give_up(message=message)


@pytest.mark.parametrize(("message", "state"), [("no luck", "FAILED"), ("", "SUCCEEDED")])
def test_a_run_reports_its_outcome_and_ends_as_without_a_webhook(
    webhook: FaultyServer, tmp_path: Path, message: str, state: str
) -> None:
    pipeline = ClusterPods(Cluster(webhook_secret="hook")).with_exit_report(fails)
    run = run_locally(pipeline, {"message": message}, tmp_path / "run", lambda line: None)
    assert run.succeeded == (state == "SUCCEEDED"), (tmp_path / "run" / "log.txt").read_text()
    assert run.error == message
    (body,) = webhook.bodies
    assert (json.loads(body)["pipeline"], json.loads(body)["state"]) == ("fails", state)
