"""The table of docs/architecture.md: every module is on a floor, and uses what that floor may."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from streetseg.provenance import REPOSITORY

LIBRARY = REPOSITORY / "streetseg"
ROW = re.compile(r"\| (\w+) \| (`.*) \| .* \|")


def floors() -> dict[str, list[str]]:
    """What the table names on each floor, from the ground up."""
    table = (REPOSITORY / "docs" / "architecture.md").read_text()
    return {floor: re.findall(r"`(\w+)/?`", named) for floor, named in ROW.findall(table)}


def modules() -> dict[str, list[Path]]:
    """The files of each module; a package is one."""
    found: dict[str, list[Path]] = {}
    for path in LIBRARY.rglob("*.py"):
        found.setdefault(path.relative_to(LIBRARY).parts[0].removesuffix(".py"), []).append(path)
    return {name: files for name, files in found.items() if not name.startswith("__")}


def imports(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, in functions too; not those for types alone."""
    parts: list[ast.AST] = [ast.parse(path.read_text())]
    while parts:
        part = parts.pop()
        if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING":
            continue
        if isinstance(part, ast.ImportFrom) and part.module == "streetseg":
            yield from (name.name for name in part.names)
        elif isinstance(part, ast.ImportFrom) and (part.module or "").startswith("streetseg."):
            yield str(part.module).split(".")[1]
        parts += ast.iter_child_nodes(part)


def uses() -> dict[str, set[str]]:
    known = modules()
    return {
        name: {used for path in files for used in imports(path)} & known.keys() - {name}
        for name, files in known.items()
    }


def test_every_module_is_on_one_floor() -> None:
    named = [name for floor in floors().values() for name in floor]
    assert sorted(modules().keys() - named) == []
    assert sorted({name for name in named if named.count(name) > 1}) == []
    gone = [name for name in named if not any(LIBRARY.glob(f"{name}*"))]
    assert gone == []


def test_a_module_uses_what_its_floor_may() -> None:
    table = floors()
    order = list(table)
    may = {floor: {*order[: order.index(floor) + 1]} for floor in order}
    may["work"].add("pages")
    may["client"] = {"ground", "client"}
    floor_of = {name: floor for floor, named in table.items() for name in named}
    wrong = [
        f"{name} ({floor_of[name]}) uses {used} ({floor_of[used]})"
        for name, found in uses().items()
        for used in found
        if floor_of[used] not in may[floor_of[name]]
    ]
    assert wrong == []


def test_no_two_modules_need_each_other() -> None:
    TopologicalSorter(uses()).prepare()
