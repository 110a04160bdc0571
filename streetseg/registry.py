"""The model registry: its versions, where they come from, and their files.

A version is registered as ``challenger``. ``champion`` is what is served and moves only when it is
promoted; ``previous`` is the champion before, for the way back (:mod:`streetseg.promotion`).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetseg.artifact import REFERENCE, check_onnx, read_config, read_example, weights_sha256
from streetseg.card import CARD, describe_model, shorten
from streetseg.config import Params, Registry
from streetseg.credentials import masked
from streetseg.errors import NoSuchVersionError, StreetsegError
from streetseg.provenance import user
from streetseg.tracking import clear_errors, connect
from streetseg.verdict import Verdict

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from streetseg.dataset import PreparedDataset
    from streetseg.gate import FrameCounts
    from streetseg.int8 import Int8

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"

OF_THE_RUN = ("source", "recipe", "architecture", "encoder", "frames_train", "frames_val")
"""Tags that a version takes over from its run."""


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

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "registered": self.registered.isoformat(timespec="seconds")}


def register(
    artifact: Path,
    evaluation: Mapping[str, Any],
    verdict: Verdict,
    params: Params,
    pipeline_run: str = "",
    *,
    dataset: PreparedDataset | None = None,
    frames: FrameCounts | None = None,
) -> ModelVersion:
    """Make a model artifact a version in the registry, with the alias ``challenger``.

    A model that is already registered is not registered again: its version is returned, and made
    whole first if an earlier attempt broke off.

    With ``registry.int8`` an int8 graph is made as well, scored, and judged by the same gate. If it
    passes, the version carries it beside the float one; else the version says why not.

    Args:
        artifact: the model.
        evaluation: its scores (the content of ``evaluation.json``).
        verdict: the gate's.
        params: the recipe.
        pipeline_run: name of the pipeline run, if any.
        dataset: what the model was scored on; ``registry.int8`` needs it.
        frames: the counts of model and champion, which ``registry.int8`` needs if one was scored.

    Raises:
        StreetsegError: the gate is closed, the scores are another model's, the ONNX graph differs
            from the weights or cannot be quantized, or the registry does not answer or takes no
            files.
    """
    import mlflow

    if not verdict.passed:
        raise StreetsegError(f"the gate is closed: {'; '.join(verdict.reasons)}")
    config = read_config(artifact)
    name, run_id = params.registry.model_name, config["run_id"]
    if evaluation["run_id"] != run_id:
        raise StreetsegError(
            f"the evaluation is of run {evaluation['run_id']}, the model in {artifact} of run "
            f"{run_id}: run 'streetseg evaluate' first"
        )
    again = f"the model is kept in {artifact}: run 'streetseg register' again once the server"
    client = connect(params.registry, f"{again} answers, or set MLFLOW_TRACKING_URI")
    with (
        tempfile.TemporaryDirectory() as scratch,
        clear_errors(f"cannot register {name}", f"{again} answers"),
    ):
        of_this_run = f"name = '{name}' and run_id = '{run_id}'"
        known = client.search_model_versions(of_this_run)
        if whole := [each.version for each in known if each.description]:
            return _describe(client, name, whole[0])
        check_onnx(artifact)
        int8 = None
        if "int8" in known[0].tags if known else params.registry.int8:
            int8 = _int8(artifact, dataset, evaluation, frames, params, Path(scratch))
        run = client.get_run(run_id)
        origin, store = run.data.tags, f"{run.info.artifact_uri} of {masked(client.tracking_uri)}"
        scores = {name: evaluation[name] for name in ("miou", "miou_official")}
        found = {
            **{name: f"{value:.4f}" for name, value in scores.items() if value is not None},
            **verdict.tags(),
            **(int8.tags() if int8 else {}),
            "weights_sha256": weights_sha256(artifact),
        }
        tags = {key: origin[key] for key in OF_THE_RUN if key in origin} | {
            "data_version": config["data_version"],
            "scored_on": evaluation["data_version"],
            "git_revision": config["git_revision"],
            "pipeline_run": pipeline_run,
            "settings": json.dumps(config["params"]["model"] | config["params"]["train"]),
            "registered_by": user(),
            **found,
        }
        card = describe_model(config, evaluation, verdict, origin, params.data.source, int8)
        if not known:
            for key, value in found.items():
                client.set_tag(run_id, key, value)
            full = f"cannot store files in {store}, nothing is registered"
            with clear_errors(full, f"{again} and its store take them"):
                client.log_text(run_id, card, CARD)
                if int8:
                    client.log_artifacts(run_id, str(int8.evaluation), int8.evaluation.name)
                with mlflow.start_run(run_id=run_id):
                    carried = int8.artifact if int8 and int8.verdict.passed else artifact
                    model_uri = _log_model(carried, evaluation.get("reference"))
            mlflow.register_model(model_uri, name, tags=tags)
            known = client.search_model_versions(of_this_run)
        # MLflow's client repeats a request whose answer was lost: then there are two.
        version, *twins = sorted((each.version for each in known), key=int)
        for twin in twins:
            client.delete_model_version(name, twin)
        client.set_registered_model_alias(name, CHALLENGER, version)
        client.update_model_version(name, version, shorten(card))  # last: it marks a whole version
        return _describe(client, name, version)


def versions(params: Registry) -> list[ModelVersion]:
    """All versions of the model, the newest first.

    Raises:
        StreetsegError: the registry does not answer, or holds no such model.
    """
    client, name = connect(params), params.model_name
    with clear_errors(f"cannot list the versions of {name}"):
        known = search(client, f"name = '{name}'")
    if not known:
        raise StreetsegError(
            f"the registry {masked(client.tracking_uri)} has no model '{name}': run "
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
    with clear_errors(f"cannot look up {kind} '{which}' of {name}"):
        try:
            if which.isdecimal():
                return _describe(client, name, which)
            return _describe(client, name, client.get_model_version_by_alias(name, which).version)
        except MlflowException as error:
            no_alias = f"Registered model alias {which} not found"
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" and no_alias not in error.message:
                raise
            raise NoSuchVersionError(
                f"the registry {masked(client.tracking_uri)} has no model '{name}' with {kind} "
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


def download(uri: str, params: Registry | None = None, folder: Path | None = None) -> Path:
    """Bring the model artifact of a registered model to this machine.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        params: where the registry is; None means where the environment says.
        folder: to download to; None means a temporary one, or the store itself if it is here.

    Raises:
        StreetsegError: no such model, its files cannot be had, or streetseg did not make it.
    """
    import mlflow

    exact = pinned(uri, params)
    name, _, version = exact.removeprefix("models:/").rpartition("/")
    with clear_errors(f"cannot download {uri}"):
        if not mlflow.artifacts.list_artifacts(artifact_uri=exact):
            kept = connect(params or Registry()).get_model_version_download_uri(name, version)
            raise StreetsegError(
                f"version {version} of {name} has lost its files: bring {kept} back from the "
                "backup, or register the model again"
            )
        there = mlflow.artifacts.download_artifacts(
            artifact_uri=exact, dst_path=str(folder) if folder else None
        )
    # under the name it had at registration
    found = [config.parent for config in Path(there).glob("artifacts/*/config.json")]
    if len(found) != 1:
        raise StreetsegError(
            f"version {version} of {name} is no streetseg model: it holds no model artifact; name "
            "a version that 'streetseg register' made, or promote one"
        )
    return found[0]


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


def _int8(
    artifact: Path,
    dataset: PreparedDataset | None,
    evaluation: Mapping[str, Any],
    frames: FrameCounts | None,
    params: Params,
    scratch: Path,
) -> Int8:
    from streetseg.int8 import try_int8

    if dataset is None:
        raise StreetsegError("registry.int8 needs the prepared dataset, to calibrate and to score")
    found = try_int8(artifact, dataset, evaluation, frames, params, scratch)
    print(found.to_markdown())
    return found


def _log_model(artifact: Path, reference: Mapping[str, Any] | None) -> str:
    """Log the artifact, with its reference, in the active run; returns the URI of the model."""
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    pixels = np.dtype(np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(pixels, (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(pixels, (-1, -1, -1))]),
    )
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(shutil.copytree(artifact, Path(scratch) / artifact.resolve().name))
        if reference:
            (whole / REFERENCE).write_text(json.dumps(reference, indent=1) + "\n")
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=Path(__file__).with_name("mlflow_model.py"),
            artifacts={"model": str(whole)},
            signature=signature,
            input_example=read_example(artifact)[None],
            pip_requirements=["streetseg"],
        )
    return logged.model_uri


def version_of_alias(client: MlflowClient, name: str, alias: str) -> str | None:
    """The number of the version that an alias points at, if it does."""
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def _describe(client: MlflowClient, name: str, version: str | int) -> ModelVersion:
    found = client.get_model_version(name, str(version))
    return _model_version(found, found.aliases)


def _model_version(found: Any, aliases: list[str]) -> ModelVersion:
    return ModelVersion(
        found.name,
        str(found.version),
        found.run_id or "",
        sorted(aliases),
        dict(found.tags),
        datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )
