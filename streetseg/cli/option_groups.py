"""Options that belong together, as one parameter of a command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let a typer command take groups of options as dataclasses.

    typer reads one option from each parameter, and cannot nest them. This decorator replaces each
    parameter whose type is a dataclass by the fields of the dataclass, each an option of its own,
    and calls the command with the dataclass that they make::

        @dataclass(frozen=True)
        class Connection:
            endpoint: Annotated[str, typer.Option(envvar="KFP_ENDPOINT")] = ""
            namespace: Annotated[str, typer.Option()] = ""

        @app.command()
        @option_groups
        def wait(run: str, connection: Connection) -> None: ...

    The help lists the options in the order of the parameters and fields. Names must be unique
    within a command. The dataclass and the annotations of its fields must be resolvable in the
    module that defines them, so not imported for type checking alone.
    """
    signature = inspect.signature(command)
    annotations = get_type_hints(command, include_extras=True)
    groups = {
        name: annotations[name]
        for name in signature.parameters
        if dataclasses.is_dataclass(annotations[name])
    }

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        for name, group in groups.items():
            fields = dataclasses.fields(group)
            values[name] = group(**{field.name: values.pop(field.name) for field in fields})
        command(**values)

    options = []
    for parameter in signature.parameters.values():
        if parameter.name in groups:
            options += _options(groups[parameter.name])
        else:
            options.append(
                parameter.replace(
                    kind=parameter.KEYWORD_ONLY, annotation=annotations[parameter.name]
                )
            )
    with_options.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    with_options.__annotations__ = {option.name: option.annotation for option in options}
    return with_options


def _options(group: type) -> list[inspect.Parameter]:
    """The fields of a dataclass as keyword-only parameters."""
    annotations = get_type_hints(group, include_extras=True)
    return [
        parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=annotations[parameter.name])
        for parameter in inspect.signature(group).parameters.values()
    ]
