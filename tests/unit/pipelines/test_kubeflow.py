"""The commands that run and schedule the pipeline on a Kubeflow Pipelines endpoint."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.runs import connection
from pipelines.cli import kubeflow as commands
from scripts.servers import free_port
from tests.support.kfp_api import NAMESPACE, TOKEN, FakeKubeflow
from tests.unit.pipelines.conftest import DATA, Called

ON_KUBEFLOW = ("submit", "wait", "schedule", "list", "logs", "cancel", "retry")


def test_the_first_run_creates_pipeline_version_and_experiment(
    kubeflow: FakeKubeflow, call: Callable[..., Called], home: Path
) -> None:
    done = call("submit", "--data-version", DATA)
    assert (done.status, done.err) == (0, "")
    (pipeline,) = kubeflow.pipelines.values()
    (version,) = kubeflow.versions.values()
    (experiment,) = kubeflow.experiments.values()
    (run,) = kubeflow.runs.values()
    assert (pipeline["name"], pipeline["namespace"]) == ("street-segmentation-training", NAMESPACE)
    assert experiment["display_name"] == "street-segmentation"
    assert run["experiment_id"] == experiment["experiment_id"]
    assert run["pipeline_version_reference"] == {
        "pipeline_id": pipeline["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    package = kubeflow.packages[version["pipeline_version_id"]]
    pipeline_spec, _ = yaml.safe_load_all(package)
    assert pipeline_spec["pipelineInfo"]["name"] == "street-segmentation-training"
    assert f"{kubeflow.url}/#/runs/details/{run['run_id']}\n" in done.out
    assert len(done.out.splitlines()) == 2
    assert list(home.iterdir()) == []


def test_only_what_is_given_is_set(kubeflow: FakeKubeflow, call: Callable[..., Called]) -> None:
    call("submit", "--data-version", "main")
    call(
        *("submit", "--data-version", DATA, "--recipe", "demo", "--epochs", "5"),
        *("--miou-floor", "0", "--model-name", "roads", "--auto-promote", "--fail-on-gate"),
        *("--train-cpus", "4", "--train-gpus", "0", "--train-memory", "8Gi"),
        *("--set", "train.batch_size=16", "--set", "model.encoder=resnet18"),
        *("--experiment", "nightly"),
    )
    plain, full = (run["runtime_config"]["parameters"] for run in kubeflow.runs.values())
    assert plain == {"data_version": "main"}
    assert full == {
        "data_version": DATA,
        "recipe": "demo",
        "epochs": 5,
        "miou_floor": 0,
        "model_name": "roads",
        "promote": True,
        "fail_on_gate": True,
        "overrides": 'train.batch_size=16\nmodel.encoder="resnet18"',
        "train_cpus": "4",
        "train_gpus": "0",
        "train_memory": "8Gi",
    }
    names = [each["display_name"] for each in kubeflow.experiments.values()]
    assert names == ["street-segmentation", "nightly"]


def test_a_setting_of_the_pods_changes_the_package_and_is_no_parameter(
    kubeflow: FakeKubeflow, call: Callable[..., Called], tmp_path: Path
) -> None:
    gpu = ("--set", "cluster.gpu.count=2")
    assert call("submit", "--data-version", DATA, *gpu).status == 0
    (run,) = kubeflow.runs.values()
    assert run["runtime_config"]["parameters"] == {"data_version": DATA}
    (package,) = kubeflow.packages.values()
    spec, _ = yaml.safe_load_all(package)
    assert spec["root"]["inputDefinitions"]["parameters"]["train_gpus"]["defaultValue"] == "2"

    (tmp_path / "mine.yaml").write_text(package)
    done = call("submit", "--data-version", DATA, "--package", str(tmp_path / "mine.yaml"), *gpu)
    assert (done.status, done.err) == (
        1,
        f"error: --set cluster.gpu.count: {tmp_path / 'mine.yaml'} is compiled already; give it to "
        "'compile'\n",
    )


def test_without_a_data_version_it_is_the_one_in_dvc_lock(
    kubeflow: FakeKubeflow,
    call: Callable[..., Called],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("submit")
    assert (done.status, done.err) == (
        1,
        "error: dvc.lock names no prepared data: run 'dvc repro' first\n",
    )
    lock = {"stages": {"prepare": {"outs": [{"path": "data/prepared", "md5": DATA}]}}}
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    assert call("submit").status == 0
    (run,) = kubeflow.runs.values()
    assert run["runtime_config"]["parameters"] == {"data_version": DATA}


def test_a_pipeline_is_uploaded_again_only_if_it_has_changed(
    kubeflow: FakeKubeflow, call: Callable[..., Called], tmp_path: Path
) -> None:
    assert " uploaded\n" in call("submit", "--data-version", DATA).out
    assert " is there already\n" in call("submit", "--data-version", DATA).out
    assert (len(kubeflow.versions), len(kubeflow.runs)) == (1, 2)
    package = tmp_path / "other.yaml"
    (yesterday,) = kubeflow.packages.values()
    package.write_text(yesterday.replace("streetseg-train:", "registry.example/streetseg:"))
    assert " uploaded\n" in call("submit", "--data-version", DATA, "--package", str(package)).out
    assert len(kubeflow.pipelines) == 1
    first, second = kubeflow.versions.values()
    assert first["name"] != second["name"]
    assert kubeflow.packages[second["pipeline_version_id"]] == package.read_text()
    *_, last = kubeflow.runs.values()
    used = last["pipeline_version_reference"]["pipeline_version_id"]
    assert used == second["pipeline_version_id"]


def test_a_mistake_in_a_setting_is_found_before_anything_is_uploaded(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    done = call("submit", "--data-version", DATA, "--set", "train.epocs=3")
    assert done.status == 1
    assert "epocs" in done.err
    assert call("submit", "--data-version", DATA, "--recipe", "none").status == 1
    assert kubeflow.calls == []


def test_a_token_comes_from_a_file_too_and_is_never_shown(
    kubeflow: FakeKubeflow,
    call: Callable[..., Called],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KFP_TOKEN", "an-old-one")
    refused = call("list")
    assert refused.status == 1
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert call("list", "--token-file", str(file)).status == 0
    monkeypatch.delenv("KFP_TOKEN")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    assert call("list").status == 0
    file.write_text("two secret\nwords")
    garbled = call("list", "--token-file", str(file))
    assert garbled.err == (f"error: {file} holds no token: it must be one word and nothing else\n")
    gone = call("list", "--token-file", str(tmp_path / "none"))
    assert gone.err == (
        f"error: cannot read the token in {tmp_path / 'none'}: No such file or directory\n"
    )
    assert not re.search(f"an-old-one|{TOKEN}|secret", refused.err + garbled.err)


def test_a_schedule_is_made_and_replaces_the_one_of_its_name(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    done = call("schedule", "--cron", "0 0 3 * * *", "--epochs", "5")
    assert done.status == 0, done.err
    assert "schedule 'street-segmentation' created" in done.out
    (schedule,) = kubeflow.schedules.values()
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert schedule["mode"] == "ENABLE"
    assert (schedule["no_catchup"], schedule["max_concurrency"]) == (True, "1")
    assert schedule["runtime_config"]["parameters"] == {"data_version": "main", "epochs": 5}
    (pipeline,) = kubeflow.pipelines.values()
    assert pipeline["name"] == "street-segmentation-scheduled"

    call("schedule", "--cron", "0 0 3 * * *", "--name", "other")
    done = call("schedule", "--cron", "0 30 4 * * 1-5")
    assert "replaced" in done.out
    crons = {
        each["display_name"]: each["trigger"]["cron_schedule"]["cron"]
        for each in kubeflow.schedules.values()
    }
    assert crons == {"other": "0 0 3 * * *", "street-segmentation": "0 30 4 * * 1-5"}
    assert len(kubeflow.versions) == 2, "one for each set of inputs"

    assert call("schedule", "--delete").out == "schedule 'street-segmentation' deleted\n"
    assert [each["display_name"] for each in kubeflow.schedules.values()] == ["other"]
    done = call("schedule", "--delete")
    assert done.err.startswith(f"error: no schedule 'street-segmentation' at {kubeflow.url}: ")
    done = call("schedule", "--delete", "--name", "othr")
    assert done.err.endswith("did you mean 'other'?\n")


@pytest.mark.parametrize("options", [("--cron", "0 0 4 * * *"), ("--delete",)])
def test_a_schedule_is_kept_while_a_run_of_it_is_under_way(
    kubeflow: FakeKubeflow, call: Callable[..., Called], options: tuple[str, ...]
) -> None:
    call("schedule", "--cron", "0 0 3 * * *")
    ((schedule_id, schedule),) = kubeflow.schedules.items()
    run_id = kubeflow.record("unchanged-data-reported", recurring_run_id=schedule_id)
    assert call("schedule", *options).err == (
        f"error: run {run_id} of the schedule 'street-segmentation' is under way, and Kubeflow "
        "would delete it with the schedule: wait until it has ended, or cancel it\n"
    )
    assert list(kubeflow.schedules.values()) == [schedule]
    kubeflow.record("unchanged-data-reported", recurring_run_id=schedule_id, state="CANCELING")
    assert call("schedule", *options).status == 0


def test_the_schedule_of_another_pipeline_is_left_alone(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    call("schedule", "--cron", "0 0 3 * * *")
    (theirs,) = kubeflow.schedules.values()
    theirs["pipeline_version_reference"]["pipeline_id"] = "another"
    done = call("schedule", "--cron", "0 0 4 * * *")
    assert done.status == 1
    assert "is of another pipeline: choose another --name" in done.err
    assert list(kubeflow.schedules.values()) == [theirs]


def test_cron_has_six_fields(kubeflow: FakeKubeflow, call: Callable[..., Called]) -> None:
    done = call("schedule", "--cron", "0 3 * * *")
    assert (done.status, done.err) == (
        1,
        "error: --cron '0 3 * * *' has 5 fields: Kubeflow reads six, the first for the seconds, "
        "such as '0 0 3 * * *' for daily at 3:00\n",
    )
    assert kubeflow.calls == []


def html(status: int, **headers: str) -> tuple[int, dict[str, str], str]:
    return status, {"Content-Type": "text/html; charset=utf-8", **headers}, "<html>Log in</html>"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (html(401), "does not know who asks (401): a token is needed: put one in KFP_TOKEN"),
        (
            html(403),
            "does not allow this (403): check --namespace, and that the token in KFP_TOKEN",
        ),
        (html(200), "answers with a web page, no doubt to log in: a token is needed"),
        (
            html(302, Location="https://dex.example/auth?client=kubeflow"),
            "redirects to https://dex.example/auth: if that is a login page, a token is needed",
        ),
        (html(404), "has no Kubeflow Pipelines API v2 (404): check the path of the endpoint"),
        (html(500), "refuses (500)"),
        ((502, {}, "bad gateway"), "is not ready (502): try again in a moment"),
    ],
    ids=["401", "403", "login page", "redirect to a login page", "elsewhere", "500", "502"],
)
@pytest.mark.parametrize("command", ["submit", "list"])
def test_an_error_of_the_endpoint_is_one_line(
    kubeflow: FakeKubeflow,
    call: Callable[..., Called],
    answer: tuple[int, dict[str, str], str],
    message: str,
    command: str,
) -> None:
    kubeflow.answer = answer
    done = call(command, *(["--data-version", DATA] if command == "submit" else []))
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"error: {kubeflow.url} {message}")
    assert len(done.err.splitlines()) == 1


def test_a_namespace_must_be_named_and_be_ones_own(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    done = call("list", "--namespace", "others")
    assert "(403, User 'me' is not authorized in namespace others): check --namespace" in done.err
    done = call("list", "--namespace", "")
    assert "name a --namespace in a multi-user Kubeflow, and none in a single-user" in done.err


def test_an_unknown_run_is_named(kubeflow: FakeKubeflow, call: Callable[..., Called]) -> None:
    for command in ("wait", "logs", "cancel", "retry"):
        done = call(command, "no-such-run")
        assert (done.status, done.err) == (1, f"error: no run 'no-such-run' at {kubeflow.url}\n")


def test_a_taken_name_is_an_error(kubeflow: FakeKubeflow, call: Callable[..., Called]) -> None:
    name = "street-segmentation-training"
    kubeflow.pipelines["theirs"] = {"name": name, "display_name": name, "namespace": "others"}
    done = call("submit", "--data-version", DATA)
    assert done.status == 1
    assert f"the name '{name}' is taken at {kubeflow.url} by a pipeline that" in done.err


def test_a_version_of_another_pipeline_with_our_name_is_an_error(
    kubeflow: FakeKubeflow, call: Callable[..., Called], submitted: str
) -> None:
    (version,) = kubeflow.versions.values()
    version["pipeline_id"] = "another"
    done = call("submit", "--data-version", DATA)
    assert done.status == 1
    assert f"a pipeline version '{version['name']}' that does not belong to" in done.err


def test_an_unreachable_endpoint_is_named(
    call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = call("list", "--endpoint", nobody)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"error: cannot reach {nobody}: [Errno 111] Connection refused: ")
    assert len(done.err.splitlines()) == 1
    assert "write it with http:// or https://" in call("list", "--endpoint", "kubeflow").err
    monkeypatch.delenv("KFP_ENDPOINT")
    assert "name one by --endpoint or KFP_ENDPOINT" in call("list").err


def test_an_endpoint_has_limited_time_to_answer(
    call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = call("list", "--endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "no answer within 1 s: check --endpoint" in done.err


def test_a_certificate_must_be_trusted(
    call: Callable[..., Called], kubeflow: FakeKubeflow, tmp_path: Path, monkeypatch: Any
) -> None:
    import ssl

    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    kubeflow.server.socket = context.wrap_socket(kubeflow.server.socket, server_side=True)
    secure = kubeflow.url.replace("http:", "https:")
    done = call("list", "--endpoint", secure)
    assert done.err == (
        f"error: cannot trust {secure}: certificate verify failed: self-signed certificate: name "
        "the certificate of its authority by SSL_CERT_FILE\n"
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert call("list", "--endpoint", secure).status == 0


@pytest.mark.parametrize(
    ("image", "warned"),
    [
        ("streetseg-train:0.2.0", True),
        ("team/streetseg-train:0.2.0", True),
        ("registry.example/streetseg-train:0.2.0", False),
        ("localhost:5000/streetseg-train", False),
    ],
)
def test_an_image_that_no_cluster_can_pull_is_a_warning(
    call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, image: str, warned: bool
) -> None:
    monkeypatch.setattr(commands, "IMAGE", image)
    for command in (("submit", "--data-version", DATA), ("schedule", "--cron", "0 0 3 * * *")):
        done = call(*command)
        assert done.status == 0
        warning = f"warning: the image {image} names no registry"
        assert [line[: len(warning)] for line in done.err.splitlines()] == [warning] * warned


def test_help_says_what_cron_is_and_never_asks_for_a_token(call: Callable[..., Called]) -> None:
    assert "SECONDS" in call("schedule", "--help").out
    for command in ON_KUBEFLOW:
        assert not re.search(r"--token\b(?!-file)", call(command, "--help").out)
