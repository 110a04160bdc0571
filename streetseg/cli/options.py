"""What all commands share: the app, the options, and how settings are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from streetseg import __version__
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
    Path,
    typer.Option(
        "--params",
        "--recipe",
        metavar="FILE|NAME",
        help="YAML file of settings, or the name of a recipe that comes with streetseg, such as "
        "demo. Settings that it leaves out keep their defaults.",
    ),
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


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"streetseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """The options of ``streetseg`` itself."""


@app.command("params")
def print_params(
    section: Annotated[
        str | None, typer.Argument(help="Only this section, such as train; else all.")
    ] = None,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
) -> None:
    """Print every setting as it is in effect, with its meaning and its unit.

    A file that spells out every setting, as the params.yaml of the project does, is printed with
    its comments. With a recipe or --set the comments are left out.
    """
    from streetseg.config.params import SHIPPED

    settings = load(params, set_).to_dict()
    text = yaml.safe_dump(settings, sort_keys=False)
    for path in (params, SHIPPED / "params.yaml"):
        if path.is_file() and yaml.safe_load(path.read_text()) == settings:
            text = path.read_text()
            break
    sections = {part.partition(":")[0]: part for part in re.split(r"\n(?=\w)", text)}
    if section is None:
        print(text, end="")
    elif section in sections:
        print(sections[section].rstrip())
    else:
        names = ", ".join(settings)
        raise StreetsegError(f"no section '{section}' in params.yaml: choose one of {names}")


def load(params: Path, overrides: list[str] | None) -> Params:
    """The settings of a file or recipe, with overrides; without ``params.yaml``, the defaults."""
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
