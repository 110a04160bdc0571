"""Component: what a closed gate means for the run."""

from components import component


@component
def report_closed_gate(reasons: list, settings: dict) -> None:
    """Say why nothing is registered, and fail the run if that was asked for."""
    import sys

    from streetseg.config.params import Params

    message = f"the gate is closed, nothing is registered: {'; '.join(reasons)}"
    print(message)
    if Params.model_validate(settings).gate.fail_on_gate:
        sys.exit(f"error: {message}")
