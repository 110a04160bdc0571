"""What all commands share: the app, the options, and how settings are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streetseg.core.errors import StreetsegError

if TYPE_CHECKING:
    from streetseg.config.params import Params
    from streetseg.data.dataset import PreparedDataset

app = typer.Typer(
    help="Street-scene segmentation: from frames on disk to a promoted model.\n\n"
    "The commands follow the way of the data: synth (if you have none), explore, prepare, "
    "validate, train (or tune), evaluate, compare, gate, register, promote, predict (or batch, "
    "video, or ask a running service); list, diff, history and trace look at what is registered. "
    "Each reads params.yaml and leaves its result where the next one looks for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PARAMS = Path("params.yaml")
"""As in ``streetseg.config.params``, for which help need not wait."""

ParamsFile = Annotated[
    Path, typer.Option("--params", help="Params or recipe file; what it leaves out is default.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, e.g. train.epochs=20."),
]
ModelFolder = Annotated[Path, typer.Option("--model", help="Folder of the model artifact.")]
EvaluationFolder = Annotated[
    Path, typer.Option("--evaluation", help="Folder that 'streetseg evaluate' wrote.")
]
ModelUri = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="models:/NAME@ALIAS, models:/NAME/VERSION, or a folder; else the champion of "
        "registry.model_name.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]

MODEL, EVALUATION = Path("outputs/model"), Path("outputs/evaluation")


def load(params: Path, overrides: list[str] | None) -> Params:
    """The settings of a file, with overrides; without ``params.yaml`` here, the defaults."""
    from streetseg.config.params import load_params_here

    return load_params_here(params, overrides or [])


def model_or_champion(model: str | None, settings: Params) -> str:
    """The model that is named, else the champion."""
    return model or f"models:/{settings.registry.model_name}@champion"


def open_prepared(params: Params) -> PreparedDataset:
    """The prepared dataset, if it is what the settings prepare.

    Raises:
        StreetsegError: there is none, or it is of another source or size.
    """
    from streetseg.data.dataset import PreparedDataset

    dataset = PreparedDataset(params.data.prepared)
    wanted = Path(params.data.source).name, params.prepare.size
    if (dataset.source, dataset.size) != wanted:
        raise StreetsegError(
            f"{dataset.path} holds frames of {dataset.source} of {list(dataset.size)}, but "
            f"data.source and prepare.size ask for {wanted[0]} of {list(wanted[1])}: run "
            "'streetseg prepare' with the same settings, or name another data.prepared"
        )
    return dataset
