"""Component: what the verdict of the gate means for the run."""

from components import component


@component
def gate(passed: bool, reasons: list, settings: dict) -> None:
    """Say whether the gate is open and why, and fail the run if it is closed and that was asked."""
    import sys

    from streetseg.config.params import read_settings
    from streetseg.core.errors import exit_on_error

    with exit_on_error():
        fails = read_settings(settings).gate.fail_on_gate
    state = "open" if passed else "closed, nothing is registered"
    message = f"the gate is {state}: {'; '.join(map(str, reasons))}"
    print(message)
    if fails and not passed:
        sys.exit(f"error: {message}")
