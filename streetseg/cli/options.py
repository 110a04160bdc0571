"""What all commands share: the app, common options, reading settings and showing them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streetseg import __version__
from streetseg.cli import completion
from streetseg.cli.commands import Commands
from streetseg.core.errors import StreetsegError, did_you_mean

if TYPE_CHECKING:
    from streetseg.config.params import Params

app = typer.Typer(
    help="Street-scene segmentation: from frames on disk to a promoted model.\n\n"
    "Run the commands in this order: synth (if you have no data) or init (if you have), explore, "
    "prepare, validate, train or tune, evaluate, compare, gate, register, promote. Each reads "
    "params.yaml, and writes its result where the next command expects it.\n\n"
    "predict, batch and video segment images with a model; ask sends them to a running service. "
    "list, history, diff and trace show what is registered. select chooses frames to label, and "
    "labels takes them to a labelling tool and back.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes longer to import than all else that --help needs
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

PARAMS = Path("params.yaml")
"""As in ``streetseg.config.params``, which is slow to import for ``--help``."""
Ids = Literal["label", "train", "category"]
"""As in ``streetseg.data.numbering``, which is slow to import for ``--help``."""

ParamsFile = Annotated[
    Path,
    typer.Option(
        "--params",
        "--recipe",
        metavar="FILE|NAME",
        autocompletion=completion.recipes,
        help="YAML file of settings, or the name of a recipe that comes with streetseg, such as "
        "demo. Other settings keep their defaults.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=completion.settings,
        help="Override a setting, as in train.epochs=20.",
    ),
]
ModelFolder = Annotated[Path, typer.Option("--model", help="Folder written by 'streetseg train'.")]
EvaluationFolder = Annotated[
    Path, typer.Option("--evaluation", help="Folder written by 'streetseg evaluate'.")
]
ModelUri = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="models:/NAME@ALIAS, models:/NAME/VERSION, or a model folder. Default: the champion "
        "of registry.model_name.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

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
        str | None,
        typer.Argument(
            help="Section to print, such as train. Default: all.",
            autocompletion=completion.sections,
        ),
    ] = None,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
) -> None:
    """Print the settings in effect, with the meaning and unit of each.

    With --recipe or --set, or if params.yaml does not list every setting, the values are printed
    without comments.

    Example: streetseg params train
    """
    import yaml

    from streetseg.config.params import SHIPPED
    from streetseg.config.yaml_files import read_yaml

    settings = load(params, set_).to_dict()
    text = yaml.safe_dump(settings, sort_keys=False)
    for path in (params, SHIPPED / "params.yaml"):
        if path.is_file() and read_yaml(path) == settings:
            text = path.read_text()
            break
    sections = {part.partition(":")[0]: part for part in re.split(r"\n(?=\w)", text)}
    if section is None:
        print(text, end="")
    elif section in sections:
        print(sections[section].rstrip())
    else:
        hint = did_you_mean(section, settings, f"choose one of {', '.join(settings)}")
        raise StreetsegError(f"no section '{section}' in params.yaml: {hint}")


def load(params: Path, overrides: list[str] | None) -> Params:
    """Read a settings file or recipe, with overrides; without ``params.yaml``, the defaults."""
    from streetseg.config.params import load_params_here

    return load_params_here(params, overrides or [])


def model_or_champion(model: str | None, settings: Params) -> str:
    """The given model, or else the URI of the champion."""
    return model or f"models:/{settings.registry.model_name}@champion"


def locate_model(model: str | None, settings: Params) -> tuple[str, Path]:
    """Exact name and artifact of the given model, or else of the champion.

    See :func:`streetseg.registry.versions.locate`.
    """
    from streetseg.registry.versions import locate

    return locate(model_or_champion(model, settings), settings.registry)
