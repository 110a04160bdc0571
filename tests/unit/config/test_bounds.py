"""Numbers that a setting cannot have, and text that YAML would read as something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streetseg.config.overrides import parse_overrides
from streetseg.config.params import Params, load_params, load_recipe
from streetseg.core.errors import StreetsegError


def numbers(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The key path and default of each setting that is a number."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + key, value


NUMBERS = dict(numbers(Params().to_dict())) | {"model.skip_scale": 0.5}
NUMBERS = {key: value for key, value in NUMBERS.items() if not key.startswith("tune.space")}
COUNTS = [key for key, value in NUMBERS.items() if isinstance(value, int)]


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "inf", "nan", "1.0e+999"])
@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_is_finite(key: str, value: str) -> None:
    with pytest.raises(StreetsegError, match=f"{key} = "):
        load_params(overrides=[f"{key}={value}"])
    with pytest.raises(StreetsegError, match=f"{key} = "):
        load_params(overrides={key: float("inf")})


@pytest.mark.parametrize("key", NUMBERS)
def test_true_is_not_the_number_one(key: str) -> None:
    with pytest.raises(StreetsegError, match=f"{key} = True: a number is needed"):
        load_params(overrides=[f"{key}=true"])


@pytest.mark.parametrize(
    "override",
    [
        "prepare.size=[.inf, 256]",
        "validate.brightness=[0, .inf]",
        "gate.iou_floors={human: .nan}",
        "tune.space={train.learning_rate: {low: 0, high: .inf}}",
        "tune.space={train.ema: {low: 0, high: 1, step: .nan}}",
        "tune.space={train.ema: {low: 0, high: 1, step: 1.0e-320}}",
        "cluster.tolerations=[{toleration_seconds: .inf}]",
        "cluster.tolerations=[{key: a, effect: NoExecute, toleration_seconds: 99999999999}]",
    ],
)
def test_numbers_in_lists_and_tables_are_finite(override: str) -> None:
    with pytest.raises(StreetsegError):
        load_params(overrides=[override])


@pytest.mark.parametrize("key", COUNTS)
def test_a_whole_number_that_json_would_change_is_refused_before_and_after(key: str) -> None:
    exact = 2**53 + 1
    through_the_pipeline = json.loads(json.dumps({key: float(exact)}))
    for overrides in ({key: exact}, through_the_pipeline):
        with pytest.raises(StreetsegError, match=f"{key} = "):
            load_recipe("default", overrides)


@pytest.mark.parametrize("key", ["train.seed", "synth.seed"])
def test_seeds_are_those_of_every_generator(key: str) -> None:
    section, name = key.split(".")
    for seed in (0, 2**32 - 1):
        assert getattr(getattr(load_params(overrides={key: seed}), section), name) == seed
    for seed in (-1, 2**32):
        with pytest.raises(StreetsegError, match=f"{key} = {seed}"):
            load_params(overrides={key: seed})


@pytest.mark.parametrize(
    ("key", "beyond"),
    [
        ("serve.poll_seconds", 1e10),
        ("serve.timeout", 1e10),
        ("train.checkpoint_minutes", 1e300),
        ("serve.max_megabytes", 1e305),
        ("serve.max_megapixels", 1e305),
        ("serve.hard_frames_megabytes", 1e305),
    ],
)
def test_durations_and_sizes_are_those_that_the_system_can_count(key: str, beyond: float) -> None:
    with pytest.raises(StreetsegError, match=f"{key} = .*less than or equal to"):
        load_params(overrides={key: beyond})


def test_a_registry_is_not_asked_without_a_pause() -> None:
    with pytest.raises(StreetsegError, match=r"serve\.poll_seconds = 0\.01: .*equal to 0\.1"):
        load_params(overrides={"serve.poll_seconds": 0.01})


AS_WRITTEN = ["010", "0x10", "1_000", "2026-01-31", "12:30", "no", "on", "1e5", ".inf", "'7'"]


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_text_is_what_is_written(tmp_path: Path, text: str) -> None:
    """In a file, by --set, and on the way of the pipeline's overrides as JSON."""
    (tmp_path / "params.yaml").write_text(f"registry: {{run_name: {text}, experiment: {text}}}\n")
    overrides = [f"registry.run_name={text}", f"registry.experiment={text}"]
    piped = json.loads(json.dumps(parse_overrides(overrides)))
    for params in (
        load_params(tmp_path / "params.yaml"),
        load_params(overrides=overrides),
        load_recipe("default", piped),
    ):
        assert params.registry.run_name == params.registry.experiment == text.strip("'")


@pytest.mark.parametrize("text", ["7", "1.50", "true"])
def test_what_yaml_reads_as_another_type_is_to_be_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(f"registry: {{run_name: {text}}}\n")
    for load in (
        lambda: load_params(tmp_path / "params.yaml"),
        lambda: load_params(overrides=[f"registry.run_name={text}"]),
        lambda: load_params(overrides=[f"data.root={text}"]),
    ):
        with pytest.raises(StreetsegError, match="a text is needed: put the value in quotes"):
            load()


@pytest.mark.parametrize("text", ["#7", "run #7", "[a] #7", "&7", "'a' b"])
def test_a_value_of_which_yaml_drops_a_part_is_to_be_quoted(text: str) -> None:
    with pytest.raises(StreetsegError, match=r"--set registry\.run_name=.* in quotes") as caught:
        load_params(overrides=[f"registry.run_name={text}"])
    assert "\n" not in str(caught.value)


def test_a_comment_in_place_of_a_value_is_to_be_quoted(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("registry:\n  run_name: #7\n")
    with pytest.raises(StreetsegError, match=r"'#7' is a comment: put it in quotes.*line 2"):
        load_params(path)
    path.write_text("registry:\n  run_name: # none\n  experiment: ours # of 2026\n")
    params = load_params(path)
    assert (params.registry.run_name, params.registry.experiment) == (None, "ours")


def test_numbers_are_read_in_base_ten() -> None:
    params = load_params(overrides=["train.epochs=010", "train.learning_rate=1e-3"])
    assert (params.train.epochs, params.train.learning_rate) == (10, 0.001)
    with pytest.raises(StreetsegError, match="valid number"):
        load_params(overrides=["serve.timeout=1:30"])


@pytest.mark.parametrize(
    ("name", "taken"), [("a", True), (".a", True), ("..", False), ("- ", False)]
)
def test_a_model_has_a_name_that_mlflow_takes(name: str, taken: bool) -> None:
    if taken:
        assert load_params(overrides={"registry.model_name": name}).registry.model_name == name
    else:
        with pytest.raises(StreetsegError, match=r"registry\.model_name = "):
            load_params(overrides={"registry.model_name": name})
