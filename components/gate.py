"""Component: what the verdict of the gate means for the run."""

from components import component


@component
def gate(passed: bool, reasons: list, settings: dict) -> None:
    """Say whether the gate is open and why, and fail the run if it is closed and that was asked."""
    import sys

    from streetseg.config.params import Params

    state = "open" if passed else "closed, nothing is registered"
    message = f"the gate is {state}: {'; '.join(reasons)}"
    print(message)
    if not passed and Params.model_validate(settings).gate.fail_on_gate:
        sys.exit(f"error: {message}")
