"""The MLflow store: where it is, how it is opened, and what its errors become."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_STORE = "sqlite:///outputs/mlflow.db"


def store_of(params: Registry) -> str:
    """``registry.tracking_uri``, else ``MLFLOW_TRACKING_URI``, else SQLite in ``outputs/``."""
    return params.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def sqlite_path(uri: str) -> Path | None:
    """The file of a store in SQLite; its artifacts are in ``mlartifacts`` beside it."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def name_and_version(model: str) -> tuple[str, str]:
    """The parts of ``models:/<name>/<version>`` or ``models:/<name>@<alias>``."""
    name, _, which = model.removeprefix("models:/").replace("@", "/").rpartition("/")
    return name, which


def connect(params: Registry, advice: str = "set MLFLOW_TRACKING_URI") -> MlflowClient:
    """Point MLflow at the store that :func:`store_of` names.

    Args:
        params: where the store is.
        advice: what to do if it cannot be opened.

    Raises:
        StreetsegError: the store cannot be opened.
    """
    import mlflow
    from mlflow import MlflowClient

    uri = store_of(params)
    if redact(uri) != uri:  # MLflow prints where to look at a run, with the password
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    try:
        if path := sqlite_path(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks
        mlflow.set_tracking_uri(uri)
        client = MlflowClient()
        client.search_experiments(max_results=1)
    except Exception as error:
        store = redact(uri)
        if "out-of-date database schema" in str(error):
            raise StreetsegError(
                f"the MLflow store {store} is of another version of MLflow: back it up, then run "
                f"'mlflow db upgrade {store}'; if it is newer than what is installed, update that"
            ) from None
        raise StreetsegError(
            f"cannot reach the MLflow store {store}: {reason(error)}: {advice}"
        ) from None
    return client


@contextmanager
def translate_errors(what: str, advice: str = "") -> Iterator[None]:
    """Turn what MLflow raises into one line, from ``what`` failed to how to fix it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        told = ": ".join(filter(None, (redact(what), reason(error, 300), advice)))
        raise StreetsegError(told) from None


def reason(error: Exception, longest: int = 200) -> str:
    """What an error says: one line, not too long, without passwords, SQL and what was asked."""
    root: BaseException = error
    while deeper := root.__cause__ or root.__context__:
        root = deeper
    if isinstance(root, (ConnectionError, TimeoutError, socket.gaierror)) and root.strerror:
        return root.strerror
    by_database = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None)
    return redact(one_line(by_database or error, None))[:longest]
