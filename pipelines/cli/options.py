"""The options that several commands share: single ones, and groups for ``option_groups``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from pipelines.compile import ALL_STEPS

if TYPE_CHECKING:
    from pipelines.kubeflow.client import KubeflowClient

EXPERIMENT = "street-segmentation"
NAMES = re.compile(r"\w[^=]*")
"""Names of steps; neither another option nor ``INPUT=VALUE``."""

Experiment = Annotated[str, typer.Option(help="Experiment of the runs; created if need be.")]
Package = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="A YAML that was compiled before; the pipeline of this project if not given.",
    ),
]
NoCache = Annotated[
    str,
    typer.Option(
        metavar="[STEPS]",
        help="Do all steps again, or these alone (fetch,train), whatever Kubeflow has in its "
        "cache.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run, and exit by its outcome.")]
Timeout = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="SECONDS",
        help="Wait no longer than this, then exit with status 124; the run goes on.",
    ),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or its URL.")]
DataVersion = Annotated[
    str, typer.Option(help="<md5>.dir, or a git revision; the one in ./dvc.lock if not given.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one setting of the recipe, or of cluster in params.yaml.",
    ),
]
ClusterParams = Annotated[
    Path, typer.Option("--params", metavar="FILE", help="Its section cluster says what pods get.")
]
ClusterSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one setting, such as cluster.gpu.count=1."
    ),
]


class CommandWithNoCache(TyperCommand):
    """A command whose option ``--no-cache`` may come without a value, which is then ``all``.

    typer has no options with a value that may be left out.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Give the option its value: what follows it may be another option or an input."""
        for position, argument in enumerate(args):
            following = args[position + 1 : position + 2]
            if argument == "--no-cache" and not (following and NAMES.fullmatch(following[0])):
                args = [*args[:position], f"{argument}={ALL_STEPS}", *args[position + 1 :]]
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class Connection:
    """Where Kubeflow Pipelines is, and as whom to use it."""

    endpoint: Annotated[
        str,
        typer.Option(
            envvar="KFP_ENDPOINT",
            help="URL of Kubeflow Pipelines; inside a cluster it is found without.",
        ),
    ] = ""
    namespace: Annotated[
        str, typer.Option(envvar="KFP_NAMESPACE", help="Your profile in a multi-user Kubeflow.")
    ] = ""
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token, if it is not in KFP_TOKEN.")
    ] = None

    def client(self) -> KubeflowClient:
        """The client of this endpoint; nothing is sent yet."""
        from pipelines.kubeflow.client import KubeflowClient

        return KubeflowClient(self.endpoint, self.namespace, self.token_file)


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of the training pipeline; what is not given keeps the pipeline's default."""

    data_version: DataVersion = ""
    recipe: Annotated[str | None, typer.Option(help="A file in recipes/, or 'default'.")] = None
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training frames.")] = (
        None
    )
    miou_floor: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest mean IoU that is registered.")
    ] = None
    model_name: Annotated[
        str | None, typer.Option(help="Registered model to add a version to.")
    ] = None
    promote: Annotated[
        bool, typer.Option("--auto-promote", help="Make the new version champion at once.")
    ] = False
    fail_on_gate: Annotated[
        bool, typer.Option("--fail-on-gate", help="Mark the run as failed if the gate is closed.")
    ] = False
    train_cpus: Annotated[
        str | None, typer.Option(metavar="CORES", help="CPU cores that training may use.")
    ] = None
    train_gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs for training; 0 trains on the CPU.")
    ] = None
    train_memory: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Memory for training, such as 16Gi.")
    ] = None
    settings: Settings = None

    def parameters(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a run: the inputs that are given, with the overrides of ``settings``.

        Raises:
            StreetsegError: no such recipe, or a mistake in an override or in what training may use.
        """
        from streetseg.config.form import read_form
        from streetseg.config.overrides import format_overrides
        from streetseg.config.params import load_recipe

        load_recipe(self.recipe or "default", overrides)
        read_form(train_cpus=self.train_cpus or "", train_memory=self.train_memory or "")
        gpus = None if self.train_gpus is None else str(self.train_gpus)
        texts = {"overrides": format_overrides(overrides) or None, "train_gpus": gpus}
        values = asdict(self) | {"settings": None} | texts
        given = (key for key, value in values.items() if value is not None and value is not False)
        return {key: values[key] for key in given}


@dataclass(frozen=True)
class ScheduledInputs(TrainingInputs):
    """The inputs of the scheduled pipeline."""

    data_version: Annotated[
        str, typer.Option(help="Git revision whose dvc.lock names the data each time.")
    ] = "main"
