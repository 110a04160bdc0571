"""The Optuna study of a search."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import yaml
from optuna.trial import TrialState
from pydantic import TypeAdapter

from streetseg.config.params import Params, Train, Tune
from streetseg.config.yaml_files import validated
from streetseg.core.errors import StreetsegError, one_line
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.record import end_as_pruned
from streetseg.training.checkpoint import CHANGEABLE
from streetseg.tuning.space import recipe_point


def open_study(params: Params, dataset: PreparedDataset, folder: Path) -> optuna.Study:
    """Open the study of a folder, or create it with the recipe as its first trial.

    Raises:
        StreetsegError: it cannot be read, or belongs to another recipe, space or data version.
    """
    path = folder / "study.db"
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name="streetseg",
            direction="maximize",
            pruner=median_pruner(params),
            load_if_exists=True,
        )
        begin_or_resume(study, params, dataset.version, str(folder), "folder")
    except StreetsegError:
        raise
    except Exception as error:  # SQLAlchemy, Optuna and the system fail in many ways
        raise StreetsegError(f"cannot open the study {path}: {one_line(error)}") from None
    return study


def median_pruner(params: Params) -> optuna.pruners.MedianPruner:
    """Ends a trial below the median of the complete ones at the same epoch."""
    return optuna.pruners.MedianPruner(params.tune.n_startup_trials, params.tune.n_warmup_steps + 1)


def begin_or_resume(
    study: optuna.Study, params: Params, data_version: str, place: str, kind: str
) -> None:
    """Give a new study the recipe as its first trial; check that one that has begun is the same.

    Args:
        study: the study.
        params: the recipe.
        data_version: of the dataset.
        place: what holds the study, for messages.
        kind: what to choose another one of, for messages.

    Raises:
        StreetsegError: it belongs to another recipe, space or data version.
    """
    recipe, stored = _relevant_part(params), study.user_attrs.get("recipe")
    if stored is None:
        if point := recipe_point(params):
            study.enqueue_trial(point, skip_if_exists=True)
        study.set_user_attr("data_version", data_version)
        study.set_user_attr("recipe", recipe.to_dict())
        return
    try:
        begun_with = validated(TypeAdapter(Params), stored, place)
    except StreetsegError:
        raise StreetsegError(
            f"{place} holds a search of another release: finish it with that release, or choose "
            f"another {kind}"
        ) from None
    changed = recipe.differences(begun_with)
    if data_version != study.user_attrs["data_version"]:
        changed["data_version"] = data_version
    if changed:
        now = yaml.safe_dump(changed, default_flow_style=True, width=math.inf).strip()
        raise StreetsegError(
            f"{place} holds a search with other settings or data, so scores would not be "
            f"comparable: undo {now}, or choose another {kind}"
        )


def _relevant_part(params: Params) -> Params:
    """The part of a recipe that the scores of the trials depend on."""
    defaults = Train()
    return Params(
        model=params.model,
        train=params.train.model_copy(
            update={name: getattr(defaults, name) for name in CHANGEABLE}
        ),
        tune=Tune(space=params.tune.space),
    )


def next_trial(study: optuna.Study, seed: int) -> optuna.Trial:
    """The interrupted trial, else a new one; its seed does not depend on stops."""
    trials = study.get_trials(deepcopy=False)
    interrupted = [trial for trial in trials if trial.state == TrialState.RUNNING]
    number = interrupted[0].number if interrupted else len(trials)
    study.sampler = sampler(seed, number)
    if not interrupted:
        return study.ask()
    print(f"resuming trial {number}", file=sys.stderr)
    return optuna.Trial(study, interrupted[0]._trial_id)


def sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    """Draws the trial of this number: another one than other trials that run at the same time."""
    return optuna.samplers.TPESampler(
        seed=int(np.random.default_rng([seed, number]).integers(2**32)), constant_liar=True
    )


def report_and_prune(trial: optuna.Trial) -> Callable[[int, float], None]:
    """A callback that reports the mIoU of each epoch to Optuna and ends a hopeless training."""
    reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def on_epoch(epoch: int, miou: float) -> None:
        if epoch not in reported:  # a process killed after its last checkpoint repeats epochs
            trial.report(miou, epoch)
        if trial.should_prune():
            end_as_pruned()
            raise optuna.TrialPruned

    return on_epoch


def scored_trials(study: optuna.Study) -> int:
    """The number of complete and pruned trials."""
    return len(study.get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED)))


def best_miou(study: optuna.Study) -> float:
    """The best score of the complete trials; -1 if there is none."""
    complete = study.get_trials(False, (TrialState.COMPLETE,))
    return max((trial.value for trial in complete if trial.value is not None), default=-1.0)
