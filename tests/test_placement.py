"""What the pods of the pipeline get: the compiled YAML, the data cache and the webhook."""

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kfp.components import load_component_from_text

from components import component, webhook
from components.configure import configure
from components.report_outcome import report_outcome
from components.webhook import post
from pipelines import build, cli
from pipelines.build import SCHEDULED, TRAINING, compile_pipeline, read_cluster
from pipelines.local import run_locally
from pipelines.placement import Placement
from pipelines.training import on_cluster
from streetseg.cluster_config import Cluster
from streetseg.config import load_params
from streetseg.data_cache import UNFINISHED, fetch_through
from streetseg.dataset import PreparedDataset, data_version
from streetseg.errors import StreetsegError
from streetseg.provenance import REPOSITORY

DATA = f"{'1' * 32}.dir"
COMMITTED = Path("pipelines/street-segmentation-training.yaml")
STEPS = {
    *("configure", "fetch", "validate", "train", "evaluate", "gate", "register"),
    "report-closed-gate",
}


class Compiled:
    """A compiled pipeline, as Kubeflow reads it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spec, platform = yaml.safe_load_all(text)
        self.pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def containers(self) -> dict[str, dict]:
        executors = self.spec["deploymentSpec"]["executors"]
        return {name.removeprefix("exec-"): each["container"] for name, each in executors.items()}

    def tasks(self) -> dict[str, dict]:
        graphs = [self.spec["root"], *self.spec["components"].values()]
        return {
            name: task
            for graph in graphs
            for name, task in graph.get("dag", {}).get("tasks", {}).items()
        }

    def resources(self, step: str) -> dict[str, str]:
        found = self.containers()[step]["resources"]
        return {name: value for name, value in found.items() if name.startswith("resource")}

    def pod(self, step: str) -> dict:
        return self.pods.get(f"exec-{step}", {})

    def secrets(self, step: str) -> dict[str, list[str]]:
        """The variables of each secret that a step has; all are optional."""
        found = self.pod(step).get("secretAsEnv", [])
        assert all(each["optional"] for each in found)
        return {each["secretName"]: [key["envVar"] for key in each["keyToEnv"]] for each in found}


Compile = Callable[..., Compiled]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile with the repository's params and some changes; ``volume`` for a TrainJob."""
    job = on_cluster("training-claim", nodes=2, gpus=4, runtime="torch-distributed")

    @functools.cache
    def run(*sets: str, name: str = TRAINING, volume: bool = False) -> Compiled:
        out = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
        cluster = load_params(REPOSITORY / "params.yaml", sets).cluster
        compile_pipeline(name, cluster, out, job if volume else None)
        return Compiled(out.read_text())

    return run


def resources(cpu: tuple[str, str], memory: tuple[str, str]) -> dict[str, str]:
    return {
        "resourceCpuRequest": cpu[0],
        "resourceCpuLimit": cpu[1],
        "resourceMemoryRequest": memory[0],
        "resourceMemoryLimit": memory[1],
    }


def test_the_yaml_in_the_repository_is_what_the_defaults_compile_to(tmp_path: Path) -> None:
    out = tmp_path / "pipeline.yaml"
    environment = {name: os.environ[name] for name in os.environ if name != "STREETSEG_IMAGE"}
    subprocess.run(
        [sys.executable, "-m", "pipelines.training", "compile", "--out", str(out)],
        cwd=REPOSITORY,
        env=environment,
        check=True,
    )
    assert out.read_bytes() == (REPOSITORY / COMMITTED).read_bytes(), (
        f"refresh it: env -u STREETSEG_IMAGE python -m pipelines.training compile --out {COMMITTED}"
    )
    executors = Compiled(out.read_text()).containers().values()
    assert {each["image"] for each in executors} == {"streetseg-train:0.1.0"}


def test_every_step_has_requests_and_limits(compiled: Compile) -> None:
    found = compiled()
    assert found.containers().keys() == STEPS
    assert found.resources("train") == resources(("2", "8"), ("8Gi", "16Gi"))
    assert found.resources("evaluate") == resources(("2", "8"), ("4Gi", "12Gi"))
    for step in ("configure", "gate", "register", "report-closed-gate"):
        assert found.resources(step) == resources(("0.5", "2"), ("1Gi", "4Gi"))

    found = compiled(
        "cluster.steps.train.cpu=[1500m, 32]",
        "cluster.steps.gate={cpu: [1, 1], memory: [512Mi, 1G]}",
    )
    assert found.resources("train") == resources(("1500m", "32"), ("8Gi", "16Gi"))
    assert found.resources("gate") == resources(("1", "1"), ("512Mi", "1G"))


def test_a_file_that_names_one_step_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("cluster: {steps: {gate: {cpu: [1, 2], memory: [1Gi, 2Gi]}}}")
    cluster = read_cluster(path, {})
    assert cluster.resources("gate").cpu == ("1", "2")
    assert cluster.resources("train") == Cluster().resources("train")
    assert cluster.resources("register") == Cluster().resources("default")


def test_training_has_accelerators_a_kind_of_node_and_shared_memory(compiled: Compile) -> None:
    plain = compiled()
    assert "accelerator" not in plain.containers()["train"]["resources"]
    assert not {"nodeSelector", "tolerations"} & plain.pod("train").keys()
    assert plain.pod("train")["emptyDirMounts"] == [
        {
            "medium": "Memory",
            "mountPath": "/dev/shm",
            "sizeLimit": "8Gi",
            "volumeName": "shared-memory",
        }
    ]

    taint = "{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}"
    spot = "{key: spot, value: 'yes', effect: NoExecute, toleration_seconds: 60}"
    found = compiled(
        "cluster.gpu={type: amd.com/gpu, count: 2}",
        "cluster.node_selector={accelerator: mi300}",
        f"cluster.tolerations=[{taint}, {spot}]",
        "cluster.shared_memory=512Mi",
    )
    accelerator = found.containers()["train"]["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("amd.com/gpu", "2")
    pod = found.pod("train")
    assert pod["nodeSelector"] == {"labels": {"accelerator": "mi300"}}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {
            "key": "spot",
            "operator": "Equal",
            "value": "yes",
            "effect": "NoExecute",
            "tolerationSeconds": "60",
        },
    ]
    assert pod["emptyDirMounts"][0]["sizeLimit"] == "512Mi"
    for step in STEPS - {"train"}:
        assert "accelerator" not in found.containers()[step]["resources"]
        assert found.pod(step).keys() <= {"secretAsEnv"}


def test_a_step_has_the_secrets_that_it_needs_and_no_others(compiled: Compile) -> None:
    found = compiled()
    assert {step: set(found.secrets(step)) for step in STEPS} == {
        "configure": {"streetseg-mlflow", "streetseg-git"},
        "fetch": {"streetseg-s3"},
        "validate": {"streetseg-s3", "streetseg-git"},
        "train": {"streetseg-mlflow", "streetseg-s3"},
        "evaluate": {"streetseg-mlflow", "streetseg-s3"},
        "gate": {"streetseg-mlflow", "streetseg-s3"},
        "register": {"streetseg-mlflow", "streetseg-s3"},
        "report-closed-gate": set(),
    }
    assert found.secrets("train")["streetseg-mlflow"] == Cluster().secrets.mlflow.keys

    found = compiled("cluster.secrets.storage={name: gcs, keys: [GOOGLE_API_KEY]}")
    assert found.secrets("fetch") == {"gcs": ["GOOGLE_API_KEY"]}


def test_the_data_cache_is_a_volume_of_the_step_that_fetches(compiled: Compile) -> None:
    assert "env" not in compiled().containers()["fetch"]
    found = compiled("cluster.data_cache=street-data")
    (variable,) = found.containers()["fetch"]["env"]
    (mounted,) = found.pod("fetch")["pvcMount"]
    assert mounted["pvcNameParameter"]["runtimeValue"]["constant"] == "street-data"
    assert variable == {"name": "STREETSEG_DATA_CACHE", "value": mounted["mountPath"]}
    assert [step for step in STEPS if "pvcMount" in found.pod(step)] == ["fetch"]


def test_only_what_may_do_better_the_next_time_is_tried_again(compiled: Compile) -> None:
    def retries(found: Compiled) -> dict[str, int]:
        policies = {
            name: task["retryPolicy"]
            for name, task in found.tasks().items()
            if "retryPolicy" in task
        }
        for policy in policies.values():
            assert policy["backoffDuration"] == "30s"
            assert policy["backoffFactor"] == 2
            assert policy["backoffMaxDuration"] == "600s"
        return {name: policy["maxRetryCount"] for name, policy in policies.items()}

    assert retries(compiled()) == {"fetch": 3, "register": 3}
    assert retries(compiled(volume=True)) == {"fetch": 3, "register": 3, "train-job": 2}


def test_what_depends_on_its_inputs_alone_is_cached(compiled: Compile) -> None:
    tasks = compiled().tasks()
    cached = {name for name in STEPS if tasks[name]["cachingOptions"].get("enableCache")}
    assert cached == {"fetch", "validate", "train"}


def test_the_step_that_waits_for_a_train_job_takes_no_accelerator(compiled: Compile) -> None:
    sets = "cluster.gpu.count=8", "cluster.node_selector={accelerator: a100}"
    found = compiled(*sets, volume=True)
    assert found.resources("train-job") == resources(("0.5", "2"), ("1Gi", "4Gi"))
    assert "accelerator" not in found.containers()["train-job"]["resources"]
    assert found.pod("train-job").keys() == {"pvcMount", "secretAsEnv"}
    assert found.secrets("train-job") == compiled().secrets("train")


@pytest.mark.parametrize("volume", [False, True], ids=["plain", "volume"])
@pytest.mark.parametrize("sets", [(), ("cluster.webhook_secret=hook",)], ids=["", "webhook"])
def test_kubeflow_loads_the_yaml(compiled: Compile, volume: bool, sets: tuple[str, ...]) -> None:
    loaded = load_component_from_text(compiled(*sets, volume=volume).text)
    assert loaded.name == TRAINING
    assert "data_version" in loaded.component_spec.inputs


@pytest.mark.parametrize("name", [TRAINING, SCHEDULED])
def test_a_webhook_hears_how_the_whole_run_ended(compiled: Compile, name: str) -> None:
    assert "report-outcome" not in compiled(name=name).tasks()
    found = compiled("cluster.webhook_secret=hook", name=name)
    assert found.spec["pipelineInfo"]["name"] == name
    root = found.spec["root"]["dag"]["tasks"]
    assert root.keys() == {"exit-handler-1", "report-outcome"}
    told = root["report-outcome"]
    assert told["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert told["inputs"]["parameters"]["status"] == {
        "taskFinalStatus": {"producerTask": "exit-handler-1"}
    }
    assert told["cachingOptions"] == {}
    assert found.secrets("report-outcome") == {"hook": ["STREETSEG_WEBHOOK_URL"]}
    assert list(found.tasks()).count("report-outcome") == 1
    assert found.containers().keys() >= STEPS
    before = compiled(name=name).spec["root"]["inputDefinitions"]
    assert found.spec["root"]["inputDefinitions"] == before


def test_the_scheduled_steps_are_placed_too(compiled: Compile) -> None:
    found = compiled("cluster.gpu.count=1", name=SCHEDULED)
    assert found.secrets("moved").keys() == {"streetseg-mlflow", "streetseg-git"}
    assert found.resources("moved") == resources(("0.5", "2"), ("1Gi", "4Gi"))
    assert found.containers()["train"]["resources"]["accelerator"]["resourceCount"] == "1"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("steps.train.cpu=[4, 2]", "cpu must be [request, limit], the limit no less"),
        ("steps.train.memory=[8Gi, 8G]", "memory must be [request, limit], the limit no less"),
        ("steps.train.cpu=[1, 2 cores]", "cpu.1 = '2 cores': write cores above 0, such as 2, 0.5"),
        ("steps.train.memory=[8GB, 16Gi]", "memory.0 = '8GB': write bytes above 0, such as 8Gi"),
        ("steps.train.memory=[0, 16Gi]", "memory.0 = 0: write bytes above 0"),
        ("steps.trian={cpu: [1, 2], memory: [1Gi, 2Gi]}", "'trian': input should be 'default'"),
        ("steps.gate={cpu: [1, 2]}", "the key 'cluster.steps.gate.memory' is missing"),
        ("gpu.count=-1", "cluster.gpu.count = -1: input should be greater than or equal to 0"),
        ("shared_memory=16Gi", "must be below the limit of steps.train.memory"),
        ("tolerations=[{effect: NoSchedule}]", "without a key takes the operator Exists"),
        ("tolerations=[{key: a, operator: Exists, value: b}]", "Exists takes no value"),
        ("tolerations=[{key: a, toleration_seconds: 5}]", "goes with the effect NoExecute"),
        ("secrets.mlflow.name=My_Secret", "'My_Secret': write a name of Kubernetes"),
        ("secrets.storage.keys=[a-b]", "'a-b': write the name of an environment variable"),
        ("webhook_secret=https://example.org", "write a name of Kubernetes"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: str, said: str) -> None:
    with pytest.raises(StreetsegError) as caught:
        load_params(REPOSITORY / "params.yaml", [f"cluster.{setting}"])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_compile_reads_a_params_file_and_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["training", "compile", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    (tmp_path / "mine.yaml").write_text("cluster: {gpu: {count: 1}}")
    out = tmp_path / "pipeline.yaml"
    said = ("--params", str(tmp_path / "mine.yaml"), "--out", str(out))
    assert not call(*said, "--set", "cluster.node_selector={accelerator: a100}")
    found = Compiled(out.read_text())
    assert found.containers()["train"]["resources"]["accelerator"]["resourceCount"] == "1"
    assert found.pod("train")["nodeSelector"] == {"labels": {"accelerator": "a100"}}
    assert call("--set", "train.epochs=5") == (
        "error: --set train.epochs: only cluster.* is settled when the pipeline is compiled; the "
        "rest are parameters of its runs"
    )
    assert call("--params", "absent.yaml").startswith("error: cannot read absent.yaml")


def test_without_params_here_the_defaults_are_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_cluster(build.PARAMS, {}) == Cluster()
    Path("params.yaml").write_text("cluster: {gpu: {count: 3}}")
    assert read_cluster(build.PARAMS, {}).gpu.count == 3


def test_a_run_cannot_change_its_pods() -> None:
    with pytest.raises(SystemExit, match=r"cluster.gpu.count is settled when .* is compiled"):
        configure.python_func(
            "main", "default", 0, -1.0, "", False, False, {"cluster.gpu.count": 1}
        )


def test_what_is_done_with_a_model_does_not_train_it_again() -> None:
    def settle(**inputs: Any) -> Any:
        given = {
            "data_version": DATA,
            "recipe": "default",
            "epochs": 0,
            "miou_floor": -1.0,
            "model_name": "",
            "auto_promote": False,
            "fail_on_gate": False,
            "overrides": {"registry.tracking_uri": "sqlite:///mlflow.db", "registry.run_name": "a"},
        }
        return configure.python_func(**(given | inputs))

    plain, changed = settle(), settle(auto_promote=True, model_name="mine", fail_on_gate=True)
    for name in ("validation", "training"):
        assert getattr(changed, name) == getattr(plain, name)
    store = {"tracking_uri": "sqlite:///mlflow.db"}
    assert plain.training["registry"] == {**store, "experiment": "streetseg", "run_name": "a"}
    scoring = {**store, "experiment": "streetseg", "model_name": "mine"}
    assert changed.evaluation["registry"] == scoring
    assert changed.gate["registry"] == store
    assert changed.registry["registry"]["auto_promote"]
    assert settle(overrides={}).gate["registry"] == {}, "MLFLOW_TRACKING_URI says where"


@pytest.fixture
def kept(dataset: PreparedDataset, tmp_path: Path) -> tuple[Path, str]:
    """A cache with a dataset in it, and its version."""
    cache, version = tmp_path / "cache", data_version(dataset.path)
    shutil.copytree(dataset.path, cache / version)
    return cache, version


@pytest.fixture(scope="module")
def remote(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A DVC remote that holds the dataset."""
    from dvc.repo import Repo

    workspace, remote = tmp_path_factory.mktemp("dvc"), tmp_path_factory.mktemp("remote")
    prepared = shutil.copytree(dataset.path, workspace / "prepared")
    with Repo.init(str(workspace), no_scm=True) as repo, repo.config.edit("local") as config:
        config["core"] = {"remote": "local", "analytics": False}
        config["remote"] = {"local": {"url": str(remote)}}
    with Repo(str(workspace)) as repo:
        repo.add(str(prepared))
        repo.push()
    return str(remote)


def test_what_was_fetched_once_is_not_fetched_again(
    dataset: PreparedDataset, remote: str, tmp_path: Path
) -> None:
    cache, version = tmp_path / "cache", data_version(dataset.path)
    cache.mkdir()
    fetch_through(cache, version, remote, tmp_path / "first")
    assert [path.name for path in cache.iterdir()] == [version]
    fetch_through(cache, version, "nowhere", tmp_path / "second")
    assert data_version(tmp_path / "second") == version


def test_a_damaged_copy_is_fetched_again(
    kept: tuple[Path, str],
    remote: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache, version = kept
    victim = next((cache / version).rglob("*.json"))
    victim.write_text("{}")
    fetch_through(cache, version, remote, tmp_path / "prepared")
    assert "is not what its name says" in capsys.readouterr().err
    assert data_version(tmp_path / "prepared") == data_version(cache / version) == version


def test_runs_at_the_same_time_leave_one_whole_copy(
    dataset: PreparedDataset, remote: str, tmp_path: Path
) -> None:
    cache, version = tmp_path / "cache", data_version(dataset.path)
    cache.mkdir()
    call = "import sys; from pathlib import Path; from streetseg.data_cache import fetch_through; "
    call += "fetch_through(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", call, str(cache), version, remote, str(tmp_path / f"{number}")]
        )
        for number in range(2)
    ]
    assert [run.wait() for run in runs] == [0, 0]
    assert [path.name for path in cache.iterdir()] == [version]
    assert data_version(cache / version) == version


def test_a_cache_that_cannot_be_written_is_a_warning(
    dataset: PreparedDataset, remote: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = data_version(dataset.path)
    fetch_through(tmp_path / "not-there", version, remote, tmp_path / "prepared")
    said = capsys.readouterr().err
    assert said.startswith(f"warning: the data cache is of no use: cannot write {tmp_path}")
    assert len(said.splitlines()) == 1
    assert data_version(tmp_path / "prepared") == version


def test_what_a_killed_run_left_in_the_cache_is_removed_after_a_day(
    dataset: PreparedDataset, remote: str, tmp_path: Path
) -> None:
    for name, changed in [("old", 0), ("new", None)]:
        folder = tmp_path / "cache" / f"{UNFINISHED}{name}"
        folder.mkdir(parents=True)
        if changed is not None:
            os.utime(folder, (changed, changed))
    version = data_version(dataset.path)
    fetch_through(tmp_path / "cache", version, remote, tmp_path / "prepared")
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {f"{UNFINISHED}new", version}


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
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

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
        (f"http://127.0.0.1:{unused_port()}/secret-path", "does not answer: Connection refused"),
        ("http://[secret-path", "does not answer: ValueError"),
        ("http://localhost:port/secret-path", "does not answer: InvalidURL"),
        ("http://localhost/secret-path with spaces", "does not answer: InvalidURL"),
        ("file:///secret-path", "has no key 'url' with http:// or https://"),
        ("", "has no key 'url' with http:// or https://"),
    ]:
        monkeypatch.setenv("STREETSEG_WEBHOOK_URL", url)
        assert expected in said()


def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


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
    pipeline = Placement(Cluster(webhook_secret="hook")).reported(fails)
    done = run_locally(pipeline, {"message": message}, tmp_path / "run", lambda line: None)
    assert done.succeeded == (state == "SUCCEEDED"), (tmp_path / "run" / "log.txt").read_text()
    assert done.error == message
    (told,) = server.got
    assert (told["pipeline"], told["state"]) == ("fails", state)
