"""Components in pipelines of others: inputs that somebody wrote by hand end with one line."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl import Artifact, Dataset

import components
from components.artifacts import checked, seal
from components.gate import gate
from components.join_parts import join_parts
from components.report_search import report_search
from components.score_set import score_set
from components.train_job import train_job
from streetseg.core.errors import StreetsegError
from streetseg.data.parts.staging import FOLDER, Staging

SET = {
    "name": "snow",
    "data_version": f"{'1' * 32}.dir",
    "model": "models:/m/1",
    "run": "r",
    "settings": {},
}


def takers_of_settings() -> Iterator[Any]:
    """Each component that another step hands settings to."""
    for module in pkgutil.iter_modules(components.__path__, "components."):
        for name, each in vars(importlib.import_module(module.name)).items():
            if hasattr(each, "python_func") and "settings" in (each.component_spec.inputs or {}):
                yield pytest.param(each, id=name)


def arguments_of(component: Any, out: Path) -> dict[str, Any]:
    """Arguments of the right types; artifacts without files."""
    kinds = {"Integer": 1, "Boolean": True, "List": ["x"], "Dict": {}, "String": "x"}
    spec = component.component_spec
    entries = {**(spec.inputs or {}), **(spec.outputs or {})}
    taken = component.python_func.__annotations__
    return {
        name: Artifact(uri=str(out / name))
        if entry.type.startswith("system.")
        else kinds[{"NUMBER_INTEGER": "Integer"}.get(entry.type, entry.type)]
        for name, entry in entries.items()
        if name in taken
    }


def line_of(component: Any, **inputs: Any) -> str:
    """How a component ends that refuses its inputs."""
    with pytest.raises(SystemExit) as ended:
        component.python_func(**inputs)
    assert isinstance(ended.value.code, str)
    assert len(ended.value.code.splitlines()) == 1
    return ended.value.code


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"train": {"epoch": 3}}, "settings: unknown key 'train.epoch': did you mean 'epochs'?"),
        ({"gate": {"miou_floor": "high"}}, "settings: gate.miou_floor = 'high': input should be "),
        ({"gate": []}, "settings: gate = []: input should be a valid dictionary or instance of Ga"),
        ("train.epochs=3", "settings is no mapping: give it those of the step configure"),
    ],
)
@pytest.mark.parametrize("component", takers_of_settings())
def test_settings(component: Any, settings: Any, line: str, tmp_path: Path) -> None:
    inputs = arguments_of(component, tmp_path) | {"settings": settings}
    assert line_of(component, **inputs).startswith(f"error: {line}")


def test_every_component_with_settings_is_tested() -> None:
    names = {"evaluate", "gate", "plan_search", "register", "train", "train_job", "validate"}
    assert {param.id for param in takers_of_settings()} == names


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({}, "the set, an entry of list-sets: the key 'name' is missing"),
        ("snow", "the set, an entry of list-sets: "),
        (SET | {"run": None}, "the set, an entry of list-sets: run = None: a text is needed"),
        (
            SET | {"settings": {"evaluate": {"tta": ["flop"]}}},
            "set 'snow': settings: evaluate.tta.0 = 'flop': input should be 'flip' or 'scales'",
        ),
    ],
)
def test_sets(part: Any, line: str, tmp_path: Path) -> None:
    out = Artifact(uri=str(tmp_path / "x"))
    assert line_of(score_set, part=part, evaluation=out, report=out).startswith(f"error: {line}")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"gpus": "two"}, "the form: train_gpus = 'two': input should be a valid integer"),
        ({"gpus": "-1"}, "the form: train_gpus = '-1': input should be greater than or equal"),
        ({"memory": "much"}, "the form: train_memory = 'much': "),
        ({"nodes": 0}, "nodes=0: at least 1 is needed"),
    ],
)
def test_resources(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("x")
    inputs = arguments_of(train_job, tmp_path) | {
        "dataset": Dataset(uri=str(tmp_path / "data")),
        "settings": {},
        "gpus": "0",
        "cpus": "",
        "memory": "",
    }
    assert line_of(train_job, **inputs | changes).startswith(f"error: {line}")


def test_lists_without_entries(tmp_path: Path) -> None:
    out = Artifact(uri=str(tmp_path / "x"))
    assert line_of(join_parts, parts=[], frames=[], summary=out) == (
        "error: no part is named: give those that the step plan-parts has"
    )
    assert line_of(report_search, studies=[], trials=[], report=out, metrics=out) == (
        "error: no study is named: give the output of plan-search"
    )


def test_reasons_of_any_kind(capsys: pytest.CaptureFixture[str]) -> None:
    gate.python_func(passed=True, reasons=["high", 1.5], settings={})
    assert capsys.readouterr().out == "the gate is open: high; 1.5\n"


@pytest.mark.parametrize(
    "metadata", [{"files": "train.csv"}, {"files": 3, "bytes": 4}, {"step": 1, "files": None}]
)
def test_metadata_of_other_components(metadata: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x").write_text("12345")
    artifact = Dataset(uri=str(tmp_path), metadata=metadata)
    assert checked(artifact) == tmp_path
    seal(artifact, "fetch")
    (tmp_path / "x").write_text("1234")
    with pytest.raises(StreetsegError, match="the artifact of fetch is gone from the store in par"):
        checked(artifact)


def test_a_damaged_note_of_the_parts(tmp_path: Path) -> None:
    note = tmp_path / FOLDER / "plans" / "a" / "0.json"
    note.parent.mkdir(parents=True)
    note.write_text('[{"shard": 1}]')
    staging, part = Staging.of_part(str(note))
    with pytest.raises(StreetsegError, match="a note below streetseg-parts/ of the DVC remote is"):
        staging.read_part(part)
