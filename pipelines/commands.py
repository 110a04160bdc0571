"""``python -m pipelines.<name>`` of a pipeline whose inputs are all there is to set."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines import remote
from pipelines.remote import Experiment, Namespace, Settings, TokenFile, Url, Wait
from streetseg.errors import StreetsegError

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT=VALUE...", help="Inputs of the pipeline; they are listed below."),
]


def main(pipeline: Any) -> None:
    """Run the command line: status 0 done, 1 failed with one clear line, 2 wrong usage.

    Args:
        pipeline: a function decorated with ``dsl.pipeline``.
    """
    try:
        commands(pipeline)()
    except StreetsegError as error:
        sys.exit(f"error: {error}")


def commands(pipeline: Any) -> typer.Typer:
    """The commands ``compile``, ``run`` and ``submit`` of a pipeline."""
    name = pipeline.name
    inputs = _describe_inputs(pipeline)
    app = typer.Typer(
        help=f"{pipeline.description}\n\nCompile the pipeline, run it here, or on Kubeflow.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.command("compile")
    def compile_pipeline(
        out: Annotated[Path, typer.Option(help="The YAML to write.")] = Path(
            f"outputs/{name}.yaml"
        ),
    ) -> None:
        """Write the YAML that a Kubeflow user uploads. STREETSEG_IMAGE names the image."""
        from kfp import compiler

        from components import IMAGE

        out.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(pipeline, str(out))
        print(f"{out}: components run on the image {IMAGE}")

    @app.command(epilog=inputs)
    def run(
        given: Inputs = None,
        set_: Settings = None,
        folder: Annotated[Path, typer.Option(help="Artifacts, cache and log go here.")] = Path(
            f"outputs/{name}"
        ),
    ) -> None:
        """Run the whole pipeline here, without a cluster."""
        from pipelines.local import run_locally

        outcome = run_locally(pipeline, read_inputs(pipeline, given, set_), folder)
        if not outcome.succeeded:
            raise StreetsegError(outcome.error)
        for output, value in outcome.outputs.items():
            print(f"{output}: {getattr(value, 'path', value)}")

    @app.command(epilog=inputs)
    def submit(
        given: Inputs = None,
        set_: Settings = None,
        experiment: Experiment = "street-segmentation",
        wait_: Wait = False,
        endpoint: Url = "",
        namespace: Namespace = "",
        token_file: TokenFile = None,
    ) -> None:
        """Start a run on Kubeflow; the pipeline is uploaded if it has changed."""
        from pipelines.endpoint import Endpoint

        parameters = read_inputs(pipeline, given, set_)
        there = Endpoint(endpoint, namespace, token_file)
        with remote.compiled(pipeline) as yaml:
            title = name.removeprefix("street-segmentation-")
            remote.start(there, yaml, name, experiment, title, parameters, wait_)

    return app


def read_inputs(pipeline: Any, given: list[str] | None, sets: list[str] | None) -> dict[str, Any]:
    """The inputs of a pipeline as written on a command line; a mistake is found here and now.

    Args:
        pipeline: the pipeline.
        given: each ``name=value``.
        sets: settings as ``key.path=value``, which become the input ``overrides``.

    Raises:
        StreetsegError: an input is unknown, missing, or not of that form, or a setting is wrong.
    """
    from streetseg.config import load_recipe, parse_overrides

    known = _inputs(pipeline)
    values: dict[str, Any] = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise StreetsegError(f"'{text}': write an input as name=value, such as source=frames")
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f": did you mean '{close[0]}'?" if close else f": choose of {', '.join(known)}"
            raise StreetsegError(f"{pipeline.name} has no input '{key}'{hint}")
        values[key] = value
    for key, entry in known.items():
        if not entry.is_optional and key not in values:
            raise StreetsegError(f"{pipeline.name} needs {key}=...: {_text(entry)}")
    overrides = parse_overrides(sets or [])
    load_recipe(values.get("recipe", "default"), overrides)
    return {**values, "overrides": overrides} if overrides else values


def _inputs(pipeline: Any) -> dict[str, Any]:
    """What describes each input that is written on the command line."""
    parameters = pipeline.pipeline_spec.root.input_definitions.parameters
    names = [name for name in pipeline.component_spec.inputs if name != "overrides"]
    return {name: parameters[name] for name in names}


def _describe_inputs(pipeline: Any) -> str:
    """The inputs for the help, a paragraph each."""
    told = []
    for name, entry in _inputs(pipeline).items():
        default = entry.default_value.string_value
        needed = f" Default: {default}" if default else "" if entry.is_optional else " Required."
        told.append(f"{name}=... {_text(entry)}{needed}")
    return "\n\n".join(told)


def _text(entry: Any) -> str:
    return " ".join(entry.description.split())
