"""A search by several processes at once, which share Optuna's study in a database."""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from streetseg.config.params import Params
from streetseg.config.yaml_files import validated
from streetseg.core.credentials import redact
from streetseg.core.errors import StoppedError, StreetsegError, did_you_mean, one_line
from streetseg.core.signals import stop_requests
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.metric_names import BEST_MIOU
from streetseg.tracking.record import search_run
from streetseg.tracking.store import connect, experiment_id, translate_errors
from streetseg.training.train import train
from streetseg.tuning.result import Search
from streetseg.tuning.search import MAX_FAILURES, trial_result, write_results
from streetseg.tuning.space import check_space, suggest_settings
from streetseg.tuning.study import (
    begin_or_resume,
    best_miou,
    median_pruner,
    report_and_prune,
    sampler,
    scored_trials,
)

STORAGE = "OPTUNA_STORAGE"
"""Variable with the address of the database, which may hold a password."""
HEARTBEAT_S, GRACE_S = 60, 300
"""Seconds between the signs of life of a trial, and without one until it counts as lost."""
POLL_S = 10.0
"""Seconds between two looks at the trials of the others."""
TAKEN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class _NotNeededError(StreetsegError):
    """The others run all trials that are left."""


def begin_search(params: Params, data_version: str, name: str) -> None:
    """Create the study ``name`` in the database, or check that it is of the same search.

    It holds the settings, so that those who join need its name alone.
    MLflow's experiment is made too, because processes that join at once would each make it.

    Raises:
        StreetsegError: an impossible space, no database or MLflow, or a study of another search.
    """
    check_space(params)
    client = connect(params.registry, create=True)
    with translate_errors("cannot prepare the search"):
        experiment_id(client, params.registry)
    with _database() as storage:
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        begin_or_resume(study, params, data_version, f"the study '{name}'", "name")
        study.set_user_attr("settings", params.to_dict())


def join_search(dataset: PreparedDataset, name: str, scratch: Path) -> int:
    """Run trials of the study until ``tune.trials`` of its settings are complete or pruned.

    Any number of processes may do so at the same time. Each trial draws with a seed of its own, and
    takes the running trials of the others for bad ones. One whose process is lost fails after
    ``GRACE_S`` seconds, and another process runs a new one in its place. So a process ends only
    when all trials have ended. In MLflow, the trials of this process are children of one run.

    Args:
        dataset: the prepared dataset.
        name: of the study.
        scratch: folder for the training in progress.

    Returns:
        The number of trials that this process has completed or pruned.

    Raises:
        StreetsegError: no database, no such study, three failures in a row, or a stop request.
    """
    with _database() as storage, stop_requests() as requests:
        study, params = _load(storage, name)
        if dataset.version != study.user_attrs["data_version"]:
            raise StreetsegError(f"the study '{name}' is of another data version")
        own: list[FrozenTrial] = []

        def objective(trial: optuna.Trial) -> float:
            return _train(trial, params, dataset, scratch)

        def report(study: optuna.Study, trial: FrozenTrial) -> None:
            if trial.params:
                own.append(trial)
                line = trial_result(trial, params.tune.space).describe(best_miou(study))
                print(line, file=sys.stderr)

        with search_run(params, name) as run:
            while scored_trials(study) < params.tune.trials:
                if len(study.get_trials(False, TAKEN)) < params.tune.trials:
                    study.optimize(
                        objective, n_trials=1, catch=(StreetsegError,), callbacks=[report]
                    )
                    if own and own[-1].value is not None:
                        run.log(own[-1].number, {BEST_MIOU: max(best_miou(study), 0.0)})
                else:
                    _fail_lost(study)
                    time.sleep(POLL_S)
                if requests:
                    raise StoppedError(f"stopped by {requests[0]}: its trial has failed")
                last = own[-MAX_FAILURES:]
                if len(last) == MAX_FAILURES and all(t.state == TrialState.FAIL for t in last):
                    raise StreetsegError(
                        f"{MAX_FAILURES} trials in a row have failed, the last because "
                        f"{last[-1].user_attrs.get('reason', '')}"
                    )
        return sum(trial.state != TrialState.FAIL for trial in own)


def finish_search(name: str, folder: Path) -> Search:
    """Write the best settings and the report of a study into ``folder``.

    Raises:
        StreetsegError: no database, no such study, or no complete trial.
    """
    with _database() as storage:
        study, params = _load(storage, name)
        if best_miou(study) < 0:
            raise StreetsegError(f"the study '{name}' has no complete trial")
        folder.mkdir(parents=True, exist_ok=True)
        return write_results(study, params, folder)


def _train(trial: optuna.Trial, params: Params, dataset: PreparedDataset, scratch: Path) -> float:
    before = [t for t in trial.study.get_trials(False, TAKEN) if t.number < trial.number]
    if len(before) >= params.tune.trials:
        raise _NotNeededError
    trial.study.sampler = sampler(params.train.seed, trial.number)
    try:
        settings = suggest_settings(trial, params)
        own = {"train.checkpoint": None, "registry.run_name": f"trial {trial.number}"}
        candidate = params.override(settings | own)
        return train(candidate, dataset, scratch / "model", report_and_prune(trial)).selection_miou
    except StreetsegError as error:
        trial.set_user_attr("reason", str(error))
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _load(storage: RDBStorage, name: str) -> tuple[optuna.Study, Params]:
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = optuna.get_all_study_names(storage)
        hint = did_you_mean(name, names, "all pods need the same database")
        raise StreetsegError(f"the database of {STORAGE} has no study '{name}': {hint}") from None
    settings = study.user_attrs.get("settings", {})
    params = validated(TypeAdapter(Params), settings, f"the study '{name}'")
    study.pruner = median_pruner(params)
    return study, params


def _fail_lost(study: optuna.Study) -> None:
    """Fail the running trials whose processes give no sign of life."""
    optuna.storages.fail_stale_trials(study)
    begun_before = datetime.now() - timedelta(seconds=GRACE_S)
    for trial in study.get_trials(False, (TrialState.RUNNING,)):
        # Optuna overlooks a trial whose process was lost before its first sign of life.
        if not trial.params and trial.datetime_start and trial.datetime_start < begun_before:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


@contextmanager
def _database() -> Iterator[RDBStorage]:
    """The database that the environment names; its errors become one line without passwords."""
    url = os.environ.get(STORAGE)
    if not url:
        raise StreetsegError(
            f"{STORAGE} is not set: put the address of a PostgreSQL or MySQL database into this "
            "key of the secret that cluster.secrets.optuna names; on one machine, export it as "
            "sqlite:////FOLDER/studies.db"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sqlite = url.startswith("sqlite")
    options = {"pool_pre_ping": True, "connect_args": {"timeout": 60} if sqlite else {}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = RDBStorage(url, options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
            try:
                yield storage
            finally:
                storage.engine.dispose()
    except ImportError as error:
        raise StreetsegError(
            f"no driver for the database of {STORAGE}: {one_line(redact(str(error)))} For "
            "PostgreSQL write postgresql+psycopg://..., whose driver is in our images; for MySQL "
            "mysql+pymysql://..., and add PyMySQL to the image"
        ) from None
    except (OptunaError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        raise StreetsegError(
            f"the database of {STORAGE} fails: {one_line(redact(str(cause)))}"
        ) from None
