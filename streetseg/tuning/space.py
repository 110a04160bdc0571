"""The search space: its check, and its conversion to Optuna's parameters and back."""

from __future__ import annotations

import json
import math
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from streetseg.config.params import Params
from streetseg.config.search_space import Range, SearchSpace
from streetseg.core.errors import StreetsegError
from streetseg.training.checkpoint import CHANGEABLE

NOT_SEARCHED = "holdout_fraction", *CHANGEABLE
"""Keys of train that change the held-out frames, or do not change the score."""


def check_space(params: Params) -> None:
    """Raise a StreetsegError if a key cannot be searched, or a choice or bound is invalid."""
    for key, domain in params.tune.space.items():
        section, _, name = key.partition(".")
        if section not in ("model", "train") or name in NOT_SEARCHED:
            raise StreetsegError(
                f"tune.space: {key} cannot be searched: choose keys of model or train that the "
                f"score depends on (not train.{', train.'.join(NOT_SEARCHED)})"
            )
        for value in (domain.low, domain.high) if isinstance(domain, Range) else domain:
            params.override({key: value}, "tune.space")
        if isinstance(domain, Range) and domain.step and domain.step % 1 and _is_int(params, key):
            raise StreetsegError(
                f"tune.space: {key} takes integers, so a step of {domain.step} is not possible"
            )


def recipe_point(params: Params) -> dict[str, Any] | None:
    """The recipe's own settings as Optuna parameters; None if one lies outside the space."""
    point: dict[str, Any] = {}
    for key, domain in params.tune.space.items():
        value = _value(params, key)
        if not isinstance(domain, Range):
            if value not in domain:
                return None
            point[key] = json.dumps(domain[domain.index(value)])
            continue
        if value is None or not domain.low <= value <= domain.high:
            return None
        if domain.step and not math.isclose(n := (value - domain.low) / domain.step, round(n)):
            return None
        point[key] = value
    return point


def suggest_settings(trial: optuna.Trial, params: Params) -> dict[str, Any]:
    """The settings of a trial by key path: drawn on the first call, the same on later ones."""
    return {key: _suggest(trial, key, params) for key in sorted(params.tune.space)}


def settings_of(trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
    """The settings of a finished trial by key path."""
    return {
        key: trial.params[key] if isinstance(domain, Range) else json.loads(trial.params[key])
        for key, domain in space.items()
    }


def _suggest(trial: optuna.Trial, key: str, params: Params) -> Any:
    domain = params.tune.space[key]
    if not isinstance(domain, Range):
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in domain]))
    if _is_int(params, key):
        low, high, step = int(domain.low), int(domain.high), int(domain.step or 1)
        return trial.suggest_int(key, low, high, step=step, log=domain.log)
    return trial.suggest_float(key, domain.low, domain.high, step=domain.step, log=domain.log)


def _is_int(params: Params, key: str) -> bool:
    """Whether pydantic converts the lowest value to an integer."""
    domain = params.tune.space[key]
    return isinstance(domain, Range) and isinstance(
        _value(params.override({key: domain.low}), key), int
    )


def _value(params: Params, key: str) -> Any:
    value: Any = params.to_dict()
    for part in key.split("."):
        value = value.get(part)
    return value
