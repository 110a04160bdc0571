"""Registration of a model as a version."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streetseg
from streetseg.config.params import Params, Registry
from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import user
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.int8 import Int8, try_int8
from streetseg.evaluation.result import SCORES_FILE, Evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.artifact import REFERENCE, read_config, weights_sha256
from streetseg.inference.self_check import check_onnx, read_example
from streetseg.registry.model_card import CARD, describe_model, shorten
from streetseg.registry.versions import CHALLENGER, PIPELINE_RUN_ID, ModelVersion, read_version
from streetseg.tracking.prepared_run import kubeflow_run_url
from streetseg.tracking.results import evaluation_metrics
from streetseg.tracking.store import connect, translate_errors
from streetseg.tracking.training_runs import ORIGINAL_RUN, ensure_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run, model_registry

ABOUT = (
    "Street-scene segmentation networks, registered by streetseg. `challenger` is the version "
    "registered last, `champion` the one in service; the description of a version is its model "
    "card, and its tags lead to data version, git revision and run."
)
"""The description of a registered model that has none."""
PACKAGE = Path(streetseg.__file__).parent
INFERENCE_FILES = """
import sys
import streetseg.inference.segmenter
for name, module in sys.modules.items():
    if name.partition(".")[0] == "streetseg":
        print(module.__file__)
"""
"""Prints the files of this package that inference imports."""
REQUIREMENTS = (
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pydantic",
    "pyyaml",
    "rich",
)
"""Distributions that ``streetseg.inference`` imports; MLflow adds itself."""
RUN_TAGS = (
    "source",
    "source_name",
    "recipe",
    "architecture",
    "encoder",
    "frames_train",
    "max_frames",
    "frames_val",
    ORIGINAL_RUN,
)
"""Tags that a version takes over from its run."""


@dataclass(frozen=True)
class PipelineRun:
    """The Kubeflow run that registers a model; empty fields are not known."""

    name: str = ""
    """Its display name."""
    id: str = ""
    url: str = ""
    """Where Kubeflow's UI shows it."""


def register(
    artifact: Path,
    evaluation: Evaluation,
    verdict: Verdict,
    params: Params,
    pipeline_run: PipelineRun = PipelineRun(),
    dataset: PreparedDataset | None = None,
) -> ModelVersion:
    """Make a model artifact a version in the registry, with the alias ``challenger``.

    A model that is already registered stays as it is, aliases included, and its version is
    returned. If the store does not have the run that trained it (any more), one with its scores is
    opened in its place. A registration that broke off is completed.

    With ``registry.int8``, which needs the ``dataset`` of the evaluation, an int8 graph is made,
    scored and judged by the same gate. If it passes, the version carries it beside the float one;
    else the version says why not.

    Raises:
        StreetsegError: the gate is closed, the scores are another model's, the graph differs from
            the weights or cannot be quantized, or the registry does not answer or takes no files.
    """
    import mlflow

    if not verdict.passed:
        raise StreetsegError(f"the gate is closed: {'; '.join(verdict.reasons)}")
    config = read_config(artifact)
    name, run_id = params.registry.model_name, config["run_id"]
    if evaluation.run_id != run_id:
        raise StreetsegError(
            f"the evaluation is of run {evaluation.run_id}, the model in {artifact} of run "
            f"{run_id}: run 'streetseg evaluate' first"
        )
    evaluation.refuse_test()
    on_its_data = evaluation.data_version == config["data_version"]
    if not on_its_data:
        print(
            f"warning: the model was scored on data version {evaluation.data_version} and trained "
            f"on {config['data_version']}: the version says so by its tag scored_on, its run keeps "
            "its own scores",
            file=sys.stderr,
        )
    again = f"the model is kept in {artifact}: run 'streetseg register' again once this is fixed"
    client = connect(params.registry, create=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        translate_errors(f"cannot register {name}", again),
    ):
        versions = _versions_of(client, params.registry, run_id)
        if complete := [each.version for each in versions if each.description]:
            print(f"the model is already registered, as version {complete[0]}", file=sys.stderr)
            return read_version(client, name, complete[0])
        check_onnx(artifact)
        int8 = None
        if "int8" in versions[0].tags if versions else params.registry.int8:
            if dataset is None:
                raise StreetsegError(
                    "registry.int8 needs the prepared dataset, to calibrate and to score"
                )
            int8 = try_int8(artifact, dataset, evaluation, params, Path(scratch))
            print(int8.to_markdown())
        if not pipeline_run.url:  # asked before a run ends, which makes MLflow forget its variable
            pipeline_run = replace(pipeline_run, url=kubeflow_run_url(client))
        run = _scored_run(client, params.registry, evaluation, artifact)
        run_tags = run.data.tags
        card = describe_model(config, evaluation, verdict, run_tags, params.data.source, int8)
        if not versions:
            tags = _score_tags(artifact, evaluation, verdict, int8)
            for key, value in tags.items():
                if on_its_data:
                    client.set_tag(run.info.run_id, key, value)
            store = f"{run.info.artifact_uri} of {redact(client.tracking_uri)}"
            failure = f"cannot store files in {store}, nothing is registered"
            with translate_errors(failure, again):
                reference = evaluation.metrics.get("reference")
                model_uri = _log_files(client, run.info.run_id, artifact, reference, int8, card)
            origin = _origin_tags(config, evaluation, run_tags, pipeline_run)
            mlflow.register_model(model_uri, name, tags=origin | tags)
            versions = _versions_of(client, params.registry, run_id)
        return _complete(client, name, [each.version for each in versions], card)


def _versions_of(
    client: MlflowClient, registry: Registry, run_id: str
) -> list[model_registry.ModelVersion]:
    """Versions of the model that run ``run_id`` trained, whichever run records it."""
    return [
        version
        for origin in ("run_id", f"tags.{ORIGINAL_RUN}")
        for version in client.search_model_versions(
            f"name = '{registry.model_name}' and {origin} = '{run_id}'"
        )
    ]


def _scored_run(
    client: MlflowClient, registry: Registry, evaluation: Evaluation, artifact: Path
) -> Run:
    """The run that records the model; one opened in its place gets the scores."""
    run = client.get_run(ensure_run(client, registry, evaluation.run_id, artifact))
    run_id = run.info.run_id
    if (
        ORIGINAL_RUN in run.data.tags
        and not evaluation_metrics(evaluation).keys() <= run.data.metrics.keys()
    ):
        for name, value in evaluation_metrics(evaluation).items():
            client.log_metric(run_id, name, value)
        content = json.dumps(evaluation.to_dict(), indent=1)
        client.log_text(run_id, content, f"evaluation/{SCORES_FILE}")
    return run


def _score_tags(
    artifact: Path, evaluation: Evaluation, verdict: Verdict, int8: Int8 | None
) -> dict[str, str]:
    """Tags of both the version and its run."""
    scores = {"miou": evaluation.scores.miou, "miou_official": evaluation.scores.miou_official}
    return {
        **{name: f"{value:.4f}" for name, value in scores.items() if not math.isnan(value)},
        **verdict.tags(),
        **(int8.tags() if int8 else {}),
        "weights_sha256": weights_sha256(artifact),
    }


def _origin_tags(
    config: Mapping[str, Any],
    evaluation: Evaluation,
    run_tags: Mapping[str, str],
    pipeline_run: PipelineRun,
) -> dict[str, str]:
    return {key: run_tags[key] for key in RUN_TAGS if key in run_tags} | {
        "data_version": config["data_version"],
        "scored_on": evaluation.data_version,
        "git_revision": config["git_revision"],
        "pipeline_run": pipeline_run.name,
        **({PIPELINE_RUN_ID: pipeline_run.id} if pipeline_run.id else {}),
        **({"pipeline_run_url": pipeline_run.url} if pipeline_run.url else {}),
        "settings": json.dumps(config["params"]["model"] | config["params"]["train"]),
        "registered_by": user(),
    }


def _log_files(
    client: MlflowClient,
    run_id: str,
    artifact: Path,
    reference: Mapping[str, Any] | None,
    int8: Int8 | None,
    card: str,
) -> str:
    """Log the card, the int8 evaluation and the model in the run; returns the model's URI."""
    import mlflow

    client.log_text(run_id, card, CARD)
    if int8:
        client.log_artifacts(run_id, str(int8.evaluation), int8.evaluation.name)
    with mlflow.start_run(run_id=run_id):
        return log_model(int8.artifact if int8 and int8.verdict.passed else artifact, reference)


def _complete(client: MlflowClient, name: str, versions: list[str], card: str) -> ModelVersion:
    """Give the version its alias and description; delete the duplicates of a repeated request."""
    version, *duplicates = sorted(versions, key=int)
    for duplicate in duplicates:
        client.delete_model_version(name, duplicate)
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, ABOUT)
    client.set_registered_model_alias(name, CHALLENGER, version)
    # The description comes last: it marks a complete version.
    client.update_model_version(name, version, shorten(card))
    return read_version(client, name, version)


def log_model(artifact: Path, reference: Mapping[str, Any] | None) -> str:
    """Log the artifact, with its drift reference, in the active run; returns the model's URI.

    The model carries this package and names what its inference needs, so MLflow can run it where
    streetseg is not installed.
    """
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
        copy = Path(shutil.copytree(artifact, Path(scratch) / artifact.resolve().name))
        if reference:
            (copy / REFERENCE).write_text(json.dumps(reference, indent=1) + "\n")
        code = _copy_inference(Path(scratch) / "code")
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=Path(__file__).with_name("pyfunc_model.py"),
            artifacts={"model": str(copy)},
            signature=signature,
            input_example=read_example(artifact)[None],
            code_paths=[str(code)],
            pip_requirements=_requirements(),
        )
    return logged.model_uri


def _copy_inference(folder: Path) -> Path:
    """Copy the modules that inference imports into a folder; returns their package.

    A version has few files, because an artifact store takes a request for each.
    """
    command = [sys.executable, "-c", INFERENCE_FILES]
    listed = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=PACKAGE.parent
    ).stdout
    for path in map(Path, listed.splitlines()):
        copy = folder / path.relative_to(PACKAGE.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return folder / PACKAGE.name


def _requirements() -> list[str]:
    """``REQUIREMENTS`` with the installed versions."""
    pinned = []
    for name in REQUIREMENTS:
        try:
            pinned.append(f"{name}=={metadata.version(name).partition('+')[0]}")
        except metadata.PackageNotFoundError:  # of another name: onnxruntime-gpu
            pinned.append(name)
    return pinned
