"""``python -m pipelines.<name>`` of a pipeline whose inputs are all there is to set."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines import compile as build
from pipelines.cli import kubeflow as remote
from pipelines.cli.kubeflow import (
    ClusterParams,
    ClusterSettings,
    Experiment,
    Namespace,
    Settings,
    TokenFile,
    Url,
    Wait,
)
from streetseg.config.params import PARAMS
from streetseg.core.errors import StreetsegError, exit_on_error
from streetseg.core.telemetry import disable_telemetry

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT=VALUE...", help="Inputs of the pipeline; they are listed below."),
]


def main(pipeline: Any) -> None:
    """Run the command line: status 0 done, 1 failed with one clear line, 2 wrong usage.

    Args:
        pipeline: a function decorated with ``dsl.pipeline``.
    """
    disable_telemetry()
    with exit_on_error():
        commands(pipeline)()


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
        params: ClusterParams = PARAMS,
        set_: ClusterSettings = None,
    ) -> None:
        """Write the YAML that a Kubeflow user uploads. STREETSEG_IMAGE names the image."""
        from components import IMAGE
        from streetseg.config.params import parse_overrides

        cluster = build.read_cluster(params, parse_overrides(set_ or []))
        build.compile_pipeline(name, cluster, out)
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
        from pipelines.local.run import run_locally
        from streetseg.config.params import parse_overrides

        outcome = run_locally(
            pipeline, read_inputs(pipeline, given, parse_overrides(set_ or [])), folder
        )
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
        from pipelines.kubeflow.client import Endpoint

        overrides, pods = remote.split_settings(set_)
        parameters = read_inputs(pipeline, given, overrides)
        there = Endpoint(endpoint, namespace, token_file)
        with remote.compiled(name, pods) as yaml:
            title = name.removeprefix("street-segmentation-")
            remote.start(there, yaml, name, experiment, title, parameters, wait_)

    return app


def read_inputs(
    pipeline: Any, given: list[str] | None, overrides: dict[str, Any]
) -> dict[str, Any]:
    """The inputs of a pipeline as written on a command line; a mistake is found here and now.

    Args:
        pipeline: the pipeline.
        given: each ``name=value``.
        overrides: settings by key path, which become the input ``overrides``.

    Raises:
        StreetsegError: an input is unknown, missing, or not of that form, or a setting is wrong.
    """
    from streetseg.config.params import load_recipe

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
