"""Component: tell a webhook how a run ended."""

from kfp import dsl

from components import component


@component
def report_outcome(
    pipeline: str, run: str, run_id: str, status: dsl.PipelineTaskFinalStatus
) -> None:
    """Post the outcome to STREETSEG_WEBHOOK_URL; a webhook that fails does not fail the run."""
    import os
    import sys

    from components.webhook import post

    outcome = {
        "pipeline": pipeline,
        "run": run,
        "run_id": run_id,
        "state": status.state,
        "error": status.error_message or "",
    }
    problem = post(os.environ.get("STREETSEG_WEBHOOK_URL", ""), outcome)
    if problem:
        print(f"warning: the outcome is not reported: {problem}", file=sys.stderr)
