"""Resources, nodes and secrets for the pods of the pipeline, in Kubernetes' own terms."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from streetseg.config.types import Count, CountOrZero, without_secrets
from streetseg.config.yaml_files import Section

BYTES = {"": 1, "M": 10**6, "G": 10**9, "T": 10**12}
BYTES |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

SECRETS_OF: dict[str, tuple[str, ...]] = {
    "check": ("mlflow", "storage", "git"),
    "data-changed": ("mlflow", "git"),
    "configure": ("mlflow", "git"),
    "fetch": ("storage",),
    "fetch-model": ("mlflow", "storage"),
    "validate": ("storage",),
    "train": ("mlflow", "storage"),
    "train-job": ("mlflow", "storage"),
    "evaluate": ("mlflow", "storage"),
    "register": ("mlflow", "storage"),
    "gate": (),
    "segment": ("storage",),
    "list-parts": (),
    "segment-part": ("storage",),
    "plan-parts": ("storage",),
    "prepare-part": ("storage",),
    "join-parts": ("storage",),
    "list-sets": ("mlflow", "git"),
    "score-set": ("mlflow", "storage"),
    "join-sets": (),
    "plan-search": ("mlflow", "optuna"),
    "search": ("mlflow", "storage", "optuna"),
    "report-search": ("optuna",),
    "report-outcome": (),
}
"""Every step of the pipelines, and which of ``cluster.secrets`` it gets.

``mlflow`` is for steps that call MLflow, ``storage`` for those that read the DVC remote or MLflow's
files, which may be in the same kind of store, ``git`` for those that look up a revision, ``optuna``
for those that call the database of a search.
"""

if TYPE_CHECKING:
    StepName = str
else:
    StepName = Literal["default", *SECRETS_OF]


def in_cores(cpu: str) -> Decimal:
    """CPU cores of a quantity such as ``2``, ``0.5`` or ``500m``."""
    return Decimal(cpu[:-1]) / 1000 if cpu.endswith("m") else Decimal(cpu)


def in_bytes(memory: str) -> int:
    """Bytes of a quantity such as ``8Gi`` or ``512M``."""
    number, unit = re.fullmatch(r"(\d+)(\D*)", memory).groups()  # type: ignore[union-attr]
    return int(number) * BYTES[unit]


def check_cpu(text: str) -> str:
    """Return a quantity of CPU; ValueError if it is none."""
    if not re.fullmatch(r"\d+(\.\d{1,3})?|\d+m", text) or not in_cores(text):
        raise ValueError("write cores above 0, such as 2, 0.5 or 500m")
    return text


def check_memory(text: str) -> str:
    """Return a quantity of memory; ValueError if it is none."""
    if not re.fullmatch(r"[1-9]\d*([MGT]|[KMGT]i)?", text):
        raise ValueError("write bytes above 0, such as 8Gi, 512Mi or 16G")
    return text


def _ordered(amount: Callable[[str], Any]) -> Callable[[tuple[str, str]], tuple[str, str]]:
    def check(value: tuple[str, str]) -> tuple[str, str]:
        if amount(value[0]) > amount(value[1]):
            raise ValueError("write [request, limit], the limit no less")
        return value

    return check


def _name(text: str) -> str:
    if len(text) > 253 or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", text):
        raise ValueError("write a name of Kubernetes: lower-case letters, digits, '-' and '.'")
    return text


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("write the name of an environment variable: letters, digits and '_'")
    return text


def _place(text: str) -> str:
    return without_secrets(text) if "://" in text else _name(text)


def _label_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if slash:
        _name(prefix)
    if not name or not _label_value(name):
        raise ValueError("write the key of a label: example.org/name, or name")
    return text


def _label_value(text: str) -> str:
    if len(text) > 63 or not re.fullmatch(r"([A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)?", text, re.ASCII):
        raise ValueError("write up to 63 letters, digits, '-', '_' and '.', no sign at the ends")
    return text


def _address(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s/]\S*", text):
        raise ValueError("write an address with http:// or https://")
    return text


Cpu = Annotated[str, AfterValidator(check_cpu)]
Memory = Annotated[str, AfterValidator(check_memory)]
Name = Annotated[str, AfterValidator(_name)]
Address = Annotated[str, AfterValidator(_address)]
CpuRange = Annotated[tuple[Cpu, Cpu], AfterValidator(_ordered(in_cores))]
MemoryRange = Annotated[tuple[Memory, Memory], AfterValidator(_ordered(in_bytes))]
Variable = Annotated[str, AfterValidator(_variable)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
Labels = dict[LabelKey, LabelValue]
Checkpoints = Annotated[str, AfterValidator(_place)]
"""``remote``, ``pod``, ``workspace``, the name of a persistent volume claim, or a URL."""


class Pod(Section):
    """What the pod of a step gets, as request (promised) and limit (not to exceed)."""

    cpu: CpuRange = ("0.5", "2")
    memory: MemoryRange = ("1Gi", "4Gi")
    timeout_minutes: Count = 60
    """Of one attempt, with the time to pull the image."""
    retries: CountOrZero = 0


class Step(Section):
    """The settings of a step that are not those of ``default``."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    cpu: CpuRange | None = None
    memory: MemoryRange | None = None
    timeout_minutes: Count | None = None
    retries: CountOrZero | None = None


LIKE_TRAIN = ("check", "search")
"""Steps whose pods are those of ``train``, where they have no settings of their own."""
DAY, WEEK = 24 * 60, 7 * 24 * 60
STEPS: dict[StepName, Step] = {
    "default": Step(**Pod().model_dump()),
    "fetch": Step(cpu=("1", "4"), memory=("2Gi", "8Gi"), timeout_minutes=DAY, retries=3),
    "fetch-model": Step(retries=3),
    "validate": Step(cpu=("1", "4"), memory=("2Gi", "8Gi"), timeout_minutes=240, retries=2),
    "train": Step(cpu=("2", "8"), memory=("8Gi", "16Gi"), timeout_minutes=WEEK, retries=5),
    "check": Step(timeout_minutes=30, retries=0),
    "train-job": Step(timeout_minutes=WEEK, retries=5),
    "evaluate": Step(cpu=("2", "8"), memory=("4Gi", "12Gi"), timeout_minutes=DAY, retries=2),
    "register": Step(timeout_minutes=240, retries=3),
    "segment": Step(timeout_minutes=WEEK, retries=5),
    "segment-part": Step(timeout_minutes=WEEK, retries=5),
    "plan-parts": Step(cpu=("1", "4"), memory=("2Gi", "8Gi"), timeout_minutes=DAY, retries=3),
    "prepare-part": Step(cpu=("2", "8"), memory=("4Gi", "8Gi"), timeout_minutes=WEEK, retries=5),
    "join-parts": Step(cpu=("1", "4"), memory=("2Gi", "8Gi"), timeout_minutes=DAY, retries=3),
    "score-set": Step(cpu=("2", "8"), memory=("4Gi", "12Gi"), timeout_minutes=DAY, retries=2),
    "plan-search": Step(retries=3),
    "search": Step(timeout_minutes=WEEK, retries=5),
    "report-search": Step(retries=3),
    "report-outcome": Step(timeout_minutes=10),
}


class Gpu(Section):
    """Accelerators of the training step."""

    type: Annotated[str, Field(min_length=1)] = "nvidia.com/gpu"
    count: CountOrZero = 0


class Toleration(Section):
    """A taint of nodes on which a step may run all the same."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: CountOrZero | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError("a toleration with operator Exists takes no value")
        if self.operator == "Equal" and not self.key:
            raise ValueError("a toleration without a key takes the operator Exists")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("toleration_seconds goes with the effect NoExecute")
        return self


class Secret(Section):
    """A Kubernetes secret; each of its keys becomes the environment variable of that name."""

    name: Name
    keys: list[Variable]


class Secrets(Section):
    """Credentials for what is outside of the cluster; each secret may be absent."""

    mlflow: Secret = Secret(
        name="streetseg-mlflow",
        keys=[
            "MLFLOW_TRACKING_URI",
            "MLFLOW_TRACKING_USERNAME",
            "MLFLOW_TRACKING_PASSWORD",
            "MLFLOW_TRACKING_TOKEN",
        ],
    )
    storage: Secret = Secret(
        name="streetseg-s3",
        keys=[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_DEFAULT_REGION",
            "AWS_ENDPOINT_URL",
        ],
    )
    git: Secret = Secret(name="streetseg-git", keys=["GIT_USERNAME", "GIT_TOKEN"])
    optuna: Secret = Secret(name="streetseg-optuna", keys=["OPTUNA_STORAGE"])


class Workspace(Section):
    """The volume of a run, if checkpoints are kept there."""

    size: Memory = "20Gi"
    storage_class: str = ""


class Pods(Section):
    """What the pods of all steps get."""

    run_as_user: CountOrZero = 1000
    image_pull_policy: Literal["auto", "Always", "IfNotPresent", "Never"] = "auto"
    image_pull_secrets: list[Name] = []
    node_selector: Labels = {}
    tolerations: list[Toleration] = []
    labels: Labels = {}
    annotations: dict[LabelKey, str] = {}


class Cluster(Section):
    """What the pods of the pipeline get; read when the pipeline is compiled."""

    steps: dict[StepName, Step] = STEPS
    pods: Pods = Pods()
    gpu: Gpu = Gpu()
    node_selector: Labels = {}
    tolerations: list[Toleration] = []
    shared_memory: Memory = "8Gi"
    checkpoints: Checkpoints = "remote"
    workspace: Workspace = Workspace()
    secrets: Secrets = Secrets()
    data_cache: Name | None = None
    raw_data: Name | None = None
    webhook_secret: Name | None = None
    ui_url: Address = ""

    @field_validator("steps", mode="before")
    @classmethod
    def _over_defaults(cls, steps: Any) -> Any:
        """A step that is not named keeps its defaults, as does what is not named of a step."""
        if not isinstance(steps, dict):
            return steps
        usual = {name: step.model_dump(exclude_none=True) for name, step in STEPS.items()}
        return usual | {
            name: usual.get(name, {}) | step if isinstance(step, dict) else step
            for name, step in steps.items()
        }

    @model_validator(mode="after")
    def _shared_memory_fits(self) -> Cluster:
        if in_bytes(self.shared_memory) >= in_bytes(self.pod("train").memory[1]):
            raise ValueError(
                "shared_memory is taken from the memory of the step: it must be below the limit "
                "of steps.train.memory"
            )
        return self

    def pod(self, step: str) -> Pod:
        """The pod of a step; ``check`` and ``search`` get the CPUs and memory of ``train``."""
        names = ("default", "train", step) if step in LIKE_TRAIN else ("default", step)
        chosen = [self.steps[name] for name in names if name in self.steps]
        settings = [each.model_dump(exclude_none=True) for each in chosen]
        return Pod.model_validate({key: value for each in settings for key, value in each.items()})

    def secrets_of(self, step: str) -> list[Secret]:
        """The secrets that a step gets."""
        return [getattr(self.secrets, name) for name in SECRETS_OF[step]]


def is_cluster_setting(key: str) -> bool:
    """Whether a key path is settled when a pipeline is compiled, not when it runs."""
    return key.split(".")[0] == "cluster"
