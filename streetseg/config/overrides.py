"""Overrides of settings as text: ``key.path=value``, one or many in one text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from streetseg.config.yaml_files import parse_value
from streetseg.core.errors import StreetsegError

BOUNDARY = re.compile(
    r"""(?<=[=\[{,:\s])"(?:\\.|[^"\\])*"   # a quoted text may look like a boundary
      | (?<=[=\[{,:\s])'[^']*'
      | (\s+)(?=\w+(?:\.[\w-]+)+=)         # blanks before the next key.path=""",
    re.VERBOSE,
)


def split_overrides(text: str) -> list[str]:
    """The single ``key.path=value`` of a text in which blanks or line breaks separate them."""
    parts, start = [], 0
    for match in BOUNDARY.finditer(text):
        if match[1]:
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def parse_overrides(texts: Iterable[str], origin: str = "--set") -> dict[str, Any]:
    """Convert ``key.path=value`` strings, the values in YAML.

    Raises:
        StreetsegError: another form; the message begins with ``origin``.
    """
    overrides = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise StreetsegError(
                f"{origin} {text}: write it as key.path=value, e.g. train.epochs=20"
            )
        try:
            overrides[key.strip()] = parse_value(value)
        except yaml.YAMLError:
            raise StreetsegError(
                f"{origin} {text}: the value is not valid YAML: put it in quotes if it is text"
            ) from None
        except ValueError as error:
            raise StreetsegError(
                f"{origin} {text}: {error}: put the value in quotes, as in '{key}=\"...\"'"
            ) from None
    return overrides


def format_overrides(overrides: Mapping[str, Any]) -> str:
    """The text that :func:`split_overrides` and :func:`parse_overrides` read, a line for each."""
    return "\n".join(f"{key}={format_value(value)}" for key, value in overrides.items())


class _Dumper(yaml.SafeDumper):
    """Writes every text in quotes, so that blanks in it separate nothing."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def format_value(value: Any) -> str:
    """The YAML of one value, in one line."""
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("...\n").strip()
