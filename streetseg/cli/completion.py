"""What the shell completes of an option's value, for ``streetseg --install-completion``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any


def sections(incomplete: str) -> list[str]:
    """The sections of the settings that begin as typed."""
    from streetseg.config.params import Params

    return [name for name in Params.model_fields if name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    """``key.path=`` of each setting that begins as typed; of a single one also with its default.

    Shells put a blank after a single candidate, but not after what two have in common.
    """
    from streetseg.config.params import Params

    defaults = dict(_leaves(Params().model_dump(mode="json", by_alias=True)))
    keys = [key for key in defaults if key.startswith(incomplete)]
    candidates = [f"{key}=" for key in keys]
    if len(keys) == 1:
        candidates.append(candidates[0] + _one_word(defaults[keys[0]]))
    return [*dict.fromkeys(candidates)]


def recipes(incomplete: str) -> list[str]:
    """The recipes that come with streetseg and begin as typed."""
    from streetseg.config.params import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _one_word(value: Any) -> str:
    """A setting's value as a shell takes it; empty if it has none."""
    from streetseg.config.overrides import format_value

    text = value if isinstance(value, str) else "" if value is None else format_value(value)
    return shlex.quote(text) if text else ""
