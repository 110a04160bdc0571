"""Whether runs and their files can be recorded."""

from __future__ import annotations

import os

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError
from streetseg.tracking.store import (
    ADVICE,
    connect,
    experiment_id,
    find_experiment,
    sqlite_path,
    store_of,
    translate_errors,
)


def record_trial(params: Registry) -> str:
    """Record a run with a file in ``params.experiment``, and delete it; returns the store.

    Raises:
        StreetsegError: the store does not answer, or takes no runs or no files.
    """
    client = connect(params, create=True)
    with translate_errors("cannot record a run"):
        run = client.create_run(experiment_id(client, params), run_name="check")
        try:
            with translate_errors(f"cannot store files in {run.info.artifact_uri}"):
                client.log_text(run.info.run_id, "written by the check of streetseg", "check.txt")
        finally:
            client.delete_run(run.info.run_id)
    return redact(client.tracking_uri)


def require_store(params: Registry) -> None:
    """Do nothing if the server answers, or the SQLite store's folder can be written.

    Raises:
        StreetsegError: one line with the way out otherwise.
    """
    database = sqlite_path(store_of(params))
    if database is None:
        with translate_errors("cannot record a training"):
            find_experiment(connect(params), params)
        return
    existing = next(each for each in (database, *database.absolute().parents) if each.exists())
    if not os.access(existing, os.W_OK):
        raise StreetsegError(
            f"cannot record a training: the MLflow store {database} cannot be written: {ADVICE}"
        )
