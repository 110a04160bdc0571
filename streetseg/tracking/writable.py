"""A trial whether runs and their files can be recorded."""

from __future__ import annotations

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.tracking.store import connect, experiment_id, translate_errors


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
