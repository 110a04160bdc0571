"""The MLflow store: its address, its connection and its errors."""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.core.errors import NoRegistryError, StreetsegError, did_you_mean_path, one_line
from streetseg.core.proxies import bypass_proxies_for_loopback, through_proxy

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

DEFAULT_STORE = "sqlite:///outputs/mlflow.db"
SQLITE = re.compile(
    r"(?P<before>sqlite(\+\w+)?:///(file:)?)(?P<file>[^?]+)(?P<options>(\?.*)?)", re.DOTALL
)
EXPERIMENT_TAGS = {
    "mlflow.note.content": (
        "Street-scene segmentation by streetseg. Each run is a training or an evaluation; its "
        "tags lead to data, code and registered version."
    ).replace("[streetseg]", "streetseg"),
    "mlflow.experimentKind": "custom_model_development",
}
"""Description of an experiment, and the kind that opens on its runs, not on traces of GenAI."""
ADVICE = "set MLFLOW_TRACKING_URI"
PROXY_ADVICE = (
    "name an http:// proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or list the host in NO_PROXY; "
    "for SOCKS, pip install 'requests[socks]'"
)


def store_of(params: Registry) -> str:
    """``registry.tracking_uri``, else ``MLFLOW_TRACKING_URI``, else SQLite in ``outputs/``."""
    return params.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def sqlite_path(uri: str) -> Path | None:
    """The file of a store in SQLite; its artifacts are in ``mlartifacts`` beside it."""
    match = SQLITE.fullmatch(uri)
    return Path(match["file"]) if match else None


def absolute_store(uri: str) -> str:
    """The address of a store, which holds in any folder; options of SQLite stay."""
    match, path = SQLITE.fullmatch(uri), sqlite_path(uri)
    return f"{match['before']}{path.resolve()}{match['options']}" if match and path else uri


def split_uri(uri: str) -> tuple[str, str, str]:
    """Name, separator and version of ``models:/<name>/<version>`` or ``models:/<name>@<alias>``.

    Without a separator, all is in the last part, as in ``models:/m-<id>``.
    """
    reference = uri.removeprefix("models:/")
    return reference.rpartition("/" if "/" in reference else "@")  # an alias contains neither


def is_reference(model: str) -> bool:
    """Whether a model is a reference into a registry, not a path.

    Raises:
        StreetsegError: it is a reference to the files of a run, or lacks its ``models:/``.
    """
    if model.startswith("runs:/"):
        raise StreetsegError(
            f"'{model}' is a file of a run, not a version: write models:/NAME/VERSION; 'streetseg "
            "trace RUN' names the versions of a run"
        )
    if re.fullmatch(r"[^/@]+(@[^/@]+|/\d+)", model) and not Path(model).exists():
        raise StreetsegError(f"there is no folder '{model}': a registered model is models:/{model}")
    return model.startswith("models:/")


def connect(params: Registry, create: bool = False) -> MlflowClient:
    """Point MLflow at the store that :func:`store_of` names; a server is sent no request.

    With ``create``, an SQLite store that does not exist yet is made.

    Raises:
        NoRegistryError: the SQLite store does not exist.
        StreetsegError: the store cannot be opened.
    """
    uri = store_of(params)
    database = sqlite_path(uri)
    if database and not create and not database.exists():
        hint = f"run 'make demo', or {ADVICE}"
        if uri != DEFAULT_STORE:
            hint = did_you_mean_path(database, hint)
        raise NoRegistryError(f"there is no registry at {database}: {hint}")
    import mlflow
    from mlflow import MlflowClient

    if redact(uri) != uri:  # MLflow prints the address of a run, with the password
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    bypass_proxies_for_loopback()
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks
    try:
        if database:
            database.parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)
        return MlflowClient()
    except Exception as error:
        store = redact(uri)
        if "maintenance mode" in str(error):
            raise StreetsegError(
                f"the MLflow store {store} is a folder of files, which MLflow no longer opens: "
                "move it to a database with 'mlflow migrate-filestore', or set "
                "MLFLOW_ALLOW_FILE_STORE=true"
            ) from None
        if "out-of-date database schema" in str(error):
            raise StreetsegError(
                f"the MLflow store {store} is of another version of MLflow: back it up, then run "
                f"'mlflow db upgrade {store}'; if it is newer than what is installed, update that"
            ) from None
        raise StreetsegError(
            f"cannot reach the MLflow store {store}: {reason(error)}: {ADVICE}"
        ) from None


def find_experiment(client: MlflowClient, params: Registry) -> Experiment | None:
    """``params.experiment``; None if there is none.

    Raises:
        StreetsegError: it is deleted: MLflow neither uses it nor makes another of this name.
    """
    experiment = client.get_experiment_by_name(params.experiment)
    if experiment and experiment.lifecycle_stage == "deleted":
        back = f"experiments restore --experiment-id {experiment.experiment_id}"
        raise StreetsegError(
            f"the experiment '{params.experiment}' in {redact(client.tracking_uri)} is deleted: "
            f"bring it back with {restore_command(client, back)}, or set registry.experiment to "
            "another name"
        )
    return experiment


def restore_command(client: MlflowClient, command: str) -> str:
    """A command of MLflow's that brings back what was deleted from a store, in quotes."""
    store = shlex.quote(redact(client.tracking_uri))
    return f"'MLFLOW_TRACKING_URI={store} mlflow {command}'"


def experiment_id(client: MlflowClient, params: Registry) -> str:
    """The id of ``params.experiment``, made if need be, with its files beside an SQLite store.

    Raises:
        StreetsegError: the experiment is deleted.
    """
    experiment = find_experiment(client, params)
    if experiment:
        return experiment.experiment_id
    path = sqlite_path(store_of(params))
    files = (path.parent / "mlartifacts").resolve().as_uri() if path else None
    return client.create_experiment(params.experiment, files, {**EXPERIMENT_TAGS})


@contextmanager
def translate_errors(what: str, advice: str = "") -> Iterator[None]:
    """Turn MLflow's errors into one line: what failed (``cannot ...``), why, and how to fix it."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        why = reason(error, 300)
        if _is_unanswered(error):
            store = mlflow.get_tracking_uri()
            proxy = through_proxy(store)
            why = f"cannot reach the MLflow store {redact(store)}{proxy}: {why}"
            advice = advice or (PROXY_ADVICE if proxy else ADVICE)
        raise StreetsegError(": ".join(filter(None, (redact(what), why, advice)))) from None


def reason(error: Exception, longest: int = 200) -> str:
    """The message of an error as one line without passwords and SQL."""
    root: BaseException = error
    while deeper := root.__cause__ or root.__context__:
        root = deeper
    if isinstance(root, (ConnectionError, TimeoutError, socket.gaierror)) and root.strerror:
        return root.strerror
    if _is_unanswered(error):
        return one_line(root)
    by_database = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None)
    return redact(one_line(by_database or error, None))[:longest]


def _is_unanswered(error: Exception) -> bool:
    from requests import exceptions

    kinds = (
        exceptions.ConnectionError,
        exceptions.Timeout,
        exceptions.InvalidSchema,  # a SOCKS proxy
        exceptions.InvalidProxyURL,
    )
    return isinstance(error, kinds) or isinstance(error.__cause__ or error.__context__, kinds)
