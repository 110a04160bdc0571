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
from components.runs.facts import facts_in
from components.trainjob.manifest import TrainJobSpec
from pipelines.batch import batch_pipeline
from pipelines.batch_parts import batch_parts_pipeline
from pipelines.check import check_pipeline
from pipelines.cli.training import main
from pipelines.compile import compile_pipeline, read_cluster
from pipelines.cross_evaluation import cross_evaluation_pipeline
from pipelines.evaluation import evaluation_pipeline
from pipelines.pods import PipelineFactory
from pipelines.prepare import prepare_pipeline
from pipelines.scheduled import scheduled_pipeline
from pipelines.training import training_pipeline
from pipelines.tune import tune_pipeline
from scripts.servers import free_port
from streetseg import __version__
from streetseg.config.cluster import Cluster, Pod
from streetseg.config.params import PARAMS, load_params
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY

SCHEDULED = partial(scheduled_pipeline, training_pipeline)
PIPELINES: dict[str, PipelineFactory] = {
    "training": training_pipeline,
    "scheduled": SCHEDULED,
    "batch": batch_pipeline,
    "evaluation": evaluation_pipeline,
    "prepare": prepare_pipeline,
    "check": check_pipeline,
    "batch_parts": batch_parts_pipeline,
    "cross_evaluation": cross_evaluation_pipeline,
    "tune": tune_pipeline,
}
DATA = f"{'1' * 32}.dir"
COMMITTED = Path("pipelines/street-segmentation-training.yaml")
STEPS = {
    *("configure", "fetch", "validate", "train", "evaluate", "register"),
    "gate",
}


EVERY_POD = {"securityContext", "activeDeadlineSeconds"}


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
        values = self.containers()[step]["resources"]
        return {name: value for name, value in values.items() if name.startswith("resource")}

    def default(self, field: str) -> Any:
        return self.spec["root"]["inputDefinitions"]["parameters"][field]["defaultValue"]

    def pod(self, step: str) -> dict:
        return self.pods.get(f"exec-{step}", {})

    def secrets(self, step: str) -> dict[str, list[str]]:
        """The variables of each secret that a step has; all are optional."""
        secrets = self.pod(step).get("secretAsEnv", [])
        assert all(each["optional"] for each in secrets)
        return {each["secretName"]: [key["envVar"] for key in each["keyToEnv"]] for each in secrets}


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
    pipeline = compiled()
    assert pipeline.containers().keys() == STEPS
    assert pipeline.resources("evaluate") == resources(("2", "8"), ("4Gi", "12Gi"))
    for step in ("configure", "register", "gate"):
        assert pipeline.resources(step) == resources(("0.5", "2"), ("1Gi", "4Gi"))

    pipeline = compiled("cluster.steps.configure={cpu: [1, 1], memory: [512Mi, 1G]}")
    assert pipeline.resources("configure") == resources(("1", "1"), ("512Mi", "1G"))


def test_a_run_says_what_training_gets(compiled: Compile) -> None:
    def fields(pipeline: Compiled) -> dict[str, Any]:
        return {
            name: pipeline.default(name) for name in ("train_cpus", "train_gpus", "train_memory")
        }

    assert fields(compiled()) == {"train_cpus": "8", "train_gpus": "0", "train_memory": "16Gi"}
    pipeline = compiled(
        "cluster.steps.train={cpu: [1500m, 32], memory: [9Gi, 64Gi]}",
        "cluster.gpu={type: amd.com/gpu, count: 2}",
    )
    assert fields(pipeline) == {"train_cpus": "32", "train_gpus": "2", "train_memory": "64Gi"}
    given = pipeline.tasks()["train"]["inputs"]["parameters"]

    def source(placeholder: str) -> dict:
        name = placeholder.removeprefix("{{$.inputs.parameters['").removesuffix("']}}")
        return given[name]

    def promised(name: str) -> dict:
        return {"taskOutputParameter": {"outputParameterKey": name, "producerTask": "configure"}}

    pod = pipeline.containers()["train"]["resources"]
    assert source(pod["resourceCpuLimit"]) == {"componentInputParameter": "train_cpus"}
    assert source(pod["resourceMemoryLimit"]) == {"componentInputParameter": "train_memory"}
    assert source(pod["resourceCpuRequest"]) == promised("cpu_request")
    assert source(pod["resourceMemoryRequest"]) == promised("memory_request")
    assert pod["accelerator"]["resourceType"] == "amd.com/gpu"
    assert source(pod["accelerator"]["resourceCount"]) == {"componentInputParameter": "train_gpus"}
    configured = pipeline.tasks()["configure"]["inputs"]["parameters"]
    assert configured["cpu_request"] == {"runtimeValue": {"constant": "1500m"}}
    assert configured["memory_request"] == {"runtimeValue": {"constant": "9Gi"}}

    job = compiled(volume=True)
    assert fields(job) == {"train_cpus": "", "train_gpus": "4", "train_memory": ""}
    given = job.tasks()["train-job"]["inputs"]["parameters"]
    for name, field in (("cpus", "train_cpus"), ("gpus", "train_gpus"), ("memory", "train_memory")):
        assert given[name] == {"componentInputParameter": field}


@pytest.mark.parametrize("name", PIPELINES)
def test_the_required_field_comes_first_in_the_form(compiled: Compile, name: str) -> None:
    """The UI sorts the fields by name."""
    fields = compiled(name=name).spec["root"]["inputDefinitions"]["parameters"]
    required = [field for field, entry in fields.items() if "defaultValue" not in entry]
    first = {
        "batch": "images",
        "batch_parts": "images",
        "prepare": "frames",
        "cross_evaluation": "data_versions",
    }
    assert min(fields) == first.get(name, "data_version")
    assert required == ([] if name == "scheduled" else [min(fields)])
    assert fields["overrides"] == {
        "defaultValue": "",
        "description": fields["overrides"]["description"],
        "isOptional": True,
        "parameterType": "STRING",
    }


def levels(pipeline: Compiled, graph: dict | None = None) -> int:
    """Pods that follow each other in the longest path: a driver for each graph, two for a step."""
    components, tasks = (
        pipeline.spec["components"],
        (graph or pipeline.spec["root"])["dag"]["tasks"],
    )
    ends: dict[str, int] = {}

    def end(name: str) -> int:
        if name not in ends:
            task = tasks[name]
            inside = components[task["componentRef"]["name"]]
            start = max((end(other) for other in task.get("dependentTasks", [])), default=0)
            ends[name] = start + (levels(pipeline, inside) if "dag" in inside else 2)
        return ends[name]

    return 1 + max(end(name) for name in tasks)


def test_few_pods_follow_each_other(compiled: Compile) -> None:
    """Argo takes ten seconds or more for each; 0.1.0 had 17, of which the gate took two."""
    assert levels(compiled()) == 11
    assert levels(compiled(name="evaluation")) == 7
    assert levels(compiled(name="batch")) == 5


@pytest.mark.parametrize("name", PIPELINES)
def test_every_step_of_every_pipeline_may_have_resources_of_its_own(
    compiled: Compile, name: str
) -> None:
    steps = compiled(name=name).containers().keys() - {"train"}
    pipeline = compiled(
        *(f"cluster.steps.{step}={{cpu: [3, 3], memory: [9Gi, 9Gi]}}" for step in steps), name=name
    )
    assert {step: pipeline.resources(step) for step in steps} == dict.fromkeys(
        steps, resources(("3", "3"), ("9Gi", "9Gi"))
    )


def test_steps_that_a_file_does_not_name_keep_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("cluster: {steps: {configure: {cpu: [1, 2], memory: [1Gi, 2Gi]}}}")
    cluster = read_cluster(path, {})
    assert cluster.pod("configure").cpu == ("1", "2")
    assert cluster.pod("train") == Cluster().pod("train")
    path.write_text("cluster: {steps: {default: {cpu: [2, 2]}, train: {memory: [9Gi, 20Gi]}}}")
    cluster = read_cluster(path, {})
    assert cluster.pod("configure") == Pod(cpu=("2", "2"))
    assert cluster.pod("register") == Pod(cpu=("2", "2"), timeout_minutes=240, retries=3)
    assert cluster.pod("train") == Cluster().pod("train").model_copy(
        update={"memory": ("9Gi", "20Gi")}
    )


def test_training_gets_nodes_and_shared_memory(compiled: Compile) -> None:
    plain = compiled()
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
    pipeline = compiled(
        "cluster.node_selector={accelerator: mi300}",
        f"cluster.tolerations=[{taint}, {spot}]",
        "cluster.shared_memory=512Mi",
    )
    pod = pipeline.pod("train")
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
        assert "accelerator" not in pipeline.containers()[step]["resources"]
        assert pipeline.pod(step).keys() <= {"secretAsEnv", *EVERY_POD}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pod_meets_the_restricted_standard(compiled: Compile, name: str) -> None:
    """Kubeflow sets the rest: no escalation, no capabilities, the default seccomp profile."""
    pipeline = compiled("cluster.webhook_secret=hook", name=name)
    contexts = {step: pipeline.pod(step).get("securityContext") for step in pipeline.containers()}
    assert all(each == {"runAsUser": "1000", "runAsNonRoot": True} for each in contexts.values())
    chosen_by_the_cluster = compiled("cluster.pods.run_as_user=0").pod("train")["securityContext"]
    assert chosen_by_the_cluster == {"runAsNonRoot": True}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pod_gets_image_settings_nodes_labels_and_a_time_limit(
    compiled: Compile, name: str
) -> None:
    plain = compiled(name=name)
    assert not {"imagePullPolicy", "imagePullSecret", "podMetadata"} & plain.pod("train").keys()
    pipeline = compiled(
        "cluster.pods.image_pull_policy=Always",
        "cluster.pods.image_pull_secrets=[registry-key]",
        "cluster.pods.node_selector={pool: batch, disk: ssd}",
        "cluster.pods.tolerations=[{key: batch, operator: Exists}]",
        "cluster.pods.labels={example.org/cost-centre: vision}",
        "cluster.pods.annotations={sidecar.istio.io/inject: 'false'}",
        "cluster.node_selector={disk: nvme}",
        "cluster.tolerations=[{key: gpu, operator: Exists}]",
        "cluster.steps.default.timeout_minutes=7",
        name=name,
    )
    for step in pipeline.containers():
        pod = pipeline.pod(step)
        assert pod["imagePullPolicy"] == "Always"
        assert [secret["secretName"] for secret in pod["imagePullSecret"]] == ["registry-key"]
        assert pod["podMetadata"] == {
            "labels": {"example.org/cost-centre": "vision"},
            "annotations": {"sidecar.istio.io/inject": "false"},
        }
        for_training = step in ("train", "check", "search")
        disk, tainted = ("nvme", ["batch", "gpu"]) if for_training else ("ssd", ["batch"])
        assert pod["nodeSelector"] == {"labels": {"pool": "batch", "disk": disk}}
        assert [each["key"] for each in pod["tolerations"]] == tainted
        usual = Cluster().pod(step).timeout_minutes
        assert int(pod["activeDeadlineSeconds"]) == 60 * (7 if usual == 60 else usual)


@pytest.mark.parametrize("name", PIPELINES)
def test_kubeflows_own_compiler_gives_the_same_pods(name: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("cluster: {gpu: {count: 3}, webhook_secret: hook}")
    file, out = REPOSITORY / f"pipelines/{name}.py", tmp_path / "theirs.yaml"
    choice = []
    if name == "scheduled":
        file = REPOSITORY / "pipelines/training.py"
        choice = ["--function", "street_segmentation_scheduled"]
    subprocess.run(
        ["kfp", "dsl", "compile", "--py", str(file), "--output", str(out), *choice],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    cluster = read_cluster(tmp_path / "params.yaml", {})
    compile_pipeline(PIPELINES[name], cluster, tmp_path / "ours.yaml")
    assert out.read_text() == (tmp_path / "ours.yaml").read_text()
    assert "STREETSEG_WEBHOOK_URL" in out.read_text()


def test_a_step_gets_only_the_secrets_that_it_needs(compiled: Compile) -> None:
    pipeline = compiled()
    assert {step: set(pipeline.secrets(step)) for step in STEPS} == {
        "configure": {"streetseg-mlflow", "streetseg-git"},
        "fetch": {"streetseg-s3"},
        "validate": {"streetseg-s3"},
        "train": {"streetseg-mlflow", "streetseg-s3"},
        "evaluate": {"streetseg-mlflow", "streetseg-s3"},
        "register": {"streetseg-mlflow", "streetseg-s3"},
        "gate": set(),
    }
    assert pipeline.secrets("train")["streetseg-mlflow"] == Cluster().secrets.mlflow.keys

    pipeline = compiled("cluster.secrets.storage={name: gcs, keys: [GOOGLE_API_KEY]}")
    assert pipeline.secrets("fetch") == {"gcs": ["GOOGLE_API_KEY"]}


def test_pods_of_a_search_train_and_know_the_database(compiled: Compile) -> None:
    pipeline = compiled(
        "cluster.gpu.count=2", "cluster.steps.train.memory=[9Gi, 20Gi]", name="tune"
    )
    database = {"streetseg-optuna": ["OPTUNA_STORAGE"]}
    for step in ("plan-search", "search", "report-search"):
        assert database.items() <= pipeline.secrets(step).items()
    resources = pipeline.containers()["search"]["resources"]
    assert resources["resourceMemoryLimit"] == "20Gi"
    gpus = pipeline.spec["root"]["inputDefinitions"]["parameters"]["gpus"]
    assert gpus["defaultValue"] == "2"
    assert "resourceCount" in resources["accelerator"]
    assert [each["mountPath"] for each in pipeline.pod("search")["emptyDirMounts"]] == ["/dev/shm"]


def test_the_data_cache_is_a_volume_of_the_step_that_fetches(compiled: Compile) -> None:
    assert "env" not in compiled().containers()["fetch"]
    pipeline = compiled("cluster.data_cache=street-data")
    (variable,) = pipeline.containers()["fetch"]["env"]
    (mounted,) = pipeline.pod("fetch")["pvcMount"]
    assert mounted["pvcNameParameter"]["runtimeValue"]["constant"] == "street-data"
    assert variable == {"name": "STREETSEG_DATA_CACHE", "value": mounted["mountPath"]}
    assert [step for step in STEPS if "pvcMount" in pipeline.pod(step)] == ["fetch"]


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("prepare", {"plan-parts", "prepare-part"}),
        ("batch_parts", {"segment", "segment-part"}),
        ("batch", {"segment"}),
        ("training", set()),
    ],
)
def test_raw_frames_are_a_volume_of_the_steps_that_read_them(
    compiled: Compile, name: str, steps: set[str]
) -> None:
    pipeline = compiled("cluster.raw_data=street-raw", name=name)
    mounts = {step: pipeline.pod(step).get("pvcMount", []) for step in pipeline.containers()}
    assert {step for step, each in mounts.items() if each} == steps
    for (mounted,) in filter(None, mounts.values()):
        assert mounted["pvcNameParameter"]["runtimeValue"]["constant"] == "street-raw"
        assert mounted["mountPath"] == "/mnt/raw-data"


def test_what_is_long_is_retried_for_a_week(compiled: Compile) -> None:
    """Kubeflow counts the maximum from the first attempt's start, and kills what then runs."""

    def retries(pipeline: Compiled) -> dict[str, int]:
        policies = {
            name: task["retryPolicy"]
            for name, task in pipeline.tasks().items()
            if "retryPolicy" in task
        }
        for policy in policies.values():
            assert policy["backoffDuration"] == "30s"
            assert policy["backoffFactor"] == 2
            assert policy["backoffMaxDuration"] == f"{7 * 24 * 3600}s"
        return {name: policy["maxRetryCount"] for name, policy in policies.items()}

    expected = {"fetch": 3, "validate": 2, "train": 5, "evaluate": 2, "register": 3}
    assert retries(compiled()) == expected
    expected["train-job"] = expected.pop("train")
    assert retries(compiled(volume=True)) == expected
    assert retries(compiled(name="batch")) == {"fetch-model": 3, "segment": 5}
    assert retries(compiled("cluster.steps.train.retries=0")).keys() == expected.keys() - {
        "train-job"
    }


@pytest.mark.parametrize(("name", "step"), [("training", "train"), ("batch", "segment")])
def test_attempts_share_a_place_that_is_no_input_of_the_cache(
    compiled: Compile, name: str, step: str
) -> None:
    def inputs(pipeline: Compiled) -> dict:
        return pipeline.tasks()[step]["inputs"]

    plain = compiled("cluster.checkpoints=pod", name=name)
    assert "env" not in plain.containers()[step]
    assert "fieldPathAsEnv" not in plain.pod(step)

    for place, mounted in (
        ("", "remote"),
        ("work-claim", "/mnt/checkpoints"),
        ("s3://bucket/a", "s3://bucket/a"),
    ):
        pipeline = compiled(*([f"cluster.checkpoints={place}"] if place else []), name=name)
        assert inputs(pipeline) == inputs(plain)
        variables = {each["name"]: each["value"] for each in pipeline.containers()[step]["env"]}
        assert variables == {"STREETSEG_CHECKPOINTS": mounted}
        (label,) = pipeline.pod(step)["fieldPathAsEnv"]
        assert label["name"] == "STREETSEG_WORKFLOW"
        assert label["fieldPath"] == "metadata.labels['workflows.argoproj.io/workflow']"
        claims = [each["mountPath"] for each in pipeline.pod(step).get("pvcMount", [])]
        assert claims == ([mounted] if place == "work-claim" else [])


@pytest.mark.parametrize("name", ["training", "scheduled", "batch"])
def test_a_run_has_a_workspace_if_attempts_share_it(compiled: Compile, name: str) -> None:
    def workspace(*sets: str) -> dict:
        _, platform = yaml.safe_load_all(compiled(*sets, name=name).text)
        return platform["platforms"]["kubernetes"].get("pipelineConfig", {}).get("workspace")

    step = "segment" if name == "batch" else "train"
    assert workspace() is None
    for sets in ((), ("cluster.webhook_secret=hook",)):
        sets = ("cluster.checkpoints=workspace", "cluster.workspace={size: 9Gi}", *sets)
        assert workspace(*sets) == {
            "size": "9Gi",
            "kubernetes": {"pvcSpecPatch": {"accessModes": ["ReadWriteOnce"]}},
        }
        passed = compiled(*sets, name=name).tasks()[step]["inputs"]["parameters"]["workspace"]
        assert passed == {"runtimeValue": {"constant": "{{$.workspace_path}}"}}
    claim = workspace("cluster.checkpoints=workspace", "cluster.workspace.storage_class=fast")
    assert claim["kubernetes"]["pvcSpecPatch"]["storageClassName"] == "fast"


def test_steps_that_depend_on_their_inputs_alone_are_cached(compiled: Compile) -> None:
    tasks = compiled().tasks()
    cached = {name for name in STEPS if tasks[name]["cachingOptions"].get("enableCache")}
    assert cached == {"fetch", "validate", "train"}


def test_the_step_that_waits_for_a_train_job_takes_no_accelerator(compiled: Compile) -> None:
    sets = "cluster.gpu.count=8", "cluster.node_selector={accelerator: a100}"
    pipeline = compiled(*sets, volume=True)
    assert pipeline.resources("train-job") == resources(("0.5", "2"), ("1Gi", "4Gi"))
    assert "accelerator" not in pipeline.containers()["train-job"]["resources"]
    assert pipeline.pod("train-job").keys() == {"pvcMount", "secretAsEnv", *EVERY_POD}
    assert pipeline.secrets("train-job") == compiled().secrets("train")


@pytest.mark.parametrize("volume", [False, True], ids=["plain", "volume"])
@pytest.mark.parametrize("sets", [(), ("cluster.webhook_secret=hook",)], ids=["", "webhook"])
def test_kubeflow_loads_the_yaml(compiled: Compile, volume: bool, sets: tuple[str, ...]) -> None:
    loaded = load_component_from_text(compiled(*sets, volume=volume).text)
    assert loaded.name == "street-segmentation-training"
    assert "data_version" in loaded.component_spec.inputs


@pytest.mark.parametrize("name", ["training", "scheduled"])
def test_a_webhook_gets_the_outcome_of_the_run(compiled: Compile, name: str) -> None:
    assert "report-outcome" not in compiled(name=name).tasks()
    pipeline = compiled("cluster.webhook_secret=hook", name=name)
    assert pipeline.spec["pipelineInfo"]["name"] == f"street-segmentation-{name}"
    root = pipeline.spec["root"]["dag"]["tasks"]
    assert root.keys() == {"exit-handler-1", "report-outcome"}
    report = root["report-outcome"]
    assert report["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert report["inputs"]["parameters"]["status"] == {
        "taskFinalStatus": {"producerTask": "exit-handler-1"}
    }
    assert report["cachingOptions"] == {}
    assert pipeline.secrets("report-outcome") == {"hook": ["STREETSEG_WEBHOOK_URL"]}
    assert list(pipeline.tasks()).count("report-outcome") == 1
    address = "https://kubeflow.example/pipeline"
    linked = compiled("cluster.webhook_secret=hook", f"cluster.ui_url={address}", name=name)
    containers = linked.containers()
    for step in ("report-outcome", "register"):
        assert {"name": "STREETSEG_KFP_UI", "value": address} in containers[step]["env"]
    unlinked = pipeline.containers()["register"].get("env", [])
    assert "STREETSEG_KFP_UI" not in {each["name"] for each in unlinked}
    assert pipeline.containers().keys() >= STEPS
    before = compiled(name=name).spec["root"]["inputDefinitions"]
    assert pipeline.spec["root"]["inputDefinitions"] == before


def test_the_scheduled_steps_get_pods_too(compiled: Compile) -> None:
    pipeline = compiled("cluster.gpu.count=1", name="scheduled")
    assert pipeline.secrets("data-changed").keys() == {"streetseg-mlflow", "streetseg-git"}
    assert pipeline.resources("data-changed") == resources(("0.5", "2"), ("1Gi", "4Gi"))
    assert (
        pipeline.spec["root"]["inputDefinitions"]["parameters"]["train_gpus"]["defaultValue"] == "1"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps.train.cpu=[4, 2]", "cpu = [4, 2]: write [request, limit], the limit no less"),
        ("steps.train.memory=[8Gi, 8G]", "memory = ['8Gi', '8G']: write [request, limit], the"),
        ("steps.train.cpu=[1, 2 cores]", "cpu.1 = '2 cores': write cores above 0, such as 2, 0.5"),
        ("steps.train.memory=[8GB, 16Gi]", "memory.0 = '8GB': write bytes above 0, such as 8Gi"),
        ("steps.train.memory=[0, 16Gi]", "memory.0 = 0: write bytes above 0"),
        ("steps.trian={cpu: [1, 2], memory: [1Gi, 2Gi]}", "'trian': input should be 'default'"),
        (
            "steps.moved={cpu: [1, 2], memory: [1Gi, 2Gi]}",
            "'cluster.steps.moved' is now called 'cluster.steps.data-changed'",
        ),
        ("steps.register.timeout_minutes=0", "timeout_minutes = 0: input should be greater than 0"),
        ("pods.labels={-a: b}", "'-a': write up to 63 letters"),
        ("pods.labels={a: b c}", "'b c': write up to 63 letters, digits"),
        ("pods.node_selector={A.org/a: b}", "'A.org/a': write a name of Kubernetes"),
        ("pods.image_pull_policy=never", "input should be 'auto', 'Always'"),
        ("checkpoints=My_Claim", "'My_Claim': write a name of Kubernetes"),
        ("checkpoints=s3://key:secret@bucket", "a user or password must not be in the settings"),
        ("gpu.count=-1", "cluster.gpu.count = -1: input should be greater than or equal to 0"),
        ("shared_memory=16Gi", "must be below the limit of steps.train.memory"),
        ("tolerations=[{effect: NoSchedule}]", "without a key takes the operator Exists"),
        ("tolerations=[{key: a, operator: Exists, value: b}]", "Exists takes no value"),
        ("tolerations=[{key: a, toleration_seconds: 5}]", "goes with the effect NoExecute"),
        ("secrets.mlflow.name=My_Secret", "'My_Secret': write a name of Kubernetes"),
        ("secrets.storage.keys=[a-b]", "'a-b': write the name of an environment variable"),
        ("webhook_secret=https://example.org", "write a name of Kubernetes"),
        ("ui_url=kubeflow.example", "write an address with http:// or https://"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: str, message: str) -> None:
    with pytest.raises(StreetsegError) as caught:
        load_params(REPOSITORY / "params.yaml", [f"cluster.{setting}"])
    assert message in str(caught.value)
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
    options = ("--params", str(tmp_path / "mine.yaml"), "--out", str(out))
    assert not call(*options, "--set", "cluster.node_selector={accelerator: a100}")
    pipeline = Compiled(out.read_text())
    assert (
        pipeline.spec["root"]["inputDefinitions"]["parameters"]["train_gpus"]["defaultValue"] == "1"
    )
    assert pipeline.pod("train")["nodeSelector"] == {"labels": {"accelerator": "a100"}}
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
    with pytest.raises(SystemExit, match=r"cluster.gpu.count is set by 'compile --set'"):
        configure.python_func("main", "default", "cluster.gpu.count=1")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *(({"miou_floor": floor}, "miou_floor") for floor in (-0.5, float("nan"), "inf", 1.5)),
        ({"epochs": "many"}, "the form: epochs = 'many': input should be a valid integer"),
        ({"epochs": -1}, "the form: epochs = -1: input should be greater than or equal to 0"),
        ({"promote": "perhaps"}, "the form: promote = 'perhaps': input should be a valid boolean"),
        ({"train_gpus": "1.5"}, "the form: train_gpus = '1.5': input should be a valid integer"),
        ({"train_cpus": "2 cores"}, "the form: train_cpus = '2 cores': write cores above 0"),
        ({"train_memory": "16GB"}, "the form: train_memory = '16GB': write bytes above 0"),
        ({"train_memory": ""}, "the form: train_memory is empty: write bytes, such as 16Gi"),
        ({"overrides": "train.epocs=3"}, "unknown key 'train.epocs': did you mean 'epochs'"),
        ({"overrides": "epochs=3"}, "unknown key 'epochs'"),
        ({"overrides": "train.epochs 3"}, "overrides train.epochs 3: write it as key.path=value"),
        ({"overrides": '{"train.epochs": 3}'}, r'overrides {"train.epochs": 3}: write it as key'),
        ({"recipe": "demi"}, "no recipe named 'demi': did you mean 'demo'?"),
    ],
)
def test_a_wrong_entry_of_the_form_fails_the_first_step(fields: dict, message: str) -> None:
    entries = {"train_cpus": "8", "train_memory": "16Gi", "recipe": "default", "overrides": ""}
    requests = {"cpu_request": "2", "memory_request": "8Gi"}
    with pytest.raises(SystemExit) as ended:
        configure.python_func(DATA, **(entries | requests | fields))
    assert message in str(ended.value)
    assert "\n" not in str(ended.value)


def settle(**inputs: Any) -> Any:
    store = "registry.tracking_uri=sqlite:///mlflow.db registry.run_name=a"
    return configure.python_func(
        **({"data_version": DATA, "recipe": "default", "overrides": store} | inputs)
    )


def test_a_form_may_hold_texts_as_recurring_runs_of_the_kfp_cli_do() -> None:
    numbers = settle(epochs=3, miou_floor=0.7, promote=True, train_gpus=0, fail_on_gate=False)
    texts = settle(
        epochs="3", miou_floor="0.7", promote="True", train_gpus="0", fail_on_gate="false"
    )
    assert texts == numbers
    assert texts.training["train"]["epochs"] == 3
    assert texts.evaluation["gate"]["miou_floor"] == 0.7
    assert texts.evaluation["gate"]["fail_on_gate"] is False
    assert texts.registry["registry"]["auto_promote"] is True


def test_a_run_whose_mlflow_does_not_answer_fails_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SystemExit) as ended:
        settle(overrides=f"registry.tracking_uri={address}")
    told = str(ended.value)
    assert told.startswith(
        f"error: cannot record a training: cannot reach the MLflow store {address}: "
    )
    assert told.endswith(": set MLFLOW_TRACKING_URI")
    assert "\n" not in told


@pytest.mark.skipif(os.access("/proc/1/environ", os.R_OK), reason="root may write everywhere")
def test_a_run_without_a_store_that_can_be_written_fails_the_first_step() -> None:
    with pytest.raises(
        SystemExit, match=r"the MLflow store /proc/1/a.db cannot be written: set ML"
    ):
        settle(overrides="registry.tracking_uri=sqlite:////proc/1/a.db")


def test_overrides_are_separated_by_blanks_and_lines() -> None:
    text = """train.epochs=7 train.augment.scale=[0.5, 2]
      gate.iou_floors={human: 0.4}  registry.run_name="two words x.y=1"
      registry.tracking_uri=sqlite:///mlflow.db
    """
    settled = settle(overrides=text)
    assert settled.training["train"]["epochs"] == 7
    assert settled.training["train"]["augment"]["scale"] == [0.5, 2.0]
    assert settled.evaluation["gate"]["iou_floors"] == {"human": 0.4}
    assert settled.training["registry"]["run_name"] == "two words x.y=1"


def test_a_pod_is_promised_no_more_than_its_limits() -> None:
    requests = {"cpu_request": "2", "memory_request": "8Gi"}
    wide = settle(train_cpus="8", train_memory="16Gi", **requests)
    assert (wide.cpu_request, wide.memory_request) == ("2", "8Gi")
    narrow = settle(train_cpus=1, train_memory="512Mi", **requests)
    assert (narrow.cpu_request, narrow.memory_request) == ("1", "512Mi")


def test_settings_of_registration_do_not_change_those_of_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, changed = settle(), settle(promote=True, model_name="mine", fail_on_gate=True)
    assert facts_in(capsys.readouterr().out.splitlines()) == {"data_version": DATA}
    for name in ("validation", "training"):
        assert getattr(changed, name) == getattr(plain, name)
    store = {"tracking_uri": "sqlite:///mlflow.db"}
    assert plain.training["registry"] == {**store, "experiment": "streetseg", "run_name": "a"}
    scoring = {**store, "experiment": "streetseg", "model_name": "mine"}
    assert changed.evaluation["registry"] == scoring
    assert changed.registry["registry"]["auto_promote"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    unset = settle(overrides="").training["registry"]
    assert unset == {"experiment": "streetseg"}, "MLFLOW_TRACKING_URI says where"
