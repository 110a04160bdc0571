"""The model registry: its versions, where they come from, and their files.

A version is registered as ``challenger`` (:mod:`streetseg.registry.register`). ``champion`` is
what is served and moves only when it is promoted; ``previous`` is the champion before, for the way
back (:mod:`streetseg.registry.promotion`).
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from streetseg.config.params import Registry
from streetseg.core.credentials import redact
from streetseg.core.errors import NoSuchVersionError, StreetsegError
from streetseg.tracking.store import connect, name_and_version, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry, with the tags that lead back to where it comes from."""

    name: str
    version: str
    run_id: str
    aliases: list[str]
    tags: dict[str, str]
    registered: datetime
    """In UTC."""

    @property
    def title(self) -> str:
        """Its number and what it is, such as ``3 (champion)``."""
        return f"{self.version} ({', '.join(self.aliases)})" if self.aliases else self.version

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "registered": self.registered.isoformat(timespec="seconds")}


def versions(params: Registry) -> list[ModelVersion]:
    """All versions of the model, the newest first.

    Raises:
        StreetsegError: the registry does not answer, or holds no such model.
    """
    client, name = connect(params), params.model_name
    with translate_errors(f"cannot list the versions of {name}"):
        known = search(client, f"name = '{name}'")
    if not known:
        raise StreetsegError(
            f"the registry {redact(client.tracking_uri)} has no model '{name}': run "
            "'streetseg register' first, or set MLFLOW_TRACKING_URI or registry.model_name"
        )
    return sorted(known, key=lambda each: int(each.version), reverse=True)


def search(client: MlflowClient, filter_string: str) -> list[ModelVersion]:
    """Versions of any model that a filter of MLflow's finds, the newest first.

    Raises:
        MlflowException: the registry does not answer, or does not understand the filter.
    """
    found: list[ModelVersion] = []
    aliases: dict[str, dict[str, str]] = {}
    token = None
    while True:
        page = client.search_model_versions(filter_string, page_token=token)
        for each in page:
            if each.name not in aliases:
                aliases[each.name] = client.get_registered_model(each.name).aliases
            named = [alias for alias, at in aliases[each.name].items() if at == each.version]
            found.append(_model_version(each, named))
        token = page.token
        if not token:
            return sorted(found, key=lambda version: version.registered, reverse=True)


def find(client: MlflowClient, name: str, which: str) -> ModelVersion:
    """Look up a version by number or alias.

    Raises:
        NoSuchVersionError: the registry has no such version.
        StreetsegError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    kind = "version" if which.isdecimal() else "alias"
    with translate_errors(f"cannot look up {kind} '{which}' of {name}"):
        try:
            if which.isdecimal():
                return read_version(client, name, which)
            found = client.get_model_version_by_alias(name, which)
            return read_version(client, name, found.version)
        except MlflowException as error:
            no_alias = f"Registered model alias {which} not found"
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" and no_alias not in error.message:
                raise
            raise NoSuchVersionError(
                f"the registry {redact(client.tracking_uri)} has no model '{name}' with {kind} "
                f"'{which}': register or promote one first"
            ) from None


def read_version(client: MlflowClient, name: str, version: str | int) -> ModelVersion:
    """A version by its number.

    Raises:
        MlflowException: the registry does not answer, or has no such version.
    """
    found = client.get_model_version(name, str(version))
    return _model_version(found, found.aliases)


def describe(client: MlflowClient, name: str, which: str) -> dict[str, Any]:
    """A version in plain data: name, version, aliases, run, where it comes from and its scores.

    Raises:
        StreetsegError: the registry has no such version.
    """
    found = find(client, name, which)
    keys = ("data_version", "git_revision", "pipeline_run")
    with translate_errors(f"cannot read the run of {name} version {found.version}"):
        metrics = client.get_run(found.run_id).data.metrics
    return {
        "name": found.name,
        "version": found.version,
        "aliases": found.aliases,
        "run_id": found.run_id,
        **{key: found.tags.get(key) for key in keys},
        "metrics": {k: v for k, v in metrics.items() if k.startswith(("miou", "iou_"))},
    }


def download(uri: str, params: Registry | None = None, folder: Path | None = None) -> Path:
    """Bring the model artifact of a registered model to this machine.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        params: where the registry is; None means where the environment says.
        folder: to download to; None means one that goes when this process ends, or the store itself
            if it is here.

    Raises:
        StreetsegError: no such model, its files cannot be had, or streetseg did not make it.
    """
    import mlflow

    client = connect(params or Registry())
    found = find(client, *name_and_version(uri))
    name, version, exact = found.name, found.version, f"models:/{found.name}/{found.version}"
    with translate_errors(f"cannot download {uri}"):
        kept = client.get_model_version_download_uri(name, version)
        if not mlflow.artifacts.list_artifacts(artifact_uri=exact):
            raise StreetsegError(
                f"version {version} of {name} has lost its files: bring {kept} back from the "
                "backup, or register the model again"
            )
        if folder is None and urlsplit(kept).scheme not in ("", "file"):
            folder = Path(tempfile.mkdtemp(prefix="streetseg-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        there = mlflow.artifacts.download_artifacts(
            artifact_uri=exact, dst_path=str(folder) if folder else None
        )
    # under the name it had at registration
    folders = [config.parent for config in Path(there).glob("artifacts/*/config.json")]
    if len(folders) != 1:
        raise StreetsegError(
            f"version {version} of {name} is no streetseg model: it holds no model artifact; name "
            "a version that 'streetseg register' made, or promote one"
        )
    return folders[0]


def resolve_alias(model: str, params: Registry | None = None) -> str:
    """The same model by its version, which no promotion moves; a path as it is.

    Raises:
        StreetsegError: no such model in the registry.
    """
    if not model.startswith("models:/"):
        return model
    name, which = name_and_version(model)
    return f"models:/{name}/{find(connect(params or Registry()), name, which).version}"


def artifact_folder(model: str, params: Registry | None = None) -> Path:
    """The folder of a model artifact named as ``models:/...`` or by its path.

    Raises:
        StreetsegError: no such model in the registry.
    """
    return download(model, params) if model.startswith("models:/") else Path(model)


def version_of_alias(client: MlflowClient, name: str, alias: str) -> str | None:
    """The number of the version that an alias points at, if it does."""
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def _model_version(found: Any, aliases: list[str]) -> ModelVersion:
    return ModelVersion(
        found.name,
        str(found.version),
        found.run_id or "",
        sorted(aliases),
        dict(found.tags),
        datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )
