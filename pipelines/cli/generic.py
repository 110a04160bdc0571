"""``python -m pipelines.NAME`` for a pipeline without options of its own but its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from kfp.pipeline_spec.pipeline_spec_pb2 import ParameterType

from components import IMAGE
from pipelines.cli.kubeflow import split_settings, start, upload
from pipelines.cli.options import (
    EXPERIMENT,
    ClusterParams,
    ClusterSettings,
    CommandWithNoCache,
    Connection,
    Experiment,
    NoCache,
    Settings,
    Timeout,
    Wait,
)
from pipelines.compile import compile_pipeline, read_cluster
from pipelines.kubeflow.follow import follow
from pipelines.pods import PipelineFactory, no_pods
from streetseg.cli.option_groups import option_groups
from streetseg.config.overrides import format_overrides, parse_overrides
from streetseg.config.params import PARAMS, load_recipe
from streetseg.core.errors import StreetsegError, did_you_mean, exit_on_error
from streetseg.core.program import set_up_environment

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT=VALUE...", help="Inputs of the pipeline; they are listed below."),
]

RENAMED_INPUTS = {"source": "images", "destination": "output"}
EXAMPLES = {
    "data_version": "data_version=main",
    "data_versions": f"data_versions=cityscapes={'0' * 32}.dir",
    "frames": "frames=s3://BUCKET/raw",
    "images": "images=s3://BUCKET/drive output=s3://BUCKET/masks",
}
"""How inputs without a default are given, for the help."""


def main(factory: PipelineFactory) -> None:
    """Run the command line: status 0 done, 1 failed with one clear line, 2 wrong usage.

    Args:
        factory: makes the pipeline.
    """
    set_up_environment()
    with exit_on_error():
        commands(factory)()


def commands(factory: PipelineFactory) -> typer.Typer:
    """The commands ``compile``, ``run`` and ``submit`` of a pipeline."""
    pipeline = factory(no_pods)
    name = pipeline.name
    inputs_help = _describe_inputs(pipeline)
    module = name.removeprefix("street-segmentation-")
    example = f"Example: python -m pipelines.{module.replace('-', '_')}"
    required = " ".join(
        EXAMPLES[key] for key, input_ in _inputs(pipeline).items() if not input_.is_optional
    )
    app = typer.Typer(
        help=f"{pipeline.description}\n\nCompile the pipeline, run it here, or on Kubeflow.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.command(
        "compile",
        cls=CommandWithNoCache,
        help="Write the YAML that a Kubeflow user uploads. STREETSEG_IMAGE names the image.\n\n"
        f"{example} compile --out outputs/{module}.yaml",
    )
    def compile_yaml(
        out: Annotated[Path, typer.Option(help="The YAML to write.")] = Path(
            f"outputs/{name}.yaml"
        ),
        params: ClusterParams = PARAMS,
        set_: ClusterSettings = None,
        no_cache: NoCache = "",
    ) -> None:
        cluster = read_cluster(params, parse_overrides(set_ or []))
        compile_pipeline(factory, cluster, out, no_cache)
        print(f"{out}: components run on the image {IMAGE}")

    @app.command(
        epilog=inputs_help,
        help=f"Run the whole pipeline here, without a cluster.\n\n{example} run {required}",
    )
    def run(
        inputs: Inputs = None,
        set_: Settings = None,
        folder: Annotated[Path, typer.Option(help="Artifacts, cache and log go here.")] = Path(
            f"outputs/{name}"
        ),
    ) -> None:
        from pipelines.local.run import run_locally

        arguments = read_inputs(pipeline, inputs, parse_overrides(set_ or []))
        outcome = run_locally(pipeline, arguments, folder)
        if not outcome.succeeded:
            raise StreetsegError(outcome.error)
        for output, value in outcome.outputs.items():
            print(f"{output}: {getattr(value, 'path', value)}")

    @app.command(
        epilog=inputs_help,
        cls=CommandWithNoCache,
        help="Start a run on Kubeflow; the pipeline is uploaded if it has changed.\n\n"
        f"{example} submit {required} --wait",
    )
    @option_groups
    def submit(
        inputs: Inputs = None,
        settings: Settings = None,
        experiment: Experiment = EXPERIMENT,
        no_cache: NoCache = "",
        wait_: Wait = False,
        timeout: Timeout = None,
        *,
        connection: Connection,
    ) -> None:
        overrides, cluster = split_settings(settings)
        parameters = read_inputs(pipeline, inputs, overrides)
        client = connection.client()
        version = upload(client, factory, cluster, no_cache=no_cache)
        run_id = start(client, version, experiment, module, parameters)
        if wait_ or timeout:
            follow(client, run_id, timeout)

    return app


def read_inputs(
    pipeline: Any, texts: list[str] | None, overrides: dict[str, Any]
) -> dict[str, Any]:
    """The parameters of a run, from the inputs on a command line.

    Args:
        pipeline: the pipeline.
        texts: the inputs, each ``name=value``.
        overrides: settings by key path, which become the input ``overrides``.

    Raises:
        StreetsegError: an input is unknown, missing, or not of that form, or a setting is wrong.
    """
    allowed = _inputs(pipeline)
    values: dict[str, Any] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise StreetsegError(f"'{text}': write an input as name=value, such as images=frames")
        if key not in allowed:
            if RENAMED_INPUTS.get(key) in allowed:
                raise StreetsegError(f"the input '{key}' is now called '{RENAMED_INPUTS[key]}'")
            hint = did_you_mean(key, allowed, f"choose of {', '.join(allowed)}")
            raise StreetsegError(f"{pipeline.name} has no input '{key}': {hint}")
        values[key] = _typed(value, key, allowed[key])
    for key, definition in allowed.items():
        if not definition.is_optional and key not in values:
            raise StreetsegError(f"{pipeline.name} needs {key}=...: {_description(definition)}")
    load_recipe(values.get("recipe", "default"), overrides)
    return {**values, "overrides": format_overrides(overrides)} if overrides else values


def _typed(text: str, key: str, definition: Any) -> str | int:
    """An input as the pipeline declares it."""
    if definition.parameter_type != ParameterType.NUMBER_INTEGER:
        return text
    try:
        return int(text)
    except ValueError:
        raise StreetsegError(f"{key}={text}: give a whole number") from None


def _inputs(pipeline: Any) -> dict[str, Any]:
    """The definition of each input that is written as ``name=value``."""
    definitions = pipeline.pipeline_spec.root.input_definitions.parameters
    names = [name for name in pipeline.component_spec.inputs if name != "overrides"]
    return {name: definitions[name] for name in names}


def _describe_inputs(pipeline: Any) -> str:
    """The inputs for the help, a paragraph each."""
    paragraphs = []
    for name, definition in _inputs(pipeline).items():
        value = definition.default_value
        default = value.string_value or (f"{value.number_value:g}" if value.number_value else "")
        note = f" Default: {default}" if default else "" if definition.is_optional else " Required."
        paragraphs.append(f"{name}=... {_description(definition)}{note}")
    return "\n\n".join(paragraphs)


def _description(definition: Any) -> str:
    return " ".join(definition.description.split())
