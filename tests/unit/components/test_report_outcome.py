"""The outcome of a run, posted to a webhook."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components import component
from components.report_outcome import report_outcome
from components.runs import outcome
from pipelines.local.run import run_locally
from pipelines.pods import ClusterPods
from scripts.servers import free_port
from streetseg.config.cluster import Cluster
from tests.support.faulty_server import FaultyServer, faulty_server, say
from tests.support.kfp_api import TOKEN, FakeKubeflow

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
        assert printed.out == f"{PIPELINE} 'run-x' SUCCEEDED\n"
        assert "secret-path" not in printed.err
        return printed.err.removeprefix("warning: the outcome is not reported: ")

    return report


def test_the_outcome_is_posted_until_it_is_taken(webhook: FaultyServer) -> None:
    webhook.script[:0] = [say(503, Retry_After="3600"), say(503)]
    report_outcome.python_func(PIPELINE, "run-x", "id-1", status("FAILED", "fetch failed"))
    assert [json.loads(body) for body in webhook.bodies] == 3 * [
        {
            "text": f"{PIPELINE} 'run-x' FAILED; fetch failed",
            "pipeline": PIPELINE,
            "run": "run-x",
            "run_id": "id-1",
            "state": "FAILED",
            "step": "",
            "attempt": None,
            "error": "fetch failed",
            "url": "",
            "data_version": None,
            "gate": None,
            "reasons": [],
            "scores": {},
            "version": None,
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


@pytest.fixture
def report(
    webhook: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., dict[str, Any]]]:
    """Report a recorded run from inside the cluster; ``report.kubeflow`` is its API."""
    kubeflow = FakeKubeflow()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KFP_ENDPOINT", kubeflow.url)
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.setenv("STREETSEG_KFP_UI", "https://kubeflow.example/pipeline/")
    monkeypatch.setattr(outcome, "POLL_S", 0.001)

    def post(name: str, final: str, logs: dict[str, str] | None = None, **changes: Any) -> dict:
        run_id = kubeflow.record(name, **changes)
        kubeflow.logs = logs or {}
        report_outcome.python_func(PIPELINE, "demo", run_id, status(final))
        return json.loads(webhook.bodies[-1])

    post.kubeflow = kubeflow  # type: ignore[attr-defined]
    yield post
    kubeflow.close()


UNDER_WAY = {"state": "RUNNING", "state_history": [{"state": "RUNNING"}]}
"""Of the run, as long as its exit task is at work."""
CANCELING = {"state": "CANCELING", "state_history": [{"state": "CANCELING"}]}


def test_a_registration_is_reported_with_scores_and_version(report: Callable[..., dict]) -> None:
    workflow = "street-segmentation-training-tzv77"
    posted = report(
        "trained",
        "COMPLETE",
        {
            f"{workflow}-system-container-impl-795166300": 'x\noutcome: {"data_version": "1a.dir"}',
            f"{workflow}-1741405339": 'outcome: {"gate": "open", "scores": {"miou": 0.6123}}',
            f"{workflow}-2980088538": 'I1129 23:59:30.1 16 a.go:1] b\noutcome: {"version": "m 4"}',
        },
        **UNDER_WAY,
    )
    run_id = posted["run_id"]
    assert posted == {
        "text": f"{PIPELINE} 'demo' SUCCEEDED; gate open; mIoU 0.612; registered as m 4; data "
        f"version 1a.dir: https://kubeflow.example/pipeline/#/runs/details/{run_id}",
        "pipeline": PIPELINE,
        "run": "demo",
        "run_id": "508726dc-6be9-42e5-8675-e696f046cc7b",
        "state": "SUCCEEDED",
        "step": "",
        "attempt": None,
        "error": "",
        "url": f"https://kubeflow.example/pipeline/#/runs/details/{run_id}",
        "data_version": "1a.dir",
        "gate": "open",
        "reasons": [],
        "scores": {"miou": 0.6123},
        "version": "m 4",
    }


@pytest.mark.parametrize(
    ("name", "final", "changes", "expected"),
    [
        (
            "fetch-failed-four-times",
            "FAILED",
            UNDER_WAY,
            ("FAILED", "fetch", 4, "main: Error (exit code 1); error: no x (y)"),
        ),
        ("pod-deleted", "RUNNING", UNDER_WAY, ("FAILED", "train", 1, "pod deleted")),
        ("terminated", "RUNNING", CANCELING, ("CANCELED", "train", 1, "")),
        ("terminated", "FAILED", {}, ("CANCELED", "train", 1, "")),
        ("terminated-at-once", "RUNNING", UNDER_WAY, ("CANCELED", "", None, "")),
        ("closed-gate-cached", "COMPLETE", UNDER_WAY, ("SUCCEEDED", "", None, "")),
        ("unchanged-data-reported", "RUNNING", {}, ("SUCCEEDED", "", None, "")),
        ("training-under-way", "RUNNING", {}, ("UNKNOWN", "", None, "")),
        ("training-under-way", "FAILED", {}, ("FAILED", "", None, "")),
    ],
)
def test_the_state_is_the_true_one_whatever_status_kubeflow_gives(
    report: Callable[..., dict],
    name: str,
    final: str,
    changes: dict[str, Any],
    expected: tuple[str, str, int | None, str],
) -> None:
    pod = "street-segmentation-training-8248d-4116789872"
    posted = report(name, final, {pod: "error: no x (y)\n"}, **changes)
    assert tuple(posted[key] for key in ("state", "step", "attempt", "error")) == expected
    state, step, attempt, error = expected
    text = f"{PIPELINE} 'demo' {state}" + (f" at {step}, attempt {attempt}" if step else "")
    assert posted["text"].startswith(f"{text}; {error}" if error else text)
    assert posted["text"].endswith(posted["url"])


def test_the_text_holds_nothing_that_chat_programs_take_for_markup(
    report: Callable[..., dict],
) -> None:
    pod = "street-segmentation-training-8248d-4116789872"
    posted = report("fetch-failed-four-times", "FAILED", {pod: "error: write <md5>.dir\n"})
    assert posted["error"].endswith("error: write <md5>.dir")
    assert "; error: write (md5).dir: https://" in posted["text"]


@pytest.mark.parametrize(
    ("final", "state"),
    [("COMPLETE", "SUCCEEDED"), ("FAILED", "FAILED"), ("RUNNING", "UNKNOWN"), ("", "UNKNOWN")],
)
def test_without_the_api_nothing_wrong_is_reported(
    report: Callable[..., dict],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    final: str,
    state: str,
) -> None:
    monkeypatch.setenv("KFP_TOKEN", "of-nobody")
    assert report("terminated", final)["state"] == state
    warning = capsys.readouterr().err
    assert warning.startswith("warning: only the final status is reported: http://127.0.0.1:")
    assert len(warning.splitlines()) == 1


def test_that_nothing_was_trained_is_reported(report: Callable[..., dict]) -> None:
    told = 'outcome: {"data_version": "1a.dir", "changed": false}\noutcome: {broken'
    node = "street-segmentationpnrmp-2-3705546295-207376114"
    posted = report("scheduled-nothing-moved", "COMPLETE", {node: told})
    assert (
        "SUCCEEDED; the data has not changed, nothing was trained; data version 1a.dir"
        in (posted["text"])
    )


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
