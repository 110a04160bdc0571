"""The fields of the training pipeline's form, as a person fills them in."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, TypeAdapter, model_validator

from streetseg.config.cluster import check_cpu, check_memory, in_bytes, in_cores
from streetseg.config.types import CountOrZero
from streetseg.config.yaml_files import Section, validated

OptionalCpu = Annotated[str, AfterValidator(lambda text: text and check_cpu(text))]
OptionalMemory = Annotated[str, AfterValidator(lambda text: text and check_memory(text))]


class TrainingForm(Section):
    """The fields that are settings, and what the compiled pipeline promises the training pod.

    Values may be texts: ``kfp recurring-run create`` sends them so.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    epochs: CountOrZero = 0
    fail_on_gate: bool = False
    miou_floor: float = -1.0
    model_name: str = ""
    promote: bool = False
    train_cpus: OptionalCpu = ""
    train_gpus: CountOrZero = 0
    train_memory: OptionalMemory = ""
    cpu_request: str = ""
    """Cores; empty where the pods of a TrainJob take theirs from its runtime."""
    memory_request: str = ""

    @model_validator(mode="after")
    def _complete(self) -> TrainingForm:
        if self.miou_floor != -1 and not 0 <= self.miou_floor <= 1:
            raise ValueError(f"miou_floor is {self.miou_floor}: write 0 to 1, or -1 for the recipe")
        if self.cpu_request and not self.train_cpus:
            raise ValueError("train_cpus is empty: write cores, such as 8")
        if self.memory_request and not self.train_memory:
            raise ValueError("train_memory is empty: write bytes, such as 16Gi")
        return self

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that the form sets, by key path."""
        fields = {  # None leaves a setting to the recipe and the overrides
            "train.epochs": self.epochs or None,
            "gate.miou_floor": None if self.miou_floor == -1 else self.miou_floor,
            "gate.fail_on_gate": self.fail_on_gate or None,
            "registry.model_name": self.model_name or None,
            "registry.auto_promote": self.promote or None,
        }
        return {key: value for key, value in fields.items() if value is not None}

    @property
    def requests(self) -> tuple[str, str]:
        """CPUs and memory that the training pod is promised: no more than its limits."""
        return (
            min(self.train_cpus, self.cpu_request, key=lambda text: in_cores(text or "0")),
            min(self.train_memory, self.memory_request, key=lambda text: in_bytes(text or "0")),
        )


def read_form(**fields: Any) -> TrainingForm:
    """The fields as a person or a program filled them in; StreetsegError for a wrong one."""
    return validated(TypeAdapter(TrainingForm), fields, "the form")
