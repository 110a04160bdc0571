"""Components: the gate's verdict, and what a closed gate means for the run."""

from typing import NamedTuple

from kfp.dsl import Artifact, Input, Markdown, Output

from components import component


@component
def gate(evaluation: Input[Artifact], settings: dict, verdict: Output[Markdown]) -> NamedTuple(  # type: ignore[valid-type]
    "Verdict", [("passed", bool), ("reasons", list), ("judged", str)]
):
    """Judge the scores; the verdict with its reasons is a page either way, and JSON."""
    import json
    from collections import namedtuple
    from pathlib import Path

    from streetseg.config import Params
    from streetseg.errors import exit_on_error
    from streetseg.gate import judge, read_evaluation

    with exit_on_error():
        scores, frames = read_evaluation(Path(evaluation.path))
        found = judge(scores, Params.model_validate(settings).gate, frames)
    Path(verdict.path).write_text(found.to_markdown())
    print(found.to_markdown())
    Verdict = namedtuple("Verdict", ["passed", "reasons", "judged"])
    return Verdict(found.passed, found.reasons, json.dumps(found.to_dict()))


@component
def report_closed_gate(reasons: list, settings: dict) -> None:
    """Say why nothing is registered, and fail the run if that was asked for."""
    import sys

    from streetseg.config import Params

    message = f"the gate is closed, nothing is registered: {'; '.join(reasons)}"
    print(message)
    if Params.model_validate(settings).gate.fail_on_gate:
        sys.exit(f"error: {message}")
