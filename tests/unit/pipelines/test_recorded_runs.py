"""What a real Kubeflow Pipelines 2.17 said of seventeen runs, as ``wait`` and ``logs`` tell it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from components.runs import steps
from pipelines.kubeflow import follow
from pipelines.kubeflow.client import KubeflowClient
from tests.support.kfp_api import RECORDED, FakeKubeflow
from tests.unit.pipelines.conftest import Called

BRANCHES = {"condition-1": "data-moved", "condition-2": "gate-open", "condition-3": "gate-closed"}
SPEC = {
    "components": {
        "comp-condition-branches-1": {
            "dag": {
                "tasks": {
                    task: {"componentRef": {"name": f"comp-{task}"}, "taskInfo": {"name": name}}
                    for task, name in BRANCHES.items()
                }
            }
        }
    }
}
"""Of a pipeline version: the names that its branches were given."""
START = ["configure succeeded, attempt 1 (0:00:10)", "fetch succeeded, attempt 1 (0:00:10)"]
REPORTED = "report-outcome succeeded, attempt 1 (0:00:1{})"
NOT_FETCHED = (
    "error: data version c02e1d69c1662ed1b92b5733c8fc0dd1.dir is not in s3://streetseg/nowhere, or "
    "not whole: push it there, or name another data.remote"
)
ERROR = "main: Error (exit code {})"
MEMORY = "main: OOMKilled (exit code 1); it needs more memory than it may have"
OVER = f"Max duration limit exceeded; {ERROR}"
NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))

ENDED: dict[str, tuple[list[str], str]] = {
    "batch": (
        [
            "fetch-model succeeded, attempt 1 (0:00:20)",
            "segment succeeded, attempt 1 (0:00:10)",
        ],
        "",
    ),
    "closed-gate-cached": (
        [
            "configure succeeded, attempt 1 (0:00:10)",
            "fetch cached",
            "validate cached",
            "train cached",
            "evaluate succeeded, attempt 1 (0:00:20)",
            "gate succeeded, attempt 1 (0:00:10)",
            "gate-open not taken",
            "gate-closed taken",
            "report-closed-gate succeeded, attempt 1 (0:00:10)",
        ],
        "",
    ),
    "driver-failed": (
        [f"gpuish failed, attempt 1 (0:00:08): its driver: {ERROR.format(1)}"],
        f"failed at gpuish, attempt 1: its driver: {ERROR.format(1)}",
    ),
    "fetch-failed-four-times": (
        [
            START[0],
            f"fetch failed, attempt 4 (0:04:41): {ERROR.format(1)}",
            REPORTED.format(0),
        ],
        f"failed at fetch, attempt 4: {ERROR.format(1)}; {NOT_FETCHED}",
    ),
    "large-compressed": (
        [
            "blob succeeded, attempt 1 (0:00:21)",
            f"slen failed, attempt 1 (0:00:23): {ERROR.format(1)}",
        ],
        f"failed at slen, attempt 1: {ERROR.format(1)}",
    ),
    "out-of-memory": (
        [
            f"hog failed, attempt 1 (0:00:10): {MEMORY}",
            f"hog-2 failed, attempt 2 (0:00:20): {MEMORY}",
        ],
        f"failed at hog, attempt 1: {MEMORY}; at hog-2, attempt 2: {MEMORY}",
    ),
    "output-not-a-number": (
        [f"number failed, attempt 1 (0:00:11): {ERROR.format(1)}"],
        f"failed at number, attempt 1: {ERROR.format(1)}",
    ),
    "parallel-item-failed": (
        [
            "item[0] succeeded, attempt 1 (0:00:20)",
            f"item[1] failed, attempt 1 (0:00:20): {ERROR.format(1)}",
            "item[2] succeeded, attempt 1 (0:00:20)",
            "item[3] succeeded, attempt 1 (0:00:20)",
        ],
        f"failed at item[1], attempt 1: {ERROR.format(1)}",
    ),
    "pod-deleted": (
        [
            *START,
            "validate succeeded, attempt 1 (0:00:20)",
            "train failed, attempt 1 (0:01:37): pod deleted",
            REPORTED.format(1),
        ],
        "failed at train, attempt 1: pod deleted",
    ),
    "retry-time-over": (
        [
            f"first-long failed, attempt 1 (0:01:01): {OVER.format(1)}",
            f"first-long-2 failed, attempt 1 (0:01:01): {OVER.format(1)}",
            f"second-long failed, attempt 2 (0:00:51): {OVER.format(143)}",
        ],
        f"failed at first-long, attempt 1: {OVER.format(1)}; at first-long-2, attempt 1: "
        f"{OVER.format(1)}; at second-long, attempt 2: {OVER.format(143)}",
    ),
    "scheduled-nothing-moved": (
        ["moved succeeded, attempt 1 (0:00:10)", "data-moved not taken"],
        "",
    ),
    "terminated": (
        [
            *START,
            "validate succeeded, attempt 1 (0:00:20)",
            f"train failed, attempt 1 (0:01:52): {ERROR.format(143)}",
            REPORTED.format(0),
        ],
        "was canceled at train",
    ),
    "terminated-at-once": ([], "was canceled"),
    "terminated-begun-again": (
        [
            "configure succeeded, attempt 1 (0:00:34)",
            "fetch succeeded, attempt 1 (0:00:28)",
            "validate failed, attempt 1 (0:00:47): retry exceeded workflow deadline 2026-11-30 "
            "14:26:24 +0000 UTC; Step exceeded its deadline",
            "report-outcome failed, attempt 1 (0:00:50): stopped with the run",
        ],
        "was canceled at validate",
    ),
    "trained": (
        [
            *START,
            "validate succeeded, attempt 1 (0:00:10)",
            "train succeeded, attempt 1 (0:00:38)",
            "evaluate succeeded, attempt 1 (0:00:21)",
            "gate succeeded, attempt 1 (0:00:10)",
            "gate-open taken",
            "gate-closed not taken",
            "register succeeded, attempt 1 (0:00:33)",
        ],
        "",
    ),
}
WAITING = {
    "gpu-unschedulable": "gpuish pending, attempt 1: no node has 2 nvidia.com/gpu",
    "image-missing": "noimage pending, attempt 1: image registry.invalid/none:1 cannot be pulled",
    "secret-missing": "env pending, attempt 1: secret not-there is missing",
}
RETRIED_BY_DEFAULT = [
    "configure succeeded, attempt 1 (0:00:21)",
    "fetch succeeded, attempt 1 (0:00:16)",
    "validate succeeded, attempt 1 (0:00:44)",
    "train succeeded, attempt 1 (0:01:06)",
    "evaluate succeeded, attempt 1 (0:01:01)",
    "gate succeeded, attempt 1 (0:01:41)",
    "condition-2 taken",
    "register pending, attempt 1",
    "condition-3 not taken",
]
"""``retries-by-default``: Kubeflow's own settings of Argo make a retry of every node."""
WITHOUT_WORKFLOW = ["training-under-way"]
UNDER_WAY = ["retries-by-default", "unchanged-data-reported"]


def serve(kubeflow: FakeKubeflow, name: str, **changes: Any) -> str:
    """Serve a recorded run, its pipeline version and its log; returns its id."""
    run_id = kubeflow.record(name, **changes)
    recorded = kubeflow.recorded[run_id]
    if version := recorded["v2beta1"].get("pipeline_version_reference"):
        kubeflow.versions[version["pipeline_version_id"]] = version
        kubeflow.packages[version["pipeline_version_id"]] = yaml.safe_dump(SPEC)
    if name == "fetch-failed-four-times":
        pod = "street-segmentation-training-8248d-retry-system-container-impl-4116789872"
        kubeflow.logs[pod] = (RECORDED / f"{name}.log").read_text()
    return run_id


def test_every_recording_has_a_test() -> None:
    assert sorted([*ENDED, *WAITING, *WITHOUT_WORKFLOW, *UNDER_WAY]) == NAMES


@pytest.mark.parametrize("name", ENDED)
def test_a_run_that_has_ended(
    kubeflow: FakeKubeflow, call: Callable[..., Called], name: str
) -> None:
    run_id = serve(kubeflow, name)
    lines, failure = ENDED[name]
    done = call("wait", run_id)
    if failure:
        (step,) = re.findall(r" at ([\w-]+)", failure)[:1] or [""]
        option = f" --step {step}" if step else ""
        assert (done.status, done.err) == (
            1,
            f"error: run {run_id} {failure}; see 'python -m pipelines.training logs {run_id}"
            f"{option}'\n",
        )
        assert done.out.splitlines() == lines
    else:
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines() == [*lines, f"run {run_id} succeeded"]


def test_an_exit_task_is_a_step_like_others(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    done = call("wait", serve(kubeflow, "unchanged-data-reported"), "--timeout", "1")
    assert (done.status, done.out.splitlines()) == (
        124,
        [
            "data-changed succeeded, attempt 1 (0:00:06)",
            "report-outcome pending, attempt 1",
            "data-moved not taken",
        ],
    )


@pytest.mark.parametrize("name", WAITING)
def test_a_run_that_waits_for_ever_says_for_what(
    kubeflow: FakeKubeflow, call: Callable[..., Called], name: str
) -> None:
    run_id = serve(kubeflow, name)
    done = call("wait", run_id, "--timeout", "1")
    assert (done.status, done.out.splitlines()) == (124, [WAITING[name]])


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "trained",
            [
                "configure succeeded (0:00:10)",
                "fetch succeeded (0:00:10)",
                "validate succeeded (0:00:10)",
                "train succeeded (0:00:38)",
                "evaluate succeeded (0:00:21)",
                "gate succeeded (0:00:10)",
                "gate-open taken",
                "gate-closed not taken",
                "register succeeded (0:00:33)",
            ],
        ),
        ("out-of-memory", ["hog failed (0:00:10)", "hog-2 failed (0:00:20)"]),
        ("training-under-way", ["configure succeeded (0:00:10)", "fetch succeeded (0:00:10)"]),
    ],
)
def test_without_the_v1_api_the_rows_of_v2_are_told(
    kubeflow: FakeKubeflow, call: Callable[..., Called], name: str, lines: list[str]
) -> None:
    kubeflow.serves_v1 = False
    run_id = serve(kubeflow, name)
    assert call("wait", run_id, "--timeout", "1").out.splitlines()[: len(lines)] == lines
    assert call("logs", run_id).out.splitlines()[2::2] == lines


@pytest.mark.parametrize("name", NAMES)
def test_nothing_crashes_on_what_is_missing(
    kubeflow: FakeKubeflow, call: Callable[..., Called], name: str
) -> None:
    """Every field of every node and row away in turn, then all of them."""
    run_id = serve(kubeflow, name)
    complete = json.dumps(kubeflow.recorded[run_id])
    fields = {"displayName", "name", "phase", "type", "templateName", "boundaryID", "message"}
    times = {"startedAt", "finishedAt", "start_time", "end_time", "created_at", "finished_at"}
    rows = {"display_name", "state", "pod_name", "task_id", "child_tasks", "state_history"}

    def without(keys: set[str], value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without(keys, v) for k, v in value.items() if k not in keys}
        return [without(keys, each) for each in value] if isinstance(value, list) else value

    client = KubeflowClient(kubeflow.url, "", None)
    gone = ({"metadata"}, {"id"}, {"v1beta1"}, fields, times, rows, *({each} for each in fields))
    for keys in gone:
        kubeflow.recorded[run_id] = without(keys, json.loads(complete))
        told = client.run(run_id)
        for step in told.steps:
            assert follow.describe_step(told, step)
        assert call("logs", run_id).status == 0


def test_logs_are_the_step_s_own_lines(kubeflow: FakeKubeflow, call: Callable[..., Called]) -> None:
    run_id = serve(kubeflow, "fetch-failed-four-times")
    own = call("logs", run_id, "--step", "fetch").out.splitlines()
    assert own[2] == f"fetch failed, attempt 4 (0:04:41): {ERROR.format(1)}"
    assert own[3:] == [NOT_FETCHED]
    everything = call("logs", run_id, "--step", "fetch", "--all").out
    assert (RECORDED / "fetch-failed-four-times.log").read_text() in everything
    node = "street-segmentation-training-8248d-4183606158"
    kubeflow.logs[node] = "the second attempt"
    second = call("logs", run_id, "--step", "fetch", "--attempt", "2").out
    assert second.endswith("\nthe second attempt\n")


def test_logs_of_a_finished_step_leave_out_what_the_launcher_says_of_its_outputs(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    run_id = serve(kubeflow, "output-not-a-number")
    kubeflow.logs["p-nan-7ztbs-system-container-impl-3977472106"] = (
        "work done\n"
        "I1130 14:22:19.424275      16 launcher_v2.go:1230] ExecutorOutput: {\n"
        '  "parameterValues": {\n    "passed": false\n  }\n}\n'
        "I1130 14:22:19.480635      16 launcher_v2.go:206] publish success.\nlast words\n"
    )
    own = call("logs", run_id).out.splitlines()
    assert own[-2:] == ["work done", "last words"]
    assert not any("passed" in line for line in own)


def test_the_error_of_a_step_without_one_of_its_own_is_the_launchers(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    run_id = serve(kubeflow, "output-not-a-number")
    pod = "p-nan-7ztbs-system-container-impl-3977472106"
    kubeflow.logs[pod] = (
        "work done\nF1129 23:58:12.000001      16 main.go:130] failed to execute component: "
        "invalid value NaN\n"
    )
    assert "exit code 1); failed to execute component: invalid value NaN; see" in (
        call("wait", run_id).err
    )
    kubeflow.logs[pod] = (
        "Traceback (most recent call last):\n  File 'x.py', line 1\n    boom\nValueError: no\nafter"
    )
    assert "exit code 1); ValueError: no; see" in call("wait", run_id).err


def test_attempts_of_groups_are_no_steps(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    run_id = serve(kubeflow, "retries-by-default")
    done = call("wait", run_id, "--timeout", "1")
    assert (done.status, done.out.splitlines()) == (124, RETRIED_BY_DEFAULT)
    manifest = kubeflow.recorded[run_id]["v1beta1"]["pipeline_runtime"]["workflow_manifest"]
    nodes = manifest["status"]["nodes"]
    (pod,) = (node for node in nodes.values() if node["name"].endswith("gate(0).executor(0)"))
    nodes["x-1"] = pod | {"id": "x-1", "phase": "Error", "startedAt": "2026-11-30T14:42:00Z"}
    assert "gate succeeded, attempt 2 (0:01:41)" in call("wait", run_id, "--timeout", "1").out


def test_a_pause_before_the_next_attempt_is_told(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    run_id = serve(kubeflow, "fetch-failed-four-times", state="RUNNING", state_history=[])
    manifest = kubeflow.recorded[run_id]["v1beta1"]["pipeline_runtime"]["workflow_manifest"]
    manifest["status"]["phase"] = "Running"
    nodes = manifest["status"]["nodes"]
    for node in nodes.values():
        if node["name"].endswith(".fetch"):
            node["phase"] = "Running"
        elif node["name"].endswith(".fetch.executor"):
            node |= {"phase": "Running", "message": "Backoff for 1 minute 0 seconds"}
    for late in [key for key in nodes if key.endswith(("-3781090397", "-4116789872"))]:
        del nodes[late]
    done = call("wait", run_id, "--timeout", "1")
    assert "fetch pending, attempt 2: waits 60 s before attempt 3" in done.out


@pytest.mark.parametrize("message", ["PodInitializing", "ContainerCreating"])
def test_a_pod_that_starts_is_no_news(
    kubeflow: FakeKubeflow, call: Callable[..., Called], message: str
) -> None:
    run_id = serve(kubeflow, "scheduled-nothing-moved", state="RUNNING", state_history=[])
    manifest = kubeflow.recorded[run_id]["v1beta1"]["pipeline_runtime"]["workflow_manifest"]
    manifest["status"]["phase"] = "Running"
    nodes = manifest["status"]["nodes"]
    for key in [key for key in nodes if key.endswith("-3508786859")]:
        del nodes[key]  # the branch
    for node in nodes.values():
        if node["displayName"] in ("moved", "executor", "condition-1-driver"):
            node |= {"phase": "Running" if node["type"] == "DAG" else "Pending", "message": message}
            node["finishedAt"] = None
    assert call("wait", run_id, "--timeout", "1").out == "moved pending, attempt 1\n"
    nodes["street-segmentationpnrmp-2-3705546295-1745486732"]["message"] = "Unschedulable: 0/1 x"
    assert "data-moved pending, attempt 1: no node suits: 0/1 x" in (
        call("wait", run_id, "--timeout", "1").out
    )


def test_a_run_that_failed_after_a_retry_of_a_canceled_one_has_failed(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    history = ["RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"]
    run_id = serve(kubeflow, "terminated", state_history=[{"state": each} for each in history])
    assert f"error: run {run_id} failed at train" in call("wait", run_id).err


@pytest.mark.parametrize("spec", [{"activeDeadlineSeconds": 0}, {"shutdown": "Terminate"}])
def test_the_workflow_tells_that_a_run_was_terminated_where_its_history_does_not(
    kubeflow: FakeKubeflow, call: Callable[..., Called], spec: dict[str, Any]
) -> None:
    run_id = serve(kubeflow, "terminated-at-once")
    workflow = kubeflow.recorded[run_id]["v1beta1"]["pipeline_runtime"]["workflow_manifest"]
    workflow["spec"] = spec
    assert call("wait", run_id).err.startswith(f"error: run {run_id} was canceled; see")
    assert call("logs", run_id).out.startswith(f"run {run_id} canceled: ")
    assert call("cancel", run_id).err == f"error: run {run_id} has ended: it was canceled\n"
    workflow["spec"] = {"activeDeadlineSeconds": 3600}  # its own, not Kubeflow's
    assert f"error: run {run_id} failed at root, attempt 1: its driver: " in (
        call("wait", run_id).err
    )


def test_the_driver_of_a_step_in_a_loop_has_the_name_of_the_step(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    run_id = serve(kubeflow, "parallel-item-failed", state="RUNNING", state_history=[])
    workflow = kubeflow.recorded[run_id]["v1beta1"]["pipeline_runtime"]["workflow_manifest"]
    workflow["status"]["phase"] = "Running"
    nodes = workflow["status"]["nodes"]
    (driver,) = (
        key for key, n in nodes.items() if "(1:" in n["name"] and n["name"].endswith(".item-driver")
    )
    for key in [k for k, n in nodes.items() if "(1:" in n["name"] and "-item.item" in n["name"]]:
        if key != driver:
            del nodes[key]
    nodes[driver] |= {"phase": "Pending", "finishedAt": None}
    assert "item[1] pending, attempt 1\n" in call("wait", run_id, "--timeout", "1").out


def test_a_run_whose_cancelation_kubeflow_has_forgotten_is_being_canceled(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    client = KubeflowClient(kubeflow.url, "", None)
    history = [{"state": each} for each in ("RUNNING", "CANCELING", "RUNNING")]
    run_id = serve(kubeflow, "terminated", state="RUNNING", state_history=history)
    assert client.run(run_id).state == "CANCELING"
    history += [{"state": each} for each in ("FAILED", "RUNNING")]  # by a retry
    kubeflow.recorded[run_id]["v2beta1"]["state_history"] = history
    assert client.run(run_id).state == "RUNNING"


def test_nodes_are_decompressed_up_to_a_limit(
    kubeflow: FakeKubeflow, call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = serve(kubeflow, "large-compressed")
    monkeypatch.setattr(steps, "MAX_NODES_BYTES", 1000)
    assert "MB of nodes: look at it in the UI" in call("wait", run_id).err
    runtime = kubeflow.recorded[run_id]["v1beta1"]["pipeline_runtime"]
    runtime["workflow_manifest"]["status"]["compressedNodes"] = "AAAA"
    assert call("wait", run_id).err.startswith("error: the nodes of the run are damaged: ")
