"""What the pods of the pipeline get, as the compiled YAML says."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp.components import load_component_from_text

from components.configure import configure
from components.trainjob.manifest import TrainJobSpec
from pipelines.batch import batch_pipeline
from pipelines.cli.training import main
from pipelines.compile import compile_pipeline, read_cluster
from pipelines.evaluation import evaluation_pipeline
from pipelines.pods import PipelineFactory
from pipelines.scheduled import scheduled_pipeline
from pipelines.training import training_pipeline
from streetseg import __version__
from streetseg.config.cluster import Cluster
from streetseg.config.params import PARAMS, load_params
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY

SCHEDULED = partial(scheduled_pipeline, training_pipeline)
PIPELINES: dict[str, PipelineFactory] = {
    "training": training_pipeline,
    "scheduled": SCHEDULED,
    "batch": batch_pipeline,
    "evaluation": evaluation_pipeline,
}
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
    job = TrainJobSpec("training-claim", nodes=2, gpus=4)

    @functools.cache
    def run(*sets: str, name: str = "training", volume: bool = False) -> Compiled:
        out = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
        cluster = load_params(REPOSITORY / "params.yaml", sets).cluster
        pipeline = partial(training_pipeline, job=job) if volume else PIPELINES[name]
        compile_pipeline(pipeline, cluster, out)
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
    assert {each["image"] for each in executors} == {f"streetseg-train:{__version__}"}


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


@pytest.mark.parametrize("name", PIPELINES)
def test_every_step_of_every_pipeline_may_have_resources_of_its_own(
    compiled: Compile, name: str
) -> None:
    steps = compiled(name=name).containers().keys()
    found = compiled(
        *(f"cluster.steps.{step}={{cpu: [3, 3], memory: [9Gi, 9Gi]}}" for step in steps), name=name
    )
    assert {step: found.resources(step) for step in steps} == dict.fromkeys(
        steps, resources(("3", "3"), ("9Gi", "9Gi"))
    )


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
        "validate": {"streetseg-s3"},
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
    assert loaded.name == "street-segmentation-training"
    assert "data_version" in loaded.component_spec.inputs


@pytest.mark.parametrize("name", ["training", "scheduled"])
def test_a_webhook_hears_how_the_whole_run_ended(compiled: Compile, name: str) -> None:
    assert "report-outcome" not in compiled(name=name).tasks()
    found = compiled("cluster.webhook_secret=hook", name=name)
    assert found.spec["pipelineInfo"]["name"] == f"street-segmentation-{name}"
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
    found = compiled("cluster.gpu.count=1", name="scheduled")
    assert found.secrets("data-changed").keys() == {"streetseg-mlflow", "streetseg-git"}
    assert found.resources("data-changed") == resources(("0.5", "2"), ("1Gi", "4Gi"))
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
        (
            "steps.moved={cpu: [1, 2], memory: [1Gi, 2Gi]}",
            "'cluster.steps.moved' is now called 'cluster.steps.data-changed'",
        ),
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
            main(training_pipeline, SCHEDULED)
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
    assert read_cluster(PARAMS, {}) == Cluster()
    Path("params.yaml").write_text("cluster: {gpu: {count: 3}}")
    assert read_cluster(PARAMS, {}).gpu.count == 3


def test_a_run_cannot_change_its_pods() -> None:
    with pytest.raises(SystemExit, match=r"cluster.gpu.count is settled when .* is compiled"):
        configure.python_func("main", "default", {"cluster.gpu.count": 1})


def test_what_is_done_with_a_model_does_not_train_it_again() -> None:
    def settle(**inputs: Any) -> Any:
        given = {
            "data_version": DATA,
            "recipe": "default",
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
