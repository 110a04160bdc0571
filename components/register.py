"""Component: make a model a version in the registry."""

from typing import NamedTuple

from kfp.dsl import Artifact, Input, Model

from components import component


@component
def register(
    model: Input[Model],
    evaluation: Input[Artifact],
    settings: dict,
    pipeline_run: str,
    pipeline_run_id: str,
) -> NamedTuple(  # type: ignore[valid-type]
    "Registration", [("version", str), ("outcome", str)]
):
    """Register a model that passes the gate as challenger; returns its version and what was done.

    The verdict follows from the evaluation: it is the one of the step ``evaluate``. If the gate is
    closed, nothing is registered: the version is empty, and the outcome says why. With
    ``registry.auto_promote`` the version becomes the champion at once, so that services answer with
    it; if the champion is no longer the one it was compared with, it stays challenger. With
    ``registry.int8`` the data version of the evaluation is fetched, which nothing else here needs.
    """
    import os
    import tempfile
    from collections import namedtuple
    from pathlib import Path

    from components.artifacts import checked
    from components.runs.facts import tell
    from streetseg.config.params import read_settings
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.data.versions import fetch
    from streetseg.evaluation.gate import judge
    from streetseg.evaluation.result import read_evaluation
    from streetseg.registry.promotion import ChampionMovedError, judged_against, promote
    from streetseg.registry.register import PipelineRun
    from streetseg.registry.register import register as register_model

    Registration = namedtuple("Registration", ["version", "outcome"])
    ui = os.environ.get("STREETSEG_KFP_UI")
    url = f"{ui.rstrip('/')}/#/runs/details/{pipeline_run_id}" if ui else ""
    origin = PipelineRun(pipeline_run, pipeline_run_id, url)
    with exit_on_error(), tempfile.TemporaryDirectory() as scratch:
        params = read_settings(settings)
        trained = checked(model)
        scored = read_evaluation(checked(evaluation))
        verdict = judge(scored, params.gate)
        if not verdict.passed:
            outcome = f"not registered, the gate is closed: {'; '.join(verdict.reasons)}"
            print(outcome)
            return Registration("", outcome)
        dataset = None
        if params.registry.int8:
            folder = Path(scratch) / "prepared"
            dataset = PreparedDataset(fetch(scored.data_version, params.data.remote, folder))
        registered = register_model(trained, scored, verdict, params, origin, dataset)
        tell(version=f"{params.registry.model_name} {registered.version}")
        alias = "challenger"
        if params.registry.auto_promote:
            reason = f"auto_promote of pipeline run {pipeline_run}"
            over = judged_against(scored, verdict)
            try:
                promote(params.registry, registered.version, reason, over=over)
                alias = "champion"
            except ChampionMovedError as error:
                print(f"not promoted, the version stays challenger: {error}")
    outcome = f"{params.registry.model_name} version {registered.version} is {alias}"
    return Registration(registered.version, outcome)
