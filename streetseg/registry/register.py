"""Making a model a version of the registry."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streetseg.config.params import Params
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import user
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.gate import FrameCounts
from streetseg.evaluation.int8 import Int8, try_int8
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.artifact import REFERENCE, read_config, weights_sha256
from streetseg.inference.self_check import check_onnx, read_example
from streetseg.registry.model_card import CARD, describe_model, shorten
from streetseg.registry.versions import CHALLENGER, ModelVersion, read_version
from streetseg.tracking.store import connect, translate_errors

OF_THE_RUN = ("source", "recipe", "architecture", "encoder", "frames_train", "frames_val")
"""Tags that a version takes over from its run."""


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
    client = connect(params.registry)
    with (
        tempfile.TemporaryDirectory() as scratch,
        translate_errors(f"cannot register {name}", f"{again} answers"),
    ):
        of_this_run = f"name = '{name}' and run_id = '{run_id}'"
        known = client.search_model_versions(of_this_run)
        if whole := [each.version for each in known if each.description]:
            return read_version(client, name, whole[0])
        check_onnx(artifact)
        wants_int8 = "int8" in known[0].tags if known else params.registry.int8
        int8 = None
        if wants_int8:
            int8 = _int8(artifact, dataset, evaluation, frames, params, Path(scratch))
        run = client.get_run(run_id)
        origin, store = run.data.tags, f"{run.info.artifact_uri} of {redact(client.tracking_uri)}"
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
            with translate_errors(full, f"{again} and its store take them"):
                client.log_text(run_id, card, CARD)
                if int8:
                    client.log_artifacts(run_id, str(int8.evaluation), int8.evaluation.name)
                with mlflow.start_run(run_id=run_id):
                    carried = int8.artifact if int8 and int8.verdict.passed else artifact
                    model_uri = log_model(carried, evaluation.get("reference"))
            mlflow.register_model(model_uri, name, tags=tags)
            known = client.search_model_versions(of_this_run)
        # MLflow's client repeats a request whose answer was lost: then there are two.
        version, *twins = sorted((each.version for each in known), key=int)
        for twin in twins:
            client.delete_model_version(name, twin)
        client.set_registered_model_alias(name, CHALLENGER, version)
        client.update_model_version(name, version, shorten(card))  # last: it marks a whole version
        return read_version(client, name, version)


def _int8(
    artifact: Path,
    dataset: PreparedDataset | None,
    evaluation: Mapping[str, Any],
    frames: FrameCounts | None,
    params: Params,
    scratch: Path,
) -> Int8:
    if dataset is None:
        raise StreetsegError("registry.int8 needs the prepared dataset, to calibrate and to score")
    found = try_int8(artifact, dataset, evaluation, frames, params, scratch)
    print(found.to_markdown())
    return found


def log_model(artifact: Path, reference: Mapping[str, Any] | None) -> str:
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
            python_model=Path(__file__).with_name("pyfunc_model.py"),
            artifacts={"model": str(whole)},
            signature=signature,
            input_example=read_example(artifact)[None],
            pip_requirements=["streetseg"],
        )
    return logged.model_uri
