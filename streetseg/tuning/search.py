"""The search for better settings: trainings that Optuna proposes, of which the best is kept.

A search is a folder:

==============  ====================================================================================
``study.db``    Optuna's study: every trial, its settings and its held-out mIoU by epoch
``best``        the model artifact of the best trial
``best.yaml``   its settings as a recipe
``tune.html``   the page about all of them
``trials``      the training in progress, with the checkpoint it goes on from
==============  ====================================================================================
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from streetseg.config.params import Params, Train, Tune
from streetseg.config.search_space import Range
from streetseg.config.yaml_files import validated
from streetseg.core.atomic_files import (
    ensure_replaceable,
    lock_folder,
    replace_folder,
    write_atomic,
)
from streetseg.core.errors import StoppedError, StreetsegError, one_line
from streetseg.core.signals import stop_requests
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.record import end_as_pruned, search_run
from streetseg.training.checkpoint import CHANGEABLE
from streetseg.training.train import train
from streetseg.tuning.report import write_tuning_page

FAILURES = 3
"""Trials that fail one after another before the search gives up."""
IMPORTANCE_FROM = 10
"""Complete trials from which on it is said how much each setting matters."""
NOT_SEARCHED = "holdout_fraction", *CHANGEABLE
"""Keys of train that are not searched: the score would be of other frames, or the same."""


@dataclass(frozen=True)
class Trial:
    """A training of the search that has ended."""

    number: int
    state: str
    """``complete``, ``pruned`` or ``failed``."""
    miou: float | None
    """Held-out mIoU: the best of a complete trial, the last of a pruned one."""
    curve: dict[int, float]
    """Held-out mIoU by epoch."""
    settings: dict[str, Any]
    """Value by key path."""
    reason: str
    """Why it failed."""


@dataclass(frozen=True)
class Search:
    """What a search has found."""

    trials: list[Trial]
    best: Trial
    recipe: Path
    page: Path
    run_id: str
    """The MLflow run whose children the trials are."""


def tune(params: Params, dataset: PreparedDataset, folder: Path) -> Search:
    """Try ``params.tune.trials`` settings out of ``params.tune.space`` and keep the best.

    A trial is a training; its score is the best mIoU on its held-out frames. The first trial is the
    recipe itself if it lies in the space; the others are drawn by the tree-structured Parzen
    estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011). A trial whose
    mIoU stays below the median of the complete ones at the same epoch is cut short (pruned). A
    trial that fails is noted, and does not count.

    A search that was stopped, in whatever way, goes on with the next call: the trial in progress
    from its checkpoint, with the same settings.

    Args:
        params: the recipe that the trials vary.
        dataset: what to train on.
        folder: where the search is, or is to be.

    Raises:
        StreetsegError: an impossible space, a folder that holds a search of another recipe or is in
            use by another process, three failures in a row, or a request to stop.
    """
    _check_space(params)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    ensure_replaceable(folder / "best", "config.json")
    with lock_folder(folder, folder), stop_requests() as requests:
        study = _open_study(params, dataset, folder)
        known = study.user_attrs.get("run_id")
        with search_run(params, folder.resolve().name, known) as run:
            study.set_user_attr("run_id", run.id)
            failures = 0
            while (done := _count(study)) < params.tune.trials:
                if requests:
                    raise StreetsegError(
                        f"stopped by {requests[0]} after {done} of {params.tune.trials} trials: "
                        "the same command goes on"
                    )
                trial = _next_trial(study, params.train.seed)
                place = folder / "trials" / str(trial.number)
                settings = {key: _suggest(trial, key, params) for key in sorted(params.tune.space)}
                try:
                    named = {"train.checkpoint": None, "registry.run_name": f"trial {trial.number}"}
                    candidate = params.override(settings | named)
                    trained = train(candidate, dataset, place / "model", _pruner(trial))
                except optuna.TrialPruned:
                    ended = study.tell(trial, state=TrialState.PRUNED)
                    failures = 0
                except StreetsegError as error:
                    if requests or isinstance(error, StoppedError):
                        raise
                    trial.set_user_attr("reason", str(error))
                    ended = study.tell(trial, state=TrialState.FAIL)
                    failures += 1
                else:
                    if trained.selection_miou > _best_miou(study):
                        replace_folder(place / "model", folder / "best")
                    ended = study.tell(trial, trained.selection_miou)
                    failures = 0
                    run.log(trial.number, best_selection_miou=study.best_value)
                shutil.rmtree(place, ignore_errors=True)
                print(_line(_ended(ended, params), _best_miou(study)), file=sys.stderr)
                if failures == FAILURES:
                    raise StreetsegError(
                        f"{FAILURES} trials in a row have failed, the last because "
                        f"{ended.user_attrs['reason']}; the same command goes on"
                    )
                if _best_miou(study) >= 0:
                    _write_results(study, params, folder)
        shutil.rmtree(folder / "trials", ignore_errors=True)
        return _write_results(study, params, folder)


def _check_space(params: Params) -> None:
    """Require that the recipe knows each key and allows each choice, or either end, there."""
    for key, where in params.tune.space.items():
        section, _, name = key.partition(".")
        if section not in ("model", "train") or name in NOT_SEARCHED:
            raise StreetsegError(
                f"tune.space: {key} cannot be searched: give keys of model or train on which the "
                f"score depends (not train.{', train.'.join(NOT_SEARCHED)})"
            )
        for value in (where.low, where.high) if isinstance(where, Range) else where:
            params.override({key: value}, "tune.space")
        if isinstance(where, Range) and where.step and _is_whole(params, key) and where.step % 1:
            raise StreetsegError(
                f"tune.space: {key} takes whole numbers, and steps of {where.step} lead to others"
            )


def _open_study(params: Params, dataset: PreparedDataset, folder: Path) -> optuna.Study:
    """The study of a folder, begun if need be.

    Raises:
        StreetsegError: it cannot be read, or is of another recipe, space or data version.
    """
    path = folder / "study.db"
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name="streetseg",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(
                params.tune.n_startup_trials, params.tune.n_warmup_steps + 1
            ),
            load_if_exists=True,
        )
        begun = study.user_attrs.get("recipe")
    except Exception as error:  # of SQLAlchemy, of Optuna, of the system
        reason = one_line(error)
        raise StreetsegError(f"cannot open the study {path}: {reason}") from None
    recipe = _what_matters(params)
    if begun is None:
        if usual := _usual_settings(params):
            study.enqueue_trial(usual, skip_if_exists=True)
        study.set_user_attr("data_version", dataset.version)
        study.set_user_attr("recipe", recipe.to_dict())
        return study
    changed = recipe.differences(validated(TypeAdapter(Params), begun, str(path)))
    if dataset.version != study.user_attrs["data_version"]:
        changed["data_version"] = dataset.version
    if changed:
        now = yaml.safe_dump(changed, default_flow_style=True, width=math.inf).strip()
        raise StreetsegError(
            f"{folder} holds a search with other settings or data, and the scores would not "
            f"compare: set {now} back, or name another folder"
        )
    return study


def _what_matters(params: Params) -> Params:
    """The part of a recipe that the scores of its trials depend on."""
    usual = Train()
    incidental = {name: getattr(usual, name) for name in CHANGEABLE}
    return Params(
        model=params.model,
        train=params.train.model_copy(update=incidental),
        tune=Tune(space=params.tune.space),
    )


def _usual_settings(params: Params) -> dict[str, Any] | None:
    """The recipe's own settings as Optuna notes them; None if one lies outside the space."""
    settings: dict[str, Any] = {}
    for key, where in params.tune.space.items():
        value = _setting(params, key)
        if not isinstance(where, Range):
            if value not in where:
                return None
            settings[key] = json.dumps(where[where.index(value)])
            continue
        if value is None or not where.low <= value <= where.high:
            return None
        if where.step and not math.isclose(n := (value - where.low) / where.step, round(n)):
            return None
        settings[key] = value
    return settings


def _next_trial(study: optuna.Study, seed: int) -> optuna.Trial:
    """The trial that was interrupted, else a new one, drawn with its own seed.

    So the trials do not depend on how often the search was stopped.
    """
    known = study.get_trials(deepcopy=False)
    interrupted = [trial for trial in known if trial.state == TrialState.RUNNING]
    number = interrupted[0].number if interrupted else len(known)
    drawn = int(np.random.default_rng([seed, number]).integers(2**32))
    study.sampler = optuna.samplers.TPESampler(seed=drawn)
    if not interrupted:
        return study.ask()
    print(f"trial {number} goes on", file=sys.stderr)
    return optuna.Trial(study, interrupted[0]._trial_id)


def _suggest(trial: optuna.Trial, key: str, params: Params) -> Any:
    """The value of a setting in a trial: drawn the first time, then the same."""
    where = params.tune.space[key]
    if not isinstance(where, Range):
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in where]))
    if _is_whole(params, key):
        low, high, step = int(where.low), int(where.high), int(where.step or 1)
        return trial.suggest_int(key, low, high, step=step, log=where.log)
    return trial.suggest_float(key, where.low, where.high, step=where.step, log=where.log)


def _is_whole(params: Params, key: str) -> bool:
    """Whether a range is one of whole numbers, which the type of the setting tells."""
    where = params.tune.space[key]
    return isinstance(where, Range) and isinstance(
        _setting(params.override({key: where.low}), key), int
    )


def _setting(params: Params, key: str) -> Any:
    value: Any = params.to_dict()
    for part in key.split("."):
        value = value.get(part)
    return value


def _pruner(trial: optuna.Trial) -> Callable[[int, float], None]:
    """What to do after each epoch: note its mIoU, and end the training if it is hopeless."""
    noted = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def on_epoch(epoch: int, miou: float) -> None:
        if epoch not in noted:  # by a process that was killed after its last checkpoint
            trial.report(miou, epoch)
        if trial.should_prune():
            end_as_pruned()
            raise optuna.TrialPruned

    return on_epoch


def _count(study: optuna.Study) -> int:
    return len(study.get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED)))


def _best_miou(study: optuna.Study) -> float:
    """Of the complete trials; -1 before there is one."""
    complete = study.get_trials(False, (TrialState.COMPLETE,))
    return max((trial.value for trial in complete if trial.value is not None), default=-1.0)


def _ended(trial: FrozenTrial, params: Params) -> Trial:
    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    return Trial(
        number=trial.number,
        state=states.get(trial.state, "failed"),
        miou=trial.value,
        curve=dict(sorted(trial.intermediate_values.items())),
        settings={
            key: trial.params[key] if isinstance(where, Range) else json.loads(trial.params[key])
            for key, where in params.tune.space.items()
        },
        reason=trial.user_attrs.get("reason", ""),
    )


def _line(trial: Trial, best: float) -> str:
    settings = " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in trial.settings.items()
    )
    score = "  -  " if trial.miou is None else f"{trial.miou:.3f}"
    return (
        f"trial {trial.number:<3} {trial.state:<8}  held-out mIoU {score}  "
        f"best {max(best, 0):.3f}  {settings}  {trial.reason}".rstrip()
    )


def _write_results(study: optuna.Study, params: Params, folder: Path) -> Search:
    """Write the best recipe and the page."""
    ended = study.get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    trials = [_ended(trial, params) for trial in ended]
    best = trials[[trial.number for trial in trials].index(study.best_trial.number)]
    found = Search(
        trials, best, folder / "best.yaml", folder / "tune.html", study.user_attrs["run_id"]
    )
    better = params.override({**best.settings, "registry.run_name": None})
    recipe = yaml.safe_dump(better.differences(), sort_keys=False)
    comment = f"# Trial {best.number}, the best of {len(trials)}: held-out mIoU {best.miou:.3f}\n"
    write_atomic(found.recipe, comment + recipe)
    write_tuning_page(found, params.tune.space, _importance(study))
    return found


def _importance(study: optuna.Study) -> dict[str, float]:
    """The fraction of each setting in what sets the best quarter of the complete trials apart.

    Watanabe et al., "PED-ANOVA", IJCAI 2023. Empty while there are too few.
    """
    if len(study.get_trials(False, (TrialState.COMPLETE,))) < IMPORTANCE_FROM:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
