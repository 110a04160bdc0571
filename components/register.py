"""Component: make a model a version in the registry."""

from kfp.dsl import Artifact, Input, Model

from components import component


@component
def register(
    model: Input[Model],
    evaluation: Input[Artifact],
    judged: str,
    settings: dict,
    pipeline_run: str,
) -> str:
    """Register a model that passed the gate as challenger; returns its version.

    With ``registry.auto_promote`` it becomes the champion at once, so that services answer with it;
    but not if the champion is no longer the one it was compared with: then it stays challenger.
    With ``registry.int8`` the data version of the evaluation is fetched, which nothing else here
    needs.
    """
    import json
    import tempfile
    from pathlib import Path

    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.data.versions import fetch
    from streetseg.evaluation.gate import read_evaluation
    from streetseg.evaluation.verdict import Verdict
    from streetseg.registry.promotion import ChampionMovedError, judged_against, promote
    from streetseg.registry.register import register as register_model

    params = Params.model_validate(settings)
    with exit_on_error(), tempfile.TemporaryDirectory() as scratch:
        scores, frames = read_evaluation(Path(evaluation.path))
        dataset = None
        if params.registry.int8:
            folder = Path(scratch) / "prepared"
            dataset = PreparedDataset(fetch(scores["data_version"], params.data.remote, folder))
        verdict = Verdict.from_dict(json.loads(judged))
        registered = register_model(
            Path(model.path), scores, verdict, params, pipeline_run, dataset=dataset, frames=frames
        )
        if params.registry.auto_promote:
            reason = f"auto_promote of pipeline run {pipeline_run}"
            over = judged_against(scores, verdict)
            try:
                promote(params.registry, registered.version, reason, over=over)
            except ChampionMovedError as moved:
                print(f"not promoted, the version stays challenger: {moved}")
    return registered.version
