"""The images and the pipeline in containers: ``make containers``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import docker
import httpx
import pytest
import yaml
from docker.errors import ContainerError, DockerException, ImageNotFound
from docker.models.containers import Container
from mlflow import MlflowClient

from components import IMAGE as TRAIN
from pipelines.local.docker import docker_runner
from streetseg import __version__
from streetseg.config.params import load_params
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import PreparedDataset, data_version

SERVE, MLFLOW = TRAIN.replace("train", "serve"), TRAIN.replace("train", "mlflow")
USER = 1000
TIMEOUT_S = 120
"""Seconds that a server may take to start."""


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    """A container engine that has the images."""
    try:
        client = docker.from_env()
        for image in (TRAIN, SERVE, MLFLOW):
            client.images.get(image)
    except (DockerException, ImageNotFound) as error:
        if "STREETSEG_REQUIRE_DOCKER" in os.environ:
            pytest.fail(f"no container engine with the images: {error}")
        pytest.skip("left out, no container engine with the images: 'make containers' runs it")
    yield client
    client.close()


@pytest.fixture(scope="module", params=[TRAIN, SERVE, MLFLOW], ids=["train", "serve", "mlflow"])
def image(request: pytest.FixtureRequest) -> str:
    return request.param


def inside(engine: docker.DockerClient, image: str, *command: str) -> str:
    """What a command prints in a container that has no network."""
    out = engine.containers.run(image, list(command), remove=True, network_mode="none")
    return out.decode().strip()


def test_an_image_is_not_root(engine: docker.DockerClient, image: str) -> None:
    assert inside(engine, image, "id", "-u") == f"{USER}"


@pytest.mark.parametrize("image", [TRAIN, SERVE])
def test_an_image_has_the_library(engine: docker.DockerClient, image: str) -> None:
    script = "import streetseg; print(streetseg.__version__)"
    assert inside(engine, image, "python", "-c", script) == __version__
    assert "Street-scene segmentation" in inside(engine, image, "streetseg", "--help")


def test_an_image_has_no_tools_to_build_with(engine: docker.DockerClient, image: str) -> None:
    script = "for tool in gcc cc make git uv; do command -v $tool; done; true"
    assert inside(engine, image, "sh", "-c", script) == ""


def test_an_image_says_what_is_in_it(engine: docker.DockerClient, image: str) -> None:
    about = engine.images.get(image)
    revision = about.labels["org.opencontainers.image.revision"]
    assert len(revision.removesuffix("-dirty")) == 40
    assert about.labels["org.opencontainers.image.version"] == __version__
    assert about.labels["org.opencontainers.image.title"] == image.partition(":")[0]


@pytest.mark.parametrize("image", [TRAIN, SERVE])
def test_runs_in_an_image_name_its_revision(engine: docker.DockerClient, image: str) -> None:
    revision = engine.images.get(image).labels["org.opencontainers.image.revision"]
    script = "from streetseg.core.provenance import git_revision; print(git_revision())"
    assert inside(engine, image, "python", "-c", script) == revision


def test_serving_takes_no_pytorch(engine: docker.DockerClient) -> None:
    script = "from importlib.util import find_spec; print(find_spec('torch'), find_spec('kfp'))"
    assert inside(engine, SERVE, "python", "-c", script) == "None None"


def test_a_missing_image_or_engine_is_one_clear_line(tmp_path: Path) -> None:
    command = ["run", "--runner", "docker", "--data-version", f"{'0' * 32}.dir"]
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
    done = pipeline(tmp_path, *command, **nowhere)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Docker does not answer:")
    assert "is its engine running?" in done.stderr


def test_an_image_that_was_never_built_is_one_clear_line(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    command = ["run", "--runner", "docker", "--data-version", f"{'0' * 32}.dir"]
    done = pipeline(tmp_path, *command, STREETSEG_IMAGE="streetseg-train:never")
    assert done.returncode == 1
    assert done.stderr == (
        "error: Docker has no image streetseg-train:never: run 'make images', or name another in "
        "STREETSEG_IMAGE\n"
    )


def pipeline(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.training", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def project(
    engine: docker.DockerClient, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """A DVC remote with a dataset, and a pipeline that ran on it in containers."""
    root = tmp_path_factory.mktemp("containers")
    scratch = root / "scratch"
    shutil.copytree(dataset.path, scratch / "prepared")
    for command in (
        ["init", "--no-scm", "--quiet"],
        ["remote", "add", "--quiet", "--default", "local", str(root / "remote")],
        ["add", "--quiet", "prepared"],
        ["push", "--quiet"],
    ):
        subprocess.run(["dvc", *command], cwd=scratch, check=True)
    version = data_version(dataset.path)
    done = run_pipeline(root, version)
    return SimpleNamespace(root=root, version=version, done=done)


def run_pipeline(root: Path, version: str, *flags: str) -> subprocess.CompletedProcess[str]:
    for folder in (root / "run", root / "store"):
        folder.mkdir(exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, USER, USER)
    chosen = {
        "data.remote": root / "remote",
        "train.epochs": 1,
        "train.batch_size": 4,
        "model.encoder_weights": "none",
        "gate.miou_floor": 0.001,
        "gate.allow_never_predicted": "[flat,construction,object,nature,sky,human,vehicle]",
    }
    sets = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    store = f"sqlite:///{root / 'store' / 'mlflow.db'}"
    command = ["run", "--runner", "docker", "--data-version", version, *sets, *flags]
    return pipeline(root, *command, "--folder", str(root / "run"), MLFLOW_TRACKING_URI=store)


def test_the_whole_pipeline_runs_in_containers_cut_off_from_the_network(
    project: SimpleNamespace,
) -> None:
    assert project.done.returncode == 0, project.done.stdout + project.done.stderr
    assert "gate open: mean IoU over 8 categories" in project.done.stdout
    client = MlflowClient(f"sqlite:///{project.root / 'store' / 'mlflow.db'}")
    version = client.get_model_version_by_alias("street-segmenter", "challenger")
    assert version.tags["data_version"] == project.version
    assert version.tags["gate"] == "passed"
    assert len(version.tags["git_revision"].removesuffix("-dirty")) == 40, "the image's"


def test_what_a_run_leaves_belongs_to_who_is_not_root(project: SimpleNamespace) -> None:
    (model,) = project.root.glob("run/*/train/model/model.onnx")
    assert model.stat().st_uid == (os.getuid() or USER)


def test_what_has_not_changed_is_not_run_again(project: SimpleNamespace) -> None:
    again = run_pipeline(project.root, project.version)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "train (unchanged)" in again.stdout


def test_a_mistake_in_a_container_is_one_clear_line(project: SimpleNamespace) -> None:
    absent = f"{'0' * 32}.dir"
    done = run_pipeline(project.root, absent)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: data version {absent} is not in {project.root / 'remote'}")


@contextmanager
def running(engine: docker.DockerClient, image: str, port: int, **options: object) -> Iterator[str]:
    """The address of a server in a container."""
    container: Container = engine.containers.run(
        image, detach=True, ports={f"{port}/tcp": ("127.0.0.1", None)}, **options
    )
    try:
        container.reload()
        yield f"http://127.0.0.1:{container.ports[f'{port}/tcp'][0]['HostPort']}"
    except BaseException:
        print(container.logs().decode())
        raise
    finally:
        container.remove(force=True)


def wait_for(url: str) -> httpx.Response:
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            answer = httpx.get(url)
            if answer.status_code == 200 or time.monotonic() > until:
                return answer
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)


def test_the_serving_image_answers_with_the_champion(
    project: SimpleNamespace, engine: docker.DockerClient, cityscapes: Path
) -> None:
    store = project.root / "store"
    uri = f"sqlite:///{store / 'mlflow.db'}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    subprocess.run(["streetseg", "promote"], cwd=project.root, env=environment, check=True)
    frame = next(cityscapes.glob("leftImg8bit/val/*/*.png"))
    options = {
        "environment": {"MLFLOW_TRACKING_URI": uri},
        "volumes": {str(store): {"bind": str(store), "mode": "rw"}},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777"},
    }
    with running(engine, SERVE, 3000, **options) as url:
        assert wait_for(f"{url}/readyz").status_code == 200
        answer = httpx.post(f"{url}/segment", files={"image": frame.open("rb")}, timeout=60)
        assert answer.status_code == 200
        assert answer.headers["X-Model-Version"] == "1"
        assert answer.content.startswith(b"\x89PNG")


def test_the_mlflow_image_runs_its_server(engine: docker.DockerClient) -> None:
    command = ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000"]
    command += ["--backend-store-uri", "sqlite:////tmp/mlflow.db", "--workers", "1"]
    drivers = "import boto3, psycopg"
    assert inside(engine, MLFLOW, "python", "-c", drivers) == ""
    with running(engine, MLFLOW, 5000, command=command) as url:
        assert wait_for(f"{url}/health").text == "OK"


def test_a_step_sees_no_network_and_has_no_rights(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    local = {
        "data.remote": str(tmp_path),
        "registry.tracking_uri": f"sqlite:///{tmp_path}/store/m.db",
    }
    runner = docker_runner(load_params(overrides=local), tmp_path / "run")
    script = "ls /sys/class/net; grep -E 'CapEff|NoNewPrivs' /proc/self/status; id -u"
    options = {**runner.container_run_args, "remove": True}
    printed = engine.containers.run(TRAIN, ["sh", "-c", script], **options).decode().split()
    rights = ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]
    assert printed == ["lo", *rights, str(os.getuid() or USER)]
    tmp_path.chmod(0o777)
    with pytest.raises(ContainerError, match="Read-only file system"):
        engine.containers.run(TRAIN, ["touch", f"{tmp_path}/new"], **options)


def test_the_network_is_there_for_what_is_reached_through_it(tmp_path: Path) -> None:
    server = {"registry.tracking_uri": "http://mlflow.example:5000"}
    runner = docker_runner(load_params(overrides=server), tmp_path / "run", network="team")
    assert runner.container_run_args["network_mode"] == "team"


def test_this_machine_is_not_a_container(tmp_path: Path) -> None:
    server = load_params(overrides={"registry.tracking_uri": "http://127.0.0.1:5000"})
    with pytest.raises(StreetsegError, match="name an address that both reach, or --network host"):
        docker_runner(server, tmp_path / "run")
    docker_runner(server, tmp_path / "run", network="host")


@pytest.mark.skipif(os.getuid() != 0, reason="only root's folders are not the steps' own")
def test_roots_own_folders_are_not_given_away(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match=f"is not of user {USER}"):
        docker_runner(load_params(), tmp_path)
    assert tmp_path.stat().st_uid == 0


def test_a_gpu_that_is_not_there_is_one_clear_line(project: SimpleNamespace) -> None:
    done = run_pipeline(project.root, project.version, "--gpus")
    if done.returncode:
        assert done.stderr.startswith("error: Docker refuses: ")
        assert len(done.stderr.splitlines()) == 1


def test_components_take_an_image_by_its_digest(tmp_path: Path) -> None:
    digest = f"registry.example/streetseg-train@sha256:{'0' * 64}"
    done = pipeline(tmp_path, "compile", "--out", "p.yaml", STREETSEG_IMAGE=digest)
    assert done.returncode == 0, done.stderr
    spec = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    executors = spec["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {digest}
    assert json.dumps(spec).count(digest) == len(executors)


@pytest.mark.parametrize("name", ["train", "serve", "mlflow"])
def test_an_image_has_the_versions_that_are_tested(name: str) -> None:
    def pins(path: Path) -> set[str]:
        return {line.split()[0] for line in path.read_text().splitlines() if "==" in line}

    image = pins(REPOSITORY / "components" / f"{name}.lock")
    assert len(image) > 50
    assert image <= pins(REPOSITORY / "requirements.lock")
