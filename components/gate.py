"""Components: the gate's verdict, and what a closed gate means for the run."""

from typing import NamedTuple

from kfp.dsl import Artifact, Input, Markdown, Output

from components import component


@component
def gate(evaluation: Input[Artifact], settings: dict, verdict: Output[Markdown]) -> NamedTuple(  # type: ignore[valid-type]
    "Outcome", [("passed", bool), ("reasons", list)]
):
    """Judge the scores; the verdict and its reasons are a page, whether the gate is open or closed.

    The run that trained the model keeps the verdict in MLflow.
    """
    from collections import namedtuple
    from pathlib import Path

    from components.artifacts import checked
    from components.runs.facts import tell
    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.evaluation.gate import judge
    from streetseg.evaluation.result import read_evaluation
    from streetseg.tracking.results import record_verdict

    params = Params.model_validate(settings)
    with exit_on_error():
        scored = read_evaluation(checked(evaluation))
        judgement = judge(scored, params.gate)
        record_verdict(params.registry, scored, judgement)
    Path(verdict.path).write_text(judgement.to_markdown())
    print(judgement.to_markdown())
    tell(
        gate="open" if judgement.passed else "closed",
        reasons=judgement.reasons,
        scores={name: round(score, 6) for name, score in scored.headline().items()},
        data_version=scored.data_version,
    )
    Outcome = namedtuple("Outcome", ["passed", "reasons"])
    return Outcome(judgement.passed, judgement.reasons)


@component
def report_closed_gate(reasons: list, settings: dict) -> None:
    """Say why nothing is registered, and fail the run if that was asked for."""
    import sys

    from streetseg.config.params import Params

    message = f"the gate is closed, nothing is registered: {'; '.join(reasons)}"
    print(message)
    if Params.model_validate(settings).gate.fail_on_gate:
        sys.exit(f"error: {message}")
