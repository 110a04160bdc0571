"""The search for better settings.

Its folder holds::

    study.db    Optuna's study: every trial, its settings and its held-out mIoU by epoch
    best        the model artifact of the best trial
    best.yaml   its settings as a recipe
    tune.html   the report
    trials      the training in progress, with its checkpoint
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from streetseg.config.params import Params
from streetseg.config.search_space import SearchSpace
from streetseg.core.atomic_files import (
    ensure_replaceable,
    lock_folder,
    replace_folder,
    write_atomic,
)
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.signals import stop_requests
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.metric_names import BEST_MIOU
from streetseg.tracking.record import search_run
from streetseg.training.train import train
from streetseg.tuning.report import write_report
from streetseg.tuning.result import Search, Trial
from streetseg.tuning.space import check_space, settings_of, suggest_settings
from streetseg.tuning.study import (
    best_miou,
    next_trial,
    open_study,
    report_and_prune,
    scored_trials,
)

MAX_FAILURES = 3
"""Failed trials in a row after which the search gives up."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def tune(params: Params, dataset: PreparedDataset, folder: Path) -> Search:
    """Try ``params.tune.trials`` settings from ``params.tune.space`` and keep the best.

    A trial is a training, and its score the best mIoU on the held-out frames. The first trial is
    the recipe itself if it lies in the space; the others are drawn by the tree-structured Parzen
    estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011). A trial whose
    mIoU stays below the median of the complete ones at the same epoch is pruned. A failed trial is
    recorded, but does not count. The next call resumes a search that was stopped or killed, in the
    middle of the interrupted trial.

    Raises:
        StreetsegError: an impossible space, a folder of another search or in use, three failures in
            a row, or a stop request.
    """
    check_space(params)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    ensure_replaceable(folder / "best", "config.json")
    with lock_folder(folder, folder), stop_requests() as requests:
        study = open_study(params, dataset, folder)
        with search_run(params, folder.resolve().name, study.user_attrs.get("run_id")) as run:
            study.set_user_attr("run_id", run.id)
            failures = 0
            while (finished := scored_trials(study)) < params.tune.trials:
                if requests:
                    raise StreetsegError(
                        f"stopped by {requests[0]} after {finished} of {params.tune.trials} "
                        "trials: run the same command to resume"
                    )
                trial = _run_trial(study, params, dataset, folder, requests)
                if trial.state == "complete":
                    run.log(trial.number, {BEST_MIOU: study.best_value})
                print(trial.describe(best_miou(study)), file=sys.stderr)
                failures = failures + 1 if trial.state == "failed" else 0
                if failures == MAX_FAILURES:
                    raise StreetsegError(
                        f"{MAX_FAILURES} trials in a row have failed, the last because "
                        f"{trial.reason}; run the same command to resume"
                    )
                if best_miou(study) >= 0:
                    write_results(study, params, folder)
        shutil.rmtree(folder / "trials", ignore_errors=True)
        return write_results(study, params, folder)


def _run_trial(
    study: optuna.Study, params: Params, dataset: PreparedDataset, folder: Path, requests: list[str]
) -> Trial:
    trial = next_trial(study, params.train.seed)
    workspace = folder / "trials" / str(trial.number)
    settings = suggest_settings(trial, params)
    run_name = f"trial {trial.number}"
    try:
        candidate = params.override(
            settings | {"train.checkpoint": None, "registry.run_name": run_name}
        )
        trained = train(candidate, dataset, workspace / "model", report_and_prune(trial))
    except optuna.TrialPruned:
        finished = study.tell(trial, state=TrialState.PRUNED)
    except StreetsegError as error:
        if requests or isinstance(error, StoppedError):
            raise
        trial.set_user_attr("reason", str(error))
        finished = study.tell(trial, state=TrialState.FAIL)
    else:
        if trained.selection_miou > best_miou(study):
            replace_folder(workspace / "model", folder / "best")
        finished = study.tell(trial, trained.selection_miou)
    shutil.rmtree(workspace, ignore_errors=True)
    return trial_result(finished, params.tune.space)


def trial_result(trial: FrozenTrial, space: SearchSpace) -> Trial:
    """A finished trial of a study."""
    return Trial(
        number=trial.number,
        state=STATES[trial.state],
        miou=trial.value,
        curve=dict(sorted(trial.intermediate_values.items())),
        settings=settings_of(trial, space),
        reason=trial.user_attrs.get("reason", ""),
    )


def write_results(study: optuna.Study, params: Params, folder: Path) -> Search:
    """Write ``best.yaml`` and ``tune.html`` of a study with a complete trial.

    Trials that ended before their settings were drawn are left out.
    """
    trials = [
        trial_result(trial, params.tune.space)
        for trial in study.get_trials(False, tuple(STATES))
        if trial.params.keys() >= params.tune.space.keys()
    ]
    best = next(trial for trial in trials if trial.number == study.best_trial.number)
    run_id = study.user_attrs.get("run_id", "")
    search = Search(trials, best, folder / "best.yaml", folder / "tune.html", run_id)
    recipe = params.override({**best.settings, "registry.run_name": None}).differences()
    comment = f"# Trial {best.number}, the best of {len(trials)}: held-out mIoU {best.miou:.3f}\n"
    write_atomic(search.recipe, comment + yaml.safe_dump(recipe, sort_keys=False))
    write_report(search, study)
    return search
