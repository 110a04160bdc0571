"""Overrides of settings as one text, as in the form of a pipeline."""

from typing import Any

import pytest

from streetseg.config.overrides import format_overrides, parse_overrides, split_overrides
from streetseg.config.params import load_params
from streetseg.core.errors import StreetsegError


@pytest.mark.parametrize(
    "value",
    [
        *(1e-05, 3, 0.5, True, None, "", "010", "no", "12:30", "1e5", "ü", "it's", "a b"),
        *("x y.z=1", "a\nb.c=d", "sqlite:///a.db", [64, 128], ["a b.c=1", "it's"]),
        *({"human": 0.4}, {"a": {"b": [1, "q"]}}),
    ],
    ids=repr,
)
def test_what_is_written_is_read(value: Any) -> None:
    overrides = {"a.b": value, "cluster.steps.train-job": 1}
    assert parse_overrides(split_overrides(format_overrides(overrides))) == overrides


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (" \n ", []),
        ("a.b=1", ["a.b=1"]),
        ("a.b=1 c.d=2\n\te.f=3 ", ["a.b=1", "c.d=2", "e.f=3"]),
        ("a.b=[1, 2] c.d={x: 1}", ["a.b=[1, 2]", "c.d={x: 1}"]),
        ("a.b=two words c.d=2", ["a.b=two words", "c.d=2"]),
        ("a.b='x c.d=1' e.f=2", ["a.b='x c.d=1'", "e.f=2"]),
        ("a.b=it's c.d=that's", ["a.b=it's", "c.d=that's"]),
        ("epochs=3", ["epochs=3"]),
    ],
)
def test_blanks_before_a_key_path_separate(text: str, parts: list[str]) -> None:
    assert split_overrides(text) == parts


def test_settings_take_the_text_as_it_is() -> None:
    params = load_params(overrides="train.epochs=7\nprepare.size=[64, 96] registry.run_name=a b")
    assert (params.train.epochs, params.prepare.size) == (7, (64, 96))
    assert params.registry.run_name == "a b"
    with pytest.raises(StreetsegError, match=r"^overrides train: write it as key.path=value"):
        load_params(overrides="train")
