"""The model registry: its versions, their aliases, and their files.

A version is registered as ``challenger``. ``champion`` is what services answer with; only a
promotion moves it. ``previous`` is the champion before it, to roll back to.
"""

from __future__ import annotations

import atexit
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from streetseg.config.params import Registry
from streetseg.config.renamed import with_current_names
from streetseg.core.credentials import redact
from streetseg.core.errors import NoSuchVersionError, StreetsegError, did_you_mean
from streetseg.registry.sqlite import Row, read_versions
from streetseg.tracking.store import connect, is_reference, split_uri, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import model_registry

LOGGED_MODEL = re.compile(r"m-[0-9a-f]{32}")
PIPELINE_RUN_ID = "pipeline_run_id"
"""Tag of a version: the id of the Kubeflow run that registered it."""
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry."""

    name: str
    version: str
    run_id: str
    aliases: list[str]
    tags: dict[str, str]
    """``settings`` is JSON with today's names."""
    registered: datetime
    """In UTC."""

    @property
    def uri(self) -> str:
        """``models:/<name>/<version>``, which no promotion moves."""
        return f"models:/{self.name}/{self.version}"

    @property
    def title(self) -> str:
        """Its number and aliases, such as ``3 (champion)``."""
        return f"{self.version} ({', '.join(self.aliases)})" if self.aliases else self.version

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "registered": self.registered.isoformat(timespec="seconds")}


def versions(params: Registry) -> list[ModelVersion]:
    """All versions of the model, the newest first.

    Raises:
        StreetsegError: the registry does not answer, or holds no such model.
    """
    registered = [_model_version(row, row.aliases) for row in read_versions(params)]
    if not registered:
        client, name = connect(params), params.model_name
        with translate_errors(f"cannot list the versions of {name}"):
            registered = search(client, f"name = '{name}'")
        if not registered:
            raise no_model(client, name)
    return sorted(registered, key=lambda each: int(each.version), reverse=True)


def no_model(client: MlflowClient, name: str) -> NoSuchVersionError:
    """The error for a registered model that does not exist."""
    advice = "run 'streetseg register' first, or set MLFLOW_TRACKING_URI or registry.model_name"
    return NoSuchVersionError(
        f"the registry {redact(client.tracking_uri)} has no model '{name}': "
        f"{did_you_mean(name, _model_names(client), advice)}"
    )


def _model_names(client: MlflowClient) -> list[str]:
    """The first registered models by name, for a hint; none if the registry does not tell."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        return [model.name for model in client.search_registered_models()]
    return []


def search(client: MlflowClient, filter_string: str) -> list[ModelVersion]:
    """Versions of any model that match a filter in MLflow's syntax, the newest first.

    Raises:
        MlflowException: the registry does not answer, or does not understand the filter.
    """
    matching: list[ModelVersion] = []
    aliases: dict[str, dict[str, str]] = {}
    token = None
    while True:
        page = client.search_model_versions(filter_string, page_token=token)
        for entry in page:  # without its aliases
            if entry.name not in aliases:
                aliases[entry.name] = client.get_registered_model(entry.name).aliases
            own = [
                alias for alias, at in aliases[entry.name].items() if str(at) == str(entry.version)
            ]
            matching.append(_model_version(entry, own))
        token = page.token
        if not token:
            return sorted(matching, key=lambda version: version.registered, reverse=True)


def find_uri(client: MlflowClient, uri: str) -> ModelVersion:
    """Look up the version that a reference names.

    It is ``models:/<name>/<version>``, ``models:/<name>@<alias>``, ``models:/<name>/latest`` (the
    highest number), or ``models:/m-<id>``, the logged model that was registered.

    Raises:
        NoSuchVersionError: the registry has no such version.
        StreetsegError: it is another kind of reference, or the registry does not answer.
    """
    name, separator, which = split_uri(uri)
    if separator:
        return find(client, name, which, by_alias=separator == "@")
    if not LOGGED_MODEL.fullmatch(which):
        raise StreetsegError(
            f"'{uri}' names no version: write models:/{which}@champion, models:/{which}/3 or "
            f"models:/{which}/latest"
        )
    with translate_errors(f"cannot look up {uri}"):
        registered = search(client, f"source_path = '{uri}'")
    if not registered:
        raise NoSuchVersionError(
            f"the registry {redact(client.tracking_uri)} has no version of '{uri}': name one that "
            "'streetseg list' shows, models:/NAME/VERSION"
        )
    return registered[-1]


def find(client: MlflowClient, name: str, which: str, by_alias: bool = False) -> ModelVersion:
    """Look up a version by number or alias, in one request.

    A number is a version, not an alias of digits, unless ``by_alias``.

    Raises:
        NoSuchVersionError: the registry has no such version.
        StreetsegError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    is_number = which.isdecimal() and not by_alias
    kind = "version" if is_number else "alias"
    with translate_errors(f"cannot look up {kind} '{which}' of {name}"):
        try:
            if is_number:
                return read_version(client, name, which)
            entry = client.get_model_version_by_alias(name, which)
            return _model_version(entry, entry.aliases)
        except MlflowException as error:
            no_alias = f"Registered model alias {which} not found"
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" and no_alias not in error.message:
                raise
            hint = "register or promote one first"
            known = [name] if no_alias in error.message else _model_names(client)
            if name not in known:
                hint = did_you_mean(name, known, hint)
            raise NoSuchVersionError(
                f"the registry {redact(client.tracking_uri)} has no model '{name}' with {kind} "
                f"'{which}': {hint}"
            ) from None


def champion(params: Registry) -> ModelVersion:
    """The version that services answer with; from an SQLite file without importing MLflow.

    Raises:
        NoSuchVersionError: there is none.
        StreetsegError: the registry does not answer.
    """
    for row in read_versions(params):
        if CHAMPION in row.aliases:
            return _model_version(row, row.aliases)
    return find(connect(params), params.model_name, CHAMPION)


def read_version(client: MlflowClient, name: str, version: str | int) -> ModelVersion:
    """A version by its number.

    Raises:
        MlflowException: the registry does not answer, or has no such version.
    """
    entry = client.get_model_version(name, str(version))
    return _model_version(entry, entry.aliases)


def download(uri: str, params: Registry | None = None, folder: Path | None = None) -> Path:
    """Bring the model artifact of a registered model to this machine.

    ``uri`` is as in :func:`find_uri`. Without ``params`` the environment names the registry.
    ``folder`` is as in :func:`download_version`.

    Raises:
        StreetsegError: no such model, its files cannot be downloaded, or streetseg did not make it.
    """
    client = connect(params or Registry())
    return download_version(client, find_uri(client, uri), folder)


def download_version(
    client: MlflowClient, version: ModelVersion, folder: Path | None = None
) -> Path:
    """Bring the model artifact of a version to this machine.

    Without a ``folder`` it goes to a temporary one, removed when this process ends; a store on this
    machine is used in place.

    Raises:
        StreetsegError: its files cannot be downloaded, or streetseg did not make it.
    """
    from mlflow.artifacts import download_artifacts, list_artifacts

    with translate_errors(f"cannot download {version.uri}"):
        stored = client.get_model_version_download_uri(version.name, version.version)
        if not list_artifacts(artifact_uri=stored):
            raise StreetsegError(
                f"version {version.version} of {version.name} has lost its files: bring {stored} "
                "back from the backup, or register the model again"
            )
        if folder is None and urlsplit(stored).scheme not in ("", "file"):
            folder = Path(tempfile.mkdtemp(prefix="streetseg-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        files = download_artifacts(artifact_uri=stored, dst_path=str(folder) if folder else None)
    # The artifact's folder has the name it had at registration.
    artifacts = [config.parent for config in Path(files).glob("artifacts/*/config.json")]
    if len(artifacts) != 1:
        raise StreetsegError(
            f"version {version.version} of {version.name} is no streetseg model: it holds no model "
            "artifact; name a version that 'streetseg register' made, or promote one"
        )
    return artifacts[0]


def locate(model: str, params: Registry | None = None) -> tuple[str, Path]:
    """The exact name of a model, ``models:/<name>/<version>``, and the folder of its artifact.

    A path is its own name. Without ``params`` the environment names the registry.

    Raises:
        StreetsegError: no such model in the registry, or a reference that names no version.
    """
    if not is_reference(model):
        return model, Path(model)
    client = connect(params or Registry())
    version = find_uri(client, model)
    return version.uri, download_version(client, version)


def describe(artifact: Path, uri: str = "") -> dict[str, Any]:
    """Which model an artifact is: name, version, run_id, data_version and weights_sha256.

    ``uri`` is as :func:`locate` returns it; by default the folder, which has no version.
    """
    from streetseg.inference.artifact import read_config, weights_sha256

    name, version = uri or str(artifact), None
    if is_reference(name):
        name, _, version = split_uri(name)
    info = read_config(artifact)
    return {
        "name": name,
        "version": version,
        "run_id": info["run_id"],
        "data_version": info["data_version"],
        "weights_sha256": weights_sha256(artifact),
    }


def model_title(model: Mapping[str, Any]) -> str:
    """Name and version of what :func:`describe` tells, as ``street-segmenter version 3``."""
    version = f" version {model['version']}" if model["version"] else ""
    return f"{model['name']}{version}"


def resolve_alias(model: str, params: Registry) -> str:
    """``models:/<name>/<version>`` of a model, which no promotion moves; a path as it is.

    Raises:
        StreetsegError: no such model in the registry.
    """
    if not is_reference(model):
        return model
    return find_uri(connect(params), model).uri


def _model_version(entry: model_registry.ModelVersion | Row, aliases: list[str]) -> ModelVersion:
    tags = dict(entry.tags)
    if "settings" in tags:
        with suppress(ValueError, AttributeError):  # somebody edited it
            tags["settings"] = json.dumps(with_current_names(json.loads(tags["settings"]), "train"))
    return ModelVersion(
        entry.name,
        str(entry.version),
        entry.run_id or "",
        sorted(aliases),
        tags,
        datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
    )
