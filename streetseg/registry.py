"""The model registry: the one place that talks to MLflow's.

A version is registered as ``challenger``. ``champion`` is what is served and moves only when it is
promoted; ``previous`` is the champion before, for the way back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.artifact import check_onnx, read_config, read_example
from streetseg.config import Params, Registry
from streetseg.errors import StreetsegError
from streetseg.tracking import clear_errors, connect
from streetseg.verdict import Verdict

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


def register(
    artifact: Path,
    evaluation: Mapping[str, Any],
    verdict: Verdict,
    params: Params,
    pipeline_run: str = "",
) -> ModelVersion:
    """Make a model artifact a version in the registry, with the alias ``challenger``.

    A model that is already registered is not registered again: its version is returned.

    Args:
        artifact: the model.
        evaluation: its scores (the content of ``evaluation.json``).
        verdict: the gate's.
        params: the recipe.
        pipeline_run: name of the pipeline run, if any.

    Raises:
        StreetsegError: the gate is closed, the ONNX graph differs from the weights, or the
            registry does not answer.
    """
    import mlflow

    if not verdict.passed:
        raise StreetsegError(f"the gate is closed: {'; '.join(verdict.reasons)}")
    config = read_config(artifact)
    name, run_id = params.registry.model_name, config["run_id"]
    client = connect(params.registry)
    with clear_errors(f"cannot register {name}"):
        known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        if known:
            return _describe(client, name, known[0].version)
        check_onnx(artifact)
        tags = {
            "data_version": evaluation["data_version"],
            "git_revision": config["git_revision"],
            "pipeline_run": pipeline_run,
            "recipe": json.dumps(config["params"]["model"] | config["params"]["train"]),
            "miou": str(evaluation["miou"]),
            "miou_official": str(evaluation["miou_official"]),
            "gate": "passed",
        }
        with mlflow.start_run(run_id=run_id):
            model_uri = _log_model(artifact)
        created = mlflow.register_model(model_uri, name, tags=tags)
        client.update_model_version(name, created.version, _card(evaluation, verdict))
        client.set_registered_model_alias(name, CHALLENGER, created.version)
        return _describe(client, name, created.version)


def promote(params: Registry, version: str | None = None) -> ModelVersion:
    """Make a version the champion; the champion until now becomes ``previous``.

    Args:
        params: which model, where.
        version: its number; None means the challenger.

    Raises:
        StreetsegError: no such version.
    """
    client, name = connect(params), params.model_name
    chosen = find(client, name, version or CHALLENGER)
    with clear_errors(f"cannot promote {name}"):
        if CHAMPION not in chosen.aliases:
            champion = _version_of_alias(client, name, CHAMPION)
            if champion:
                client.set_registered_model_alias(name, PREVIOUS, champion)
            client.set_registered_model_alias(name, CHAMPION, chosen.version)
        return _describe(client, name, chosen.version)


def rollback(params: Registry) -> ModelVersion:
    """Make the previous champion the champion again, and the champion ``previous``.

    Raises:
        StreetsegError: there was no champion before this one.
    """
    client, name = connect(params), params.model_name
    return promote(params, find(client, name, PREVIOUS).version)


def find(client: MlflowClient, name: str, which: str) -> ModelVersion:
    """Look up a version by number or alias.

    Raises:
        StreetsegError: the registry has no such version.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        if which.isdecimal():
            return _describe(client, name, client.get_model_version(name, which).version)
        return _describe(client, name, client.get_model_version_by_alias(name, which).version)
    except MlflowException:
        kind = "version" if which.isdecimal() else "alias"
        raise StreetsegError(
            f"the registry {mlflow.get_tracking_uri()} has no model '{name}' with {kind} "
            f"'{which}': register or promote one first"
        ) from None


def describe(client: MlflowClient, name: str, which: str) -> dict[str, Any]:
    """A version in plain data: name, version, aliases, run, where it comes from and its scores.

    Raises:
        StreetsegError: the registry has no such version.
    """
    found = find(client, name, which)
    keys = ("data_version", "git_revision", "pipeline_run")
    with clear_errors(f"cannot read the run of {name} version {found.version}"):
        metrics = client.get_run(found.run_id).data.metrics
    return {
        "name": found.name,
        "version": found.version,
        "aliases": found.aliases,
        "run_id": found.run_id,
        **{key: found.tags.get(key) for key in keys},
        "metrics": {k: v for k, v in metrics.items() if k.startswith(("miou", "iou_"))},
    }


def download(uri: str, params: Registry | None = None) -> Path:
    """Bring the model artifact of a registered model to this machine.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        params: where the registry is; None means where the environment says.

    Raises:
        StreetsegError: no such model, or its files cannot be had.
    """
    import mlflow

    exact = pinned(uri, params)
    with clear_errors(f"cannot download {uri}"):
        folder = mlflow.artifacts.download_artifacts(artifact_uri=exact)
    (artifact,) = (Path(folder) / "artifacts").iterdir()  # under the name it had at registration
    return artifact


def pinned(model: str, params: Registry | None = None) -> str:
    """The same model by its version, which no promotion moves; a path as it is.

    Raises:
        StreetsegError: no such model in the registry.
    """
    if not model.startswith("models:/"):
        return model
    name, _, which = model.removeprefix("models:/").replace("@", "/").rpartition("/")
    return f"models:/{name}/{find(connect(params or Registry()), name, which).version}"


def artifact_folder(model: str, params: Registry | None = None) -> Path:
    """The folder of a model artifact named as ``models:/...`` or by its path.

    Raises:
        StreetsegError: no such model in the registry.
    """
    return download(model, params) if model.startswith("models:/") else Path(model)


def _log_model(artifact: Path) -> str:
    """Log the artifact in the active run; returns the URI of the logged model."""
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    pixels = np.dtype(np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(pixels, (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(pixels, (-1, -1, -1))]),
    )
    logged = mlflow.pyfunc.log_model(
        name="model",
        python_model=Path(__file__).with_name("mlflow_model.py"),
        artifacts={"model": str(artifact)},
        signature=signature,
        input_example=read_example(artifact)[None],
        pip_requirements=["streetseg"],
    )
    return logged.model_uri


def _card(evaluation: Mapping[str, Any], verdict: Verdict) -> str:
    lines = [f"- {name}: IoU {value}" for name, value in evaluation["iou"].items()]
    return (
        f"Mean IoU {evaluation['miou']} over {len(lines)} categories; official category score "
        f"{evaluation['miou_official']}; on the split {evaluation['split']} of data version "
        f"{evaluation['data_version']}.\n\n" + "\n".join(lines) + "\n\nGate: "
        f"{'; '.join(verdict.reasons)}"
    )


def _version_of_alias(client: MlflowClient, name: str, alias: str) -> str | None:
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def _describe(client: MlflowClient, name: str, version: str | int) -> ModelVersion:
    found = client.get_model_version(name, str(version))
    return ModelVersion(
        name, str(found.version), found.run_id or "", sorted(found.aliases), dict(found.tags)
    )
