"""Components: the gate's verdict, and what a closed gate means for the run."""

from typing import NamedTuple

from kfp.dsl import Artifact, Input, Markdown, Output

from components import component


@component
def gate(evaluation: Input[Artifact], settings: dict, verdict: Output[Markdown]) -> NamedTuple(  # type: ignore[valid-type]
    "Verdict", [("passed", bool), ("reasons", list), ("judged", str)]
):
    """Judge the scores; the verdict with its reasons is a page either way, and JSON.

    The run that trained the model keeps it in MLflow, whether the gate is open or closed.
    """
    import json
    from collections import namedtuple
    from pathlib import Path

    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.evaluation.gate import judge, read_evaluation
    from streetseg.tracking.results import record_verdict

    params = Params.model_validate(settings)
    with exit_on_error():
        scores, frames = read_evaluation(Path(evaluation.path))
        found = judge(scores, params.gate, frames)
        record_verdict(params.registry, scores["run_id"], found)
    Path(verdict.path).write_text(found.to_markdown())
    print(found.to_markdown())
    Verdict = namedtuple("Verdict", ["passed", "reasons", "judged"])
    return Verdict(found.passed, found.reasons, json.dumps(found.to_dict()))


@component
def report_closed_gate(reasons: list, settings: dict) -> None:
    """Say why nothing is registered, and fail the run if that was asked for."""
    import sys

    from streetseg.config.params import Params

    message = f"the gate is closed, nothing is registered: {'; '.join(reasons)}"
    print(message)
    if Params.model_validate(settings).gate.fail_on_gate:
        sys.exit(f"error: {message}")
