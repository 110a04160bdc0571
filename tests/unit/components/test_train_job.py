"""Training in a Kubeflow TrainJob, against an API that runs its command on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from components.trainjob import api
from components.trainjob.api import TrainJobs
from components.trainjob.manifest import TrainJobSpec, build_manifest, owner_of
from components.trainjob.run import train_on_cluster
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config
from tests.conftest import Trained
from tests.support.trainer_api import POD, UID, FakeCluster

NAME = f"streetseg-{UID}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A cluster, and this process as a step in it."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    fake = FakeCluster(folder)
    use_kubeconfig(fake.kubeconfig(), monkeypatch)
    monkeypatch.setenv("KFP_POD_NAME", POD["metadata"]["name"])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    yield fake
    fake.close()


def use_kubeconfig(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set KUBECONFIG, also for the client in this process, which read it when it was imported."""
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


@pytest.fixture
def one_epoch(params: Params) -> Params:
    """The settings of a training step."""
    tree = params.to_dict()
    train = {**tree["train"], "epochs": 1}
    return Params.model_validate(
        {"model": tree["model"], "train": train, "registry": tree["registry"]}
    )


Start = Callable[..., Any]


@pytest.fixture
def start(
    cluster: FakeCluster, volume: Path, dataset: PreparedDataset, one_epoch: Params, tmp_path: Path
) -> Start:
    """Train on the cluster, with one process."""

    def run(**changes: Any) -> Any:
        spec = replace(TrainJobSpec("training-claim", gpus=0, mount=str(volume)), **changes)
        return train_on_cluster(one_epoch, dataset.path, tmp_path / "model", spec)

    return run


def manifest(**changes: Any) -> dict:
    spec = replace(TrainJobSpec("training-claim", nodes=2, gpus=4), **changes)
    return build_manifest(NAME, POD, ["torchrun", "-m", "streetseg"], spec)


def pods_of(job: dict) -> dict:
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return node["template"]["spec"]["template"]


@pytest.mark.parametrize("gpus", [0, 4])
def test_the_manifest_has_nothing_that_the_api_does_not_know(gpus: int) -> None:
    job = manifest(gpus=gpus)
    assert TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job


def test_a_job_has_a_process_for_each_gpu() -> None:
    trainer = manifest()["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"] == {"limits": {"nvidia.com/gpu": "4"}}
    trainer = manifest(gpus=0)["spec"]["trainer"]
    assert trainer["numProcPerNode"] == 1
    assert "resourcesPerNode" not in trainer


def test_the_pods_of_a_job_are_like_that_of_the_step() -> None:
    job, spec = manifest(), pods_of(manifest())["spec"]
    assert job["spec"]["trainer"]["image"] == "registry.example/streetseg:1.2"
    assert spec["serviceAccountName"] == "default-editor"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["securityContext"]["fsGroup"] == 2000
    assert spec["securityContext"]["runAsUser"] == os.getuid()
    assert spec["securityContext"]["runAsNonRoot"] == (os.getuid() != 0)


def test_pods_get_only_the_variables_of_mlflow_and_secrets_by_reference() -> None:
    assert [entry["name"] for entry in manifest()["spec"]["trainer"]["env"]] == [
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
    ]
    assert "value" not in manifest()["spec"]["trainer"]["env"][1]


def test_pods_share_the_volume_and_have_memory_to_share() -> None:
    spec = pods_of(manifest())["spec"]
    claims = {entry["name"]: entry for entry in spec["volumes"]}
    (container,) = spec["containers"]
    mounted = {entry["mountPath"]: claims[entry["name"]] for entry in container["volumeMounts"]}
    assert mounted["/mnt/training"]["persistentVolumeClaim"] == {"claimName": "training-claim"}
    assert mounted["/dev/shm"]["emptyDir"] == {"medium": "Memory"}


def test_a_job_belongs_to_the_workflow_of_its_run() -> None:
    metadata = manifest()["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Workflow", UID)
    assert metadata["labels"]["pipeline/runid"] == "run-1"
    alone = {"metadata": {"name": "pod", "uid": "1"}}
    assert owner_of(alone) == {"apiVersion": "v1", "kind": "Pod", "name": "pod", "uid": "1"}


@pytest.mark.slow
def test_the_component_trains_through_a_job_and_takes_the_model_back(
    cluster: FakeCluster,
    volume: Path,
    dataset: PreparedDataset,
    one_epoch: Params,
    tmp_path: Path,
) -> None:
    """The step of the pipeline, run by kfp in a process of its own."""
    from kfp import dsl

    from components.train_job import train_job
    from pipelines.local.run import run_locally

    spec = asdict(TrainJobSpec("training-claim", mount=str(volume))) | {"gpus": "0"}
    tree = one_epoch.to_dict()

    @dsl.pipeline(name="training-alone")
    def alone():  # type: ignore[no-untyped-def]  # kfp reads no annotation of text
        brought = dsl.importer(artifact_uri=str(dataset.path), artifact_class=dsl.Dataset)
        train_job(dataset=brought.output, settings=tree, **spec)

    lines: list[str] = []
    done = run_locally(alone, {}, tmp_path / "run", lines.append)
    assert done.succeeded, (tmp_path / "run" / "log.txt").read_text()
    (model,) = (tmp_path / "run").glob("*/train-job/model")
    (output,) = (tmp_path / "run").glob("*/train-job/executor_output.json")
    artifacts = json.loads(output.read_text())["artifacts"]
    made = read_config(model)
    assert made["data_version"] == dataset.version
    assert artifacts["model"]["artifacts"][0]["metadata"]["run_id"] == made["run_id"]
    metrics = artifacts["metrics"]["artifacts"][0]["metadata"]
    assert metrics["best epoch"] == 1
    assert 0 < metrics["IoU mean of the holdout"] < 1
    assert f"  train job {NAME}: running" in lines
    assert f"  train job {NAME}: complete" in lines
    assert {path.name for path in (volume / NAME).iterdir()} == {"params.yaml", "model"}


def test_a_failed_job_is_one_line_and_kept_for_its_logs(
    cluster: FakeCluster, start: Start, volume: Path
) -> None:
    cluster.command = ["false"]
    with pytest.raises(StreetsegError) as error:
        start()
    assert str(error.value) == (
        f"train job {NAME} failed: FailedJobs: jobset failed due to one or more job failures; its "
        f"logs: kubectl -n team logs -l jobset.sigs.k8s.io/jobset-name={NAME} --prefix --tail=-1"
    )
    assert NAME in cluster.jobs
    settings = yaml.safe_load((volume / NAME / "params.yaml").read_text())
    assert settings["data"]["prepared"] == str(volume / NAME / "prepared")
    assert settings["train"]["checkpoint"] == str(volume / NAME / "training.checkpoint")


def test_a_retried_step_replaces_a_failed_job(cluster: FakeCluster, start: Start) -> None:
    cluster.command = ["false"]
    for _ in range(2):
        with pytest.raises(StreetsegError, match="FailedJobs"):
            start()
    assert [call for call in cluster.calls if call != "get"] == ["create", "delete", "create"]


def test_a_retried_step_waits_for_a_job_that_still_runs(cluster: FakeCluster, start: Start) -> None:
    cluster.command = ["sh", "-c", "sleep 2; exit 1"]
    jobs = TrainJobs()
    jobs.create(manifest(gpus=0, nodes=1))
    with pytest.raises(StreetsegError, match="FailedJobs"):
        start()
    jobs.create(manifest())  # as if two steps had found none: the second one gives way
    assert [call for call in cluster.calls if call != "get"] == ["create"]


def test_a_retried_step_takes_the_model_of_a_job_that_is_complete(
    cluster: FakeCluster, start: Start, volume: Path, trained: Trained
) -> None:
    cluster.command = ["true"]
    TrainJobs().create(manifest())
    cluster.pods[NAME].wait()
    shutil.copytree(trained.artifact, volume / NAME / "model")
    for _ in range(2):  # the second as if kfp had failed to store what the first one gave
        assert start().run_id == trained.run_id
    assert [call for call in cluster.calls if call != "get"] == ["create"]


def test_folders_of_other_runs_are_removed_after_a_week_unless_their_job_runs(
    cluster: FakeCluster, start: Start, volume: Path, trained: Trained
) -> None:
    cluster.command = ["sleep", "60"]
    waiting, ended, recent = (NAME[:-1] + digit for digit in "123")
    for name in (waiting, ended, recent, f"{ended}.partial", "streetseg-recipes"):
        (volume / name).mkdir()
        if name != recent:
            os.utime(volume / name, times=(0, 0))
    TrainJobs().create(manifest() | {"metadata": {"name": waiting}})
    shutil.copytree(trained.artifact, volume / NAME / "model")
    os.utime(volume / NAME, times=(0, 0))
    start()
    left = {path.name for path in volume.iterdir()}
    assert left == {waiting, recent, NAME, "streetseg-recipes"}


@pytest.mark.slow
def test_a_step_that_gets_sigterm_deletes_the_job_and_leaves_the_checkpoint(
    cluster: FakeCluster, volume: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    cluster.command = ["sleep", "60"]
    program = f"""
from pathlib import Path
from components.trainjob.manifest import TrainJobSpec
from components.trainjob.run import train_on_cluster
from streetseg.config.params import Params
from streetseg.core.errors import exit_on_error
with exit_on_error():
    train_on_cluster(Params(), Path({str(dataset.path)!r}), Path({str(tmp_path / "model")!r}),
        TrainJobSpec("c", gpus=0, mount={str(volume)!r}))
"""
    step = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert step.stdout
    assert any("running" in line for line in step.stdout)
    step.send_signal(signal.SIGTERM)
    _, stderr = step.communicate(timeout=60)
    assert step.returncode == 1
    assert stderr == (
        f"error: stopped: train job {NAME} is deleted; a retried run goes on from {volume / NAME}\n"
    )
    assert cluster.calls[-1] == "delete"
    assert cluster.pods[NAME].wait() == -signal.SIGTERM
    assert (volume / NAME / "params.yaml").exists()


def test_a_job_that_somebody_deletes_is_an_error(cluster: FakeCluster, start: Start) -> None:
    cluster.command = ["sleep", "60"]

    def delete() -> None:
        while NAME not in cluster.jobs:
            time.sleep(0.05)
        TrainJobs().remove(NAME)

    other = threading.Thread(target=delete)
    other.start()
    with pytest.raises(StreetsegError, match=f"train job {NAME} was deleted while it ran"):
        start()
    other.join()


def test_an_api_may_be_unavailable_for_a_while(cluster: FakeCluster, start: Start) -> None:
    cluster.command = ["sh", "-c", "sleep 2; exit 1"]

    def restart() -> None:
        while NAME not in cluster.jobs:
            time.sleep(0.05)
        cluster.refuses = 503
        time.sleep(1)
        cluster.refuses = 0

    other = threading.Thread(target=restart)
    other.start()
    with pytest.raises(StreetsegError, match="FailedJobs"):
        start()
    other.join()


def test_an_api_that_stays_unavailable_is_an_error(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_SILENCE_S", 0)
    cluster.refuses = 503
    with pytest.raises(StreetsegError, match=r"refuses \(503\): not now"):
        TrainJobs().wait(NAME)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refuses": 401}, r"refuses \(401\): not now"),
        ({"forbids": {"get"}}, r'cannot get resource "trainjobs".*deploy/trainjob-rbac\.yaml'),
        ({"forbids": {"create"}}, r'cannot create resource "trainjobs".*trainjob-rbac\.yaml'),
        ({"knows_trainjobs": False}, r"no TrainJobs in the namespace team: install Kubeflow"),
    ],
)
def test_a_cluster_that_is_not_ready_is_one_clear_line(
    cluster: FakeCluster, start: Start, volume: Path, changes: dict, message: str
) -> None:
    for name, value in changes.items():
        setattr(cluster, name, value)
    with pytest.raises(StreetsegError, match=message):
        start()
    assert not list(volume.iterdir())  # before anything was copied


def test_an_unknown_runtime_is_one_clear_line(start: Start, volume: Path) -> None:
    with pytest.raises(StreetsegError, match=r'"torch-distribted" not found') as error:
        start(runtime="torch-distribted")
    assert "rbac" not in str(error.value)
    assert not list(volume.iterdir())


def test_an_old_kubeflow_trainer_is_one_clear_line(cluster: FakeCluster) -> None:
    job = manifest()
    job["spec"]["runtimePatchez"] = job["spec"].pop("runtimePatches")
    with pytest.raises(StreetsegError, match=r"unknown field .* Kubeflow Trainer 2\.2 or newer"):
        TrainJobs().check(job)


def test_an_api_out_of_reach_is_one_clear_line(
    cluster: FakeCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_kubeconfig(cluster.kubeconfig("http://127.0.0.1:9"), monkeypatch)
    with pytest.raises(StreetsegError, match=r"127\.0\.0\.1:9 does not answer"):
        start()


def test_no_cluster_is_one_clear_line(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_kubeconfig(tmp_path / "nothing", monkeypatch)
    with pytest.raises(StreetsegError, match="no Kubernetes cluster to train on"):
        start()


def test_outside_of_a_pipeline_is_one_clear_line(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFP_POD_NAME")
    with pytest.raises(StreetsegError, match="KFP_POD_NAME is not set"):
        start()


def test_a_volume_that_is_not_mounted_is_one_clear_line(start: Start, tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="the claim training-claim must be mounted there"):
        start(mount=str(tmp_path / "nowhere"))


def test_the_service_account_gets_no_more_rights_than_the_step_uses() -> None:
    role, binding = yaml.safe_load_all((REPOSITORY / "deploy/trainjob-rbac.yaml").read_text())
    rules = {rule["resources"][0]: set(rule["verbs"]) for rule in role["rules"]}
    assert rules == {"trainjobs": {"create", "get", "delete"}, "pods": {"get"}}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The pipeline, compiled twice for two pods of four GPUs."""
    texts = []
    for name in ("first", "second"):
        out = tmp_path_factory.mktemp(name) / "pipeline.yaml"
        options = ["--volume", "training-claim", "--nodes", "2", "--gpus", "4", "--out"]
        subprocess.run(
            [sys.executable, "-m", "pipelines.training", "compile", *options, str(out)],
            cwd=REPOSITORY,
            env={**os.environ, "STREETSEG_IMAGE": "registry.example/streetseg:1.2"},
            check=True,
        )
        texts.append(out.read_text())
    return texts


def test_compiling_twice_writes_the_same(compiled: list[str]) -> None:
    assert compiled[0] == compiled[1]


def test_the_compiled_step_has_its_image_its_arguments_and_the_volume(compiled: list[str]) -> None:
    pipeline, platform = yaml.safe_load_all(compiled[0])
    executor = pipeline["deploymentSpec"]["executors"]["exec-train-job"]["container"]
    assert executor["image"] == "registry.example/streetseg:1.2"
    inputs = pipeline["root"]["dag"]["tasks"]["train-job"]["inputs"]["parameters"]
    constants = {
        name: entry["runtimeValue"]["constant"]
        for name, entry in inputs.items()
        if "runtimeValue" in entry
    }
    assert inputs["gpus"] == {"componentInputParameter": "train_gpus"}
    fields = pipeline["root"]["inputDefinitions"]["parameters"]
    assert fields["train_gpus"]["defaultValue"] == "4"
    assert constants == {
        "nodes": 2,
        "runtime": "torch-distributed",
        "claim": "training-claim",
        "mount": "/mnt/training",
    }
    steps = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    (mounted,) = steps["exec-train-job"]["pvcMount"]
    assert mounted["pvcNameParameter"]["runtimeValue"]["constant"] == "training-claim"
    assert mounted["mountPath"] == "/mnt/training"


def test_nodes_without_a_volume_are_wrong_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.training", "compile", "--nodes", "2"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "name its --volume too" in done.stderr
