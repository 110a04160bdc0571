"""YAML files as typed data. A mistake in a file becomes an error of one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from streetseg.config.renamed import RENAMED
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, cannot_read, did_you_mean, one_line

Typed = TypeVar("Typed")

NULLS = "", "~", "null", "Null", "NULL"
RESOLVERS = {
    "null": ("|".join(NULLS), ["", "~", "n", "N"]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    "merge": ("<<", ["<"]),
}
"""Pattern and first characters of the plain scalars that are no text, by tag."""


class _Loader(yaml.SafeLoader):
    """Reads plain scalars by YAML 1.2: ``010``, ``12:30``, ``2026-01-31`` and ``no`` are text.

    In YAML 1.1, the default of PyYAML, they are 8, 750, a date and false.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_yaml_null(self, node: yaml.ScalarNode) -> None:
        """Refuse ``key: #7``, which would set nothing."""
        mark = node.end_mark
        after = (mark.buffer or "")[mark.pointer :].split("\n", 1)[0].strip(" \0")
        if not node.value and re.match(r"#\S", after):
            problem = f"'{after}' is a comment: put it in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, mark)


for tag, (pattern, first) in RESOLVERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^({pattern})$"), first)
_Loader.add_constructor("tag:yaml.org,2002:null", _Loader.construct_yaml_null)


class Section(BaseModel):
    """A group of settings in a YAML file; an unknown key is an error, and numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def parse_yaml(text: str) -> Any:
    """The data in a text, read by YAML 1.2; yaml.YAMLError if it is no YAML."""
    return yaml.load(text, _Loader)


def parse_value(text: str) -> Any:
    """The data in the YAML of one value; ValueError if YAML would read only a part of it."""
    loader = _Loader(text)
    node = loader.get_single_node()
    value = loader.construct_document(node) if node else None
    rest = text[node.end_mark.pointer :] if node else text
    if rest.strip() or (value is None and text.strip() not in NULLS):
        raise ValueError("YAML would read only a part of it")
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, empty if the file is; StreetsegError for anything else."""
    try:
        tree = parse_yaml(path.read_text())
    except OSError as error:
        raise cannot_read(path, error) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = one_line(error, None)
        raise StreetsegError(f"{path} is not valid YAML: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise StreetsegError(f"{path} must hold keys such as 'name: ...', not a {_kind(tree)}")
    return tree


def is_yaml(name: str | Path) -> bool:
    """Whether a name is the path of a YAML file, not the name of one that comes with streetseg."""
    return Path(name).suffix in (".yaml", ".yml")


def find_yaml(name: str, shipped: Path, own: Path, unknown: str) -> Path:
    """Resolve a name to a YAML file of the user's or to one that comes with streetseg.

    Args:
        name: a path below ``own`` that ends in .yaml or .yml and need not exist, or the name of a
            file in ``shipped``.
        unknown: how the message about an unknown name begins.

    Raises:
        StreetsegError: no file in ``shipped`` has this name.
    """
    if is_yaml(name):
        return own / name
    path = shipped / f"{name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in shipped.glob("*.yaml"))
        choice = f"choose one of {', '.join(names)}, or name a YAML file"
        raise StreetsegError(f"{unknown}: {did_you_mean(name, names, choice)}")
    return path


def validated(adapter: TypeAdapter[Typed], tree: dict[str, Any], origin: str) -> Typed:
    """Convert plain data to typed data.

    Raises:
        StreetsegError: the first mistake: where it is, what is wrong, and what is allowed.
    """
    try:
        return adapter.validate_python(tree)
    except ValidationError as error:
        raise StreetsegError(_explain(error, origin, adapter)) from None


def _explain(error: ValidationError, origin: str, adapter: TypeAdapter[Any]) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path).removesuffix(".[key]")  # which marks a mistake in a key itself
    if key in RENAMED:
        return f"{origin}: '{key}' is now called '{RENAMED[key]}'"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = _keys_at(adapter.json_schema(), path[:-1])
        hint = did_you_mean(path[-1], allowed, f"known keys: {', '.join(allowed)}")
        return f"{origin}: unknown key '{key}': {hint}"
    if first["type"] in ("missing", "missing_argument"):
        return f"{origin}: the key '{key}' is missing"
    if first["type"] in ("string_type", "path_type"):
        scalar = not isinstance(first["input"], dict | list)
        quote = ": put the value in quotes" if scalar else ""
        return f"{origin}: {key} = {redact(repr(first['input']))}: a text is needed{quote}"
    message = first["msg"].removeprefix("Value error, ").replace("tuple", "list")
    message = f"{message[0].lower()}{message[1:]}"
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        # a rule about a section, whose value is too long to show
        return ": ".join(filter(None, (origin, key, message)))
    return f"{origin}: {key} = {redact(repr(first['input']))}: {message}"


def _keys_at(schema: dict[str, Any], path: list[str]) -> list[str]:

    def follow(node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return node

    node = follow(schema)
    for part in path:
        if part.isdigit():
            node = follow(node["items"])
        elif "oneOf" in node:
            node = next(kind for kind in map(follow, node["oneOf"]) if "properties" in kind)
        elif "properties" in node:
            node = follow(node["properties"][part])
        else:
            node = follow(node["additionalProperties"])
    return list(node["properties"])


def _kind(value: Any) -> str:
    return {list: "list", str: "text", int: "number", float: "number"}.get(type(value), "value")
