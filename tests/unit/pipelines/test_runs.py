"""Following runs on a Kubeflow Pipelines endpoint: wait, list, logs, cancel and retry."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from components.runs import reader
from streetseg.core.provenance import REPOSITORY
from tests.support.kfp_api import NAMESPACE, FakeKubeflow
from tests.unit.pipelines.conftest import DATA, Called

POD = "street-segmentation-training-x7k2p-system-container-impl-{}"


def without_times(out: str) -> list[str]:
    return [re.sub(r" \(\d.*?\)", "", line) for line in out.splitlines()]


def test_waiting_prints_each_step_and_exits_by_the_outcome(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    kubeflow.story = [
        ("PENDING", {}),
        ("RUNNING", {"configure": "RUNNING"}),
        ("RUNNING", {"configure": "SUCCEEDED", "fetch": "CACHED", "train": "RUNNING"}),
        ("SUCCEEDED", {"configure": "SUCCEEDED", "fetch": "CACHED", "train": "SUCCEEDED"}),
    ]
    done = call("submit", "--data-version", DATA, "--wait")
    assert done.status == 0
    (run_id,) = kubeflow.runs
    assert without_times(done.out)[2:] == [
        "configure running, attempt 1",
        "configure succeeded, attempt 1",
        "fetch cached",
        "train running, attempt 1",
        "train succeeded, attempt 1",
        f"run {run_id} succeeded",
    ]
    assert "configure succeeded, attempt 1 (0:08:59)\n" in done.out
    assert call("wait", f"{kubeflow.url}/#/runs/details/{run_id}?tab=1").status == 0


def test_a_failed_run_names_its_step_and_the_error_in_its_log(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.story = [
        ("RUNNING", {"configure": "SUCCEEDED", "fetch": "RUNNING"}),
        ("FAILED", {"configure": "SUCCEEDED", "fetch": "FAILED"}),
    ]
    kubeflow.errors = {"fetch": "main: Error (exit code 1)"}
    kubeflow.logs = {
        POD.format(22): "at work\nerror: no such remote\nI0131 03:00:00.000001 1 a.go:1] x"
    }
    done = call("wait", submitted)
    assert (done.status, done.err) == (
        1,
        f"error: run {submitted} failed at fetch, attempt 1: main: Error (exit code 1); error: no "
        f"such remote; see 'python -m pipelines.training logs {submitted} --step fetch'\n",
    )
    kubeflow.logs = {}
    assert "attempt 1: main: Error (exit code 1); see" in call("wait", submitted).err
    kubeflow.story = [("CANCELED", {"configure": "SUCCEEDED"})]
    done = call("wait", submitted)
    assert (done.status, done.err.partition(";")[0]) == (1, f"error: run {submitted} was canceled")


def test_waiting_outlasts_a_restart_of_the_endpoint(
    kubeflow: FakeKubeflow,
    call: Callable[..., Called],
    submitted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kubeflow.story = [("SUCCEEDED", {"configure": "SUCCEEDED"})]
    kubeflow.answer = (503, {}, "no healthy upstream")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            kubeflow.answer = None

    monkeypatch.setattr(reader.time, "sleep", pause)
    assert call("wait", submitted).status == 0
    kubeflow.answer = (503, {}, "no healthy upstream")
    assert call("wait", submitted).err.startswith(f"error: {kubeflow.url} is not ready (503)")


def test_waiting_has_an_end_if_asked_for(
    kubeflow: FakeKubeflow,
    call: Callable[..., Called],
    submitted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kubeflow.story = [("RUNNING", {"configure": "RUNNING"})]
    now = [0.0]
    monkeypatch.setattr(reader.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(reader.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(reader, "POLL_S", 50)
    done = call("wait", submitted, "--timeout", "120")
    assert (done.status, now) == (124, [120.0])
    assert done.err == (
        "error: not ended after 120 s: the run goes on; follow it again: "
        f"python -m pipelines.training wait {submitted}\n"
    )
    assert not any("terminate" in each for each in kubeflow.calls)
    assert call("submit", "--data-version", DATA, "--timeout", "60").status == 124


def start_waiting(run_id: str, code: str = "") -> subprocess.Popen[str]:
    """``wait`` in a process of its own, in which ``code`` runs first."""
    program = f"{code}\nimport runpy\nrunpy.run_module('pipelines.training', run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", program, "wait", run_id],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_interrupt_leaves_the_run_running_and_says_how_to_follow_it_again(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.story = [("RUNNING", {"configure": "RUNNING"})]
    process = start_waiting(submitted)
    assert process.stdout
    assert process.stdout.readline().startswith("configure running")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.endswith(f"follow it again: python -m pipelines.training wait {submitted}\n")
    assert not any("terminate" in each for each in kubeflow.calls)


IN_A_FINALIZER = """
import signal, time
class Left:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
pause = time.sleep
def sleep(seconds):
    Left()  # Python ignores an exception that is raised in its finalizer
    pause(seconds)
time.sleep = sleep
"""


def test_an_interrupt_is_never_lost(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.story = [("RUNNING", {"configure": "RUNNING"}), ("SUCCEEDED", {})]
    process = start_waiting(submitted, IN_A_FINALIZER)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.endswith(f"follow it again: python -m pipelines.training wait {submitted}\n")


def test_a_terminal_shows_a_live_table(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    import pty

    kubeflow.story = [("SUCCEEDED", {"configure": "SUCCEEDED", "fetch": "CACHED"})]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.training", "wait", submitted],
        cwd=REPOSITORY,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # closed on the other side
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    for part in (b"step", b"state", b"attempt", b"time", b"cached", b"succeeded"):
        assert part in shown


def test_the_last_runs_are_listed(kubeflow: FakeKubeflow, call: Callable[..., Called]) -> None:
    assert call("list").out == (
        f"the experiment 'street-segmentation' has no runs at {kubeflow.url}\n"
    )
    call("submit", "--data-version", DATA)
    call("submit", "--data-version", "main")
    first, second = kubeflow.runs
    kubeflow.runs[first] |= {"state": "SUCCEEDED", "finished_at": "2026-01-31T04:10:05Z"}
    head, newest, oldest = call("list").out.splitlines()
    assert head.split() == ["run", "state", "started", "duration", "data", "version", "url"]
    assert "pending" in newest
    assert newest.rstrip().endswith(f"/#/runs/details/{second}")
    for part in ("default on 11111111", "succeeded", "1:10:05", DATA, first):
        assert part in oldest
    assert len(call("list", "--last", "1").out.splitlines()) == 2


def test_a_terminated_run_is_listed_as_canceled_and_one_without_anything_too(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.runs[submitted] |= {
        "state": "FAILED",
        "state_history": [{"state": each} for each in ("RUNNING", "CANCELING", "FAILED")],
    }
    assert " canceled " in call("list").out
    kubeflow.runs[submitted]["state_history"] = [{"state": "RUNNING"}, {"state": "FAILED"}]
    assert " failed " in call("list").out
    kubeflow.workflows[submitted] = {"spec": {"activeDeadlineSeconds": 0}}
    assert " canceled " in call("list").out
    for key in ("state", "display_name", "created_at", "finished_at", "runtime_config"):
        kubeflow.runs[submitted].pop(key, None)
    (_, row) = call("list").out.splitlines()
    assert row.split() == ["-", "pending", "-", "-", "-", row.split()[-1]]


def test_logs_come_from_the_endpoint_or_else_from_kubectl(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.story = [("FAILED", {"configure": "SUCCEEDED", "fetch": "CACHED", "train": "FAILED"})]
    kubeflow.errors = {"train": "main: Error (exit code 1)"}
    kubeflow.logs = {"street-segmentation-training-x7k2p-12": "12\n"}  # archived: by its node
    done = call("logs", submitted)
    assert done.status == 0
    assert without_times(done.out) == [
        f"run {submitted} failed: {kubeflow.url}/#/runs/details/{submitted}",
        "",
        "configure succeeded, attempt 1",
        "12",
        "",
        "fetch cached",
        "",
        "train failed, attempt 1: main: Error (exit code 1)",
        f"no log from the endpoint: Failed to read logs for run {submitted}: pods "
        f"{POD.format(32)} not found",
        f"as long as the pod is there: kubectl -n {NAMESPACE} logs {POD.format(32)} -c main",
    ]
    assert "configure" not in call("logs", submitted, "--step", "train").out
    done = call("logs", submitted, "--step", "none")
    assert done.err == (
        f"error: run {submitted} has no step 'none': it has configure, fetch, train\n"
    )
    done = call("logs", submitted, "--step", "train", "--attempt", "2")
    assert done.err == f"error: run {submitted} has no attempt 2 of step 'train': the last is 1\n"


def test_half_a_character_in_a_log_is_no_obstacle(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.story = [("SUCCEEDED", {"train": "SUCCEEDED"})]
    kubeflow.logs = {POD.format(12): "mIoU \udce2\nnext\n"}
    assert call("logs", submitted).out.splitlines()[-2:] == ["mIoU \ufffd", "next"]


def test_a_log_is_followed_to_the_end_of_its_step(
    kubeflow: FakeKubeflow,
    call: Callable[..., Called],
    submitted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kubeflow.story = [
        ("RUNNING", {"train": "RUNNING"}),
        ("RUNNING", {"train": "RUNNING"}),
        ("RUNNING", {"train": "RUNNING"}),
        ("RUNNING", {"train": "SUCCEEDED", "evaluate": "RUNNING"}),
    ]
    numbers = [f"epoch {n}" for n in range(40)]
    texts = iter([[], numbers[:25], numbers[5:30], numbers[20:]])  # cut at its beginning twice

    def pause(_: float) -> None:
        kubeflow.logs = {POD.format(12): "\n".join(next(texts))}

    pause(0)
    monkeypatch.setattr(reader.time, "sleep", pause)
    done = call("logs", submitted, "--follow", "--step", "train")
    assert (done.status, done.out.splitlines()) == (0, ["", "train, attempt 1", *numbers])


def test_a_run_is_canceled_unless_it_has_ended(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.story = [("RUNNING", {"train": "RUNNING"})]
    done = call("cancel", submitted)
    assert done.out.startswith(f"run {submitted} is being canceled: {kubeflow.url}")
    assert kubeflow.calls[-1] == f"POST /apis/v2beta1/runs/{submitted}:terminate"
    kubeflow.story = [("SUCCEEDED", {})]
    done = call("cancel", submitted)
    assert (done.status, done.err) == (1, f"error: run {submitted} has ended: it succeeded\n")


def test_what_failed_is_done_again(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    kubeflow.story = [("FAILED", {"train": "FAILED"})]
    done = call("retry", submitted, "--wait")
    assert (done.status, done.out.splitlines()[-1]) == (0, f"run {submitted} succeeded")
    assert f"POST /apis/v2beta1/runs/{submitted}:retry" in kubeflow.calls
    done = call("retry", submitted)
    assert done.err == f"error: run {submitted} succeeded: only what failed can be done again\n"
    kubeflow.story = [("RUNNING", {})]
    assert "has not ended: only what failed" in call("retry", submitted).err
