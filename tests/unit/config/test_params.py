"""Settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from streetseg.config.overrides import parse_overrides
from streetseg.config.params import RECIPES, Params, load_params, load_recipe
from streetseg.config.renamed import RENAMED, with_current_names, with_former_names
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY


def leaves(tree: dict[str, Any], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key, value in tree.items():
        keys |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return keys


def test_params_yaml_spells_out_every_default() -> None:
    path = REPOSITORY / "params.yaml"
    assert load_params(path) == Params(), "params.yaml holds other values than the code's defaults"
    assert leaves(yaml.safe_load(path.read_text())) == leaves(Params().to_dict())


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_holds_only_what_differs(path: Path) -> None:
    recipe = load_recipe(path.stem, {}).to_dict()
    default = Params().to_dict()
    for key in leaves(yaml.safe_load(path.read_text())):
        changed, usual = recipe, default
        for part in key.split("."):
            changed, usual = changed[part], usual.get(part)
        assert changed != usual, f"{key} is the default"


def test_an_override_has_the_last_word(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("train: {epochs: 5, batch_size: 2}")
    params = load_params(path, ["train.epochs=7", "prepare.size=[64, 96]"])
    assert params.train.epochs == 7
    assert params.train.batch_size == 2
    assert params.prepare.size == (64, 96)
    assert params.train.patience == Params().train.patience


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochz=3", "unknown key 'train.epochz': did you mean 'epochs'"),
        ("nonsense.a=1", "unknown key 'nonsense': known keys: data, synth"),
        ("train.epochs=0", "train.epochs = 0: input should be greater than 0"),
        ("train.epochs=many", "train.epochs = 'many': input should be a valid integer"),
        (
            "prepare.size=[16, 256]",
            "prepare.size.0 = 16: input should be greater than or equal to 32",
        ),
        ("gate.miou_floor=1.5", "gate.miou_floor = 1.5: input should be less than or equal to 1"),
        ("gate.iou_floors={human: -1}", "gate.iou_floors.human = -1: input should be greater"),
        ("gate.confidence=1", "gate.confidence = 1: input should be less than or equal to 0.99"),
        (
            "prepare.on_error=ignore",
            "prepare.on_error = 'ignore': input should be 'fail' or 'skip'",
        ),
        ("model.skip_scale=0", "model.skip_scale = 0: input should be greater than 0"),
        ("train.loss={cross_entropy: 0, dice: 0}", "at least one of cross_entropy, dice, jaccard"),
        ("train.loss.ohem_share=0", "train.loss.ohem_share = 0: input should be greater than 0"),
        ("train.augment.scale=[2, 1]", "params: train.augment: scale must be [smallest, largest]"),
        ("train.epochs.x=1", "train.epochs"),
        ("tune.space={train.ema: 3}", "tune.space.train.ema = 3: give a list of choices, or {low"),
        ("tune.space={train.ema: {low: 0}}", "tune.space.train.ema.range.high' is missing"),
        (
            "tune.space={train.ema: {low: 0, high: 1, stepp: 1}}",
            "unknown key 'tune.space.train.ema.range.stepp': did you mean 'step'",
        ),
        ("tune.space={train.ema: {low: 1, high: 0}}", "low must not be above high"),
        ("tune.space={train.ema: {low: 0, high: 1, log: true}}", "with log, low must be above 0"),
        ("tune.space={train.ema: {low: 1, high: 2, log: true, step: 1}}", "exclude each other"),
        ("tune.space={train.ema: {low: 0, high: 1, step: 0.3}}", "a whole number of steps"),
        ("train.epochs", "write it as key.path=value"),
        ("train.epochs=[", "the value is not valid YAML"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_key_and_what_is_allowed(
    override: str, message: str
) -> None:
    with pytest.raises(StreetsegError) as caught:
        load_params(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_the_name_of_an_older_release_is_refused_with_the_new_one(old: str) -> None:
    with pytest.raises(StreetsegError, match=f"'{old}' is now called '{RENAMED[old]}'"):
        load_params(None, [f"{old}=1"])
    value = "0.3" if "fraction" in RENAMED[old] else "1"
    if "steps" in old:
        value = "{cpu: [1, 2], memory: [1Gi, 2Gi]}"
    load_params(None, [f"{RENAMED[old]}={value}"])


def test_stored_settings_are_read_under_todays_names() -> None:
    stored = {"epochs": 3, "accumulate": 2, "loss": {"balance": 0.5, "dice": 1.0}}
    assert with_current_names(stored, "train") == {
        "epochs": 3,
        "accumulation_steps": 2,
        "loss": {"class_weight_power": 0.5, "dice": 1.0},
    }
    there_and_back = with_former_names(with_current_names(stored, "train"), "train")
    assert json.dumps(there_and_back) == json.dumps(stored), "in the same order too"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read "),
        ("train: [", "is not valid YAML"),
        ("- a\n- b", "must hold keys"),
        ("train: {epochz: 1}", "params.yaml: unknown key 'train.epochz'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StreetsegError) as caught:
        load_params(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("# nothing yet\n")
    assert load_params(tmp_path / "params.yaml") == Params()


def test_differences_are_a_recipe_that_gives_the_same_params() -> None:
    params = load_params(
        None,
        [
            "validate.sharpness=2",
            "synth.frames={train: 96}",
            "train.augment.scale=[1, 1]",
            "tune.space={train.epochs: {low: 1, high: 5}}",
        ],
    )
    differences = params.differences()
    assert differences.keys() == {"validate", "synth", "train", "tune"}
    assert differences["train"] == {"augment": {"scale": [1.0, 1.0]}}
    assert Params.model_validate(differences) == params
    assert Params().differences() == {}


def test_a_recipe_gives_its_name_to_runs(tmp_path: Path) -> None:
    recipe = tmp_path / "noaug.yaml"
    recipe.write_text("train: {epochs: 5}")
    assert load_params(recipe).registry.run_name == "noaug"
    assert load_params(recipe, ["registry.run_name=again"]).registry.run_name == "again"
    assert load_recipe("demo", {}).registry.run_name == "demo"
    assert load_recipe("default", {}).registry.run_name is None


def test_overrides_are_read_as_yaml() -> None:
    assert parse_overrides(["a.b=1", "c=[1, 2]", "d=x=y", "e=true"]) == {
        "a.b": 1,
        "c": [1, 2],
        "d": "x=y",
        "e": True,
    }


def test_the_error_about_an_unknown_recipe_names_one_like_it_or_all() -> None:
    with pytest.raises(StreetsegError, match=r"no recipe named 'dem': did you mean 'demo'\?"):
        load_recipe("dem", {})
    with pytest.raises(StreetsegError, match=r"choose one of default, .*demo"):
        load_recipe("x", {})


def test_whole_numbers_may_arrive_as_floats_as_kubeflow_passes_them() -> None:
    assert load_recipe("default", {"train.epochs": 5.0}).train.epochs == 5


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("registry.tracking_uri", "http://bob:hunter2@mlflow:5000"),
        ("registry.tracking_uri", "postgresql://bob:hunter2@db:5432/mlflow"),
        ("data.remote", "http://bob:hunter2@host/data"),
        ("data.repository", "https://hunter2@host/team/data"),
        ("data.repository", "ssh://git:hunter2@host/team/data"),
    ],
)
def test_settings_hold_no_password(key: str, address: str) -> None:
    with pytest.raises(StreetsegError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        load_params(overrides=[f"{key}={address}"])
    assert str(caught.value).startswith(f"params: {key} = ")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://mlflow:5000",
        "sqlite:////home/me@work/mlflow.db",
        "s3://bucket/cam@front",
        "git@host:team/data",
        "ssh://git@host:22/team/data",
    ],
)
def test_an_address_without_a_password_is_taken(address: str) -> None:
    keys = ("registry.tracking_uri", "data.remote", "data.repository")
    params = load_params(overrides=dict.fromkeys(keys, address))
    assert params.registry.tracking_uri == params.data.remote == params.data.repository == address
