"""The probes of ``check``: each finds what is there, and what is not, on real things."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import yaml
from kfp.dsl import Markdown
from mlflow import MlflowClient
from mlflow.entities import ViewType

from components.check import check
from components.environment import probes
from components.environment.finding import Finding
from pipelines.check import check_pipeline
from pipelines.compile import compile_pipeline
from scripts.servers import free_port
from streetseg.config.params import Data, Registry, Train, load_params
from streetseg.data.dataset import PreparedDataset
from tests.support.kfp_api import FakeKubeflow
from tests.support.repositories import commit_data, fill_remote, git
from tests.unit.pipelines.conftest import Called, call, home, kubeflow  # noqa: F401 - fixtures

DATA = f"{'1' * 32}.dir"
GIB = 1 << 30


def found(finding: Finding) -> tuple[bool, str]:
    return finding.ok, finding.seen


def test_git_says_which_data_a_revision_has(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit_data(tmp_path, DATA, "data")
    there, version = probes.probe_git("main", str(tmp_path))
    assert (found(there), version) == ((True, f"main is data version {DATA}"), DATA)
    by_md5, version = probes.probe_git(DATA, "nowhere")
    assert (by_md5.ok, version) == (True, DATA)
    missing, version = probes.probe_git("no-such-branch", str(tmp_path))
    assert (missing.ok, version) == (False, "")
    assert "no data version in dvc.lock" in missing.seen
    assert "data.repository=URL" in missing.way_out


def test_every_file_of_the_data_is_looked_for(dataset: PreparedDataset, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    look = partial(probes.probe_data, dataset.version, Data(remote=str(remote)))
    remote.mkdir()
    assert found(look()) == (False, f"data version {dataset.version} is not in {remote}")
    fill_remote(remote, dataset.path)
    frames = len(dataset.index)
    assert found(look()) == (True, f"data version {dataset.version} in {remote}: {frames} frames")
    largest = max(remote.rglob("*"), key=lambda path: path.stat().st_size)
    largest.unlink()
    part = look()
    assert not part.ok
    assert part.seen.startswith(f"data version {dataset.version} is incomplete in {remote}: ")
    assert not probes.probe_data("", Data(remote=str(remote))).ok


def test_mlflow_takes_runs_and_files(
    _migrations_run_once: None,  # noqa: PT019 - a fixture for what it does
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    there = probes.probe_mlflow(Registry(tracking_uri=uri))
    assert found(there) == (True, f"a run with a file was recorded in {uri}, and deleted")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("streetseg")
    assert experiment
    assert client.search_runs([experiment.experiment_id]) == []
    (deleted,) = client.search_runs([experiment.experiment_id], "", ViewType.DELETED_ONLY)
    assert (Path(deleted.info.artifact_uri.removeprefix("file://")) / "check.txt").is_file()

    (tmp_path / "a-file").touch()
    client.create_experiment("no-files", artifact_location=(tmp_path / "a-file").as_uri())
    no_files = probes.probe_mlflow(Registry(tracking_uri=uri, experiment="no-files"))
    assert not no_files.ok
    assert "cannot store files" in no_files.seen

    closed = f"http://127.0.0.1:{free_port()}"
    away = probes.probe_mlflow(Registry(tracking_uri=closed))
    assert not away.ok
    assert "Connection refused" in away.seen
    assert "secret streetseg-mlflow" in away.way_out

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    lost = probes.probe_mlflow(Registry(tracking_uri=uri))
    assert found(lost) == (False, f"{uri} is a file in this pod, and gone with it")


def test_gpus_are_those_that_were_asked_for() -> None:
    there = torch.cuda.device_count()
    assert probes.probe_gpus(there).ok
    finding = probes.probe_gpus(there + 1)
    assert not finding.ok
    assert finding.seen.endswith(f"where {there + 1} were asked for")


def test_the_batches_of_the_workers_must_fit_into_shared_memory(tmp_path: Path) -> None:
    look = partial(probes.probe_shared_memory, size=(512, 1024), path=tmp_path)
    assert look(Train(num_workers=0)).ok
    needed = 4 * 2 * 8 * 512 * 1024 * 4 / GIB
    fits = look(Train(num_workers=4, batch_size=8))
    assert fits.ok
    assert fits.seen.endswith(f"{needed:.2f} GiB for 4 workers")
    free = shutil.disk_usage(tmp_path).free
    too_many = look(Train(num_workers=free // (2 * 8 * 512 * 1024 * 4) + 1000, batch_size=8))
    assert not too_many.ok
    assert "cluster.shared_memory" in too_many.way_out


@pytest.mark.parametrize(
    ("look", "files", "expected"),
    [
        (probes.probe_cpus, {"cpu.max": "800000 100000"}, (True, "a limit of 8 CPUs")),
        (probes.probe_cpus, {"cpu.max": "50000 100000"}, (False, "a limit of 0.5 CPUs")),
        (
            probes.probe_cpus,
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            (False, "a limit of 0.5 CPUs"),
        ),
        (probes.probe_memory, {"memory.max": str(16 * GIB)}, (True, "a limit: 16.00 GiB")),
        (
            probes.probe_memory,
            {"memory/memory.limit_in_bytes": str(GIB)},
            (False, "a limit: 1.00 GiB, below 2 GiB"),
        ),
    ],
)
def test_limits_are_those_of_the_container(
    tmp_path: Path,
    look: Callable[[Path], Finding],
    files: dict[str, str],
    expected: tuple[bool, str],
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert found(look(tmp_path)) == expected
    assert probes.probe_cpus(tmp_path / "none").seen.startswith("no limit: ")
    assert probes.probe_memory(tmp_path / "none").seen.startswith("no limit: ")


@contextmanager
def clock_server(ahead: timedelta) -> Iterator[str]:
    """The address of a server whose clock is ahead of ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response_only(404)
            self.send_header("Date", format_datetime(datetime.now(UTC) + ahead, usegmt=True))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_clock_is_compared_with_that_of_the_servers() -> None:
    closed = f"http://127.0.0.1:{free_port()}"
    with clock_server(timedelta(0)) as right, clock_server(timedelta(hours=1)) as wrong:
        assert probes.probe_clock([closed, right]).seen.endswith(f" s from {right}")
        assert probes.probe_clock([closed, right]).ok
        finding = probes.probe_clock([right, wrong])
        assert not finding.ok
        assert finding.seen in {f"{seconds} s from {wrong}" for seconds in (-3600, -3599, -3598)}
    assert found(probes.probe_clock([closed])) == (True, "no server tells the time")


def test_servers_are_those_of_the_settings_and_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    settings = {"registry.tracking_uri": "http://mlflow:5000", "data.remote": "s3://bucket/data"}
    params = load_params(overrides=settings)
    assert probes.servers(params) == ["http://mlflow:5000", "https://s3.amazonaws.com"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    assert probes.servers(params) == ["http://mlflow:5000", "http://minio:9000"]
    assert probes.servers(params.override({"registry.tracking_uri": "sqlite:///x.db"})) == [
        "http://minio:9000"
    ]


def test_the_step_prints_the_table_and_fails_if_something_is_missing(
    _migrations_run_once: None,  # noqa: PT019 - a fixture for what it does
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    fill_remote(tmp_path / "remote", dataset.path)
    settings = {
        "data.remote": str(tmp_path / "remote"),
        "registry.tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }
    report = Markdown(uri=str(tmp_path / "report.md"))
    gpus = torch.cuda.device_count()
    check.python_func(dataset.version, "default", settings, str(gpus), report)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ok ")]
    names = ["git", "data", "MLflow", "GPUs", "shared memory", "CPUs", "memory", "clock"]
    assert [line.split("  ")[3].strip() for line in lines] == names

    with pytest.raises(SystemExit, match=r"error: 2 of 8 are missing: data, GPUs"):
        check.python_func(DATA, "default", settings, str(gpus + 1), report)
    out = capsys.readouterr().out
    assert "MISSING  data           data version 1111" in out
    assert "way out: --set data.remote=s3://BUCKET/PREFIX" in out
    rows = (tmp_path / "report.md").read_text().splitlines()
    assert rows[0] == "| check | | seen | way out |"
    assert len(rows) == 2 + 8
    assert rows[3].startswith("| data | **missing** | data version 1111")


def test_the_command_looks_from_here_or_from_a_pod_like_that_of_the_training(
    kubeflow: FakeKubeflow,  # noqa: F811 - a fixture
    call: Callable[..., Called],  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    store = ("--set", f"registry.tracking_uri=http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    here = call("check", "--local", "--data-version", DATA, *store)
    assert here.status == 1
    assert here.err.endswith("error: 2 of 8 are missing: data, MLflow\n")
    assert "MISSING  MLflow         cannot record a run" in here.out

    kubeflow.story = [("SUCCEEDED", {"check": "SUCCEEDED"})]
    pod = call("check", "--data-version", DATA, "--set", "train.epochs=2")
    assert pod.status == 0, pod.err
    (run,) = kubeflow.runs.values()
    parameters = run["runtime_config"]["parameters"]
    assert (parameters["data_version"], parameters["recipe"]) == (DATA, "default")


def test_the_pod_is_like_that_of_the_training(tmp_path: Path) -> None:
    sets = {"cluster.gpu.count": 2, "cluster.steps.train.memory": ["9Gi", "20Gi"]}
    compile_pipeline(check_pipeline, load_params(overrides=sets).cluster, tmp_path / "check.yaml")
    spec, platform = yaml.safe_load_all((tmp_path / "check.yaml").read_text())
    resources = spec["deploymentSpec"]["executors"]["exec-check"]["container"]["resources"]
    assert resources["resourceMemoryLimit"] == "20Gi"
    asked = "{{$.inputs.parameters['pipelinechannel--gpus']}}"
    assert resources["accelerator"]["resourceCount"] == asked
    assert spec["root"]["inputDefinitions"]["parameters"]["gpus"]["defaultValue"] == "2"
    pod = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-check"]
    secrets = {each["secretName"] for each in pod["secretAsEnv"]}
    assert secrets == {"streetseg-mlflow", "streetseg-s3", "streetseg-git"}
    assert [each["mountPath"] for each in pod["emptyDirMounts"]] == ["/dev/shm"]
