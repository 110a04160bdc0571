"""Component: the result of a search for better settings."""

from kfp.dsl import HTML, Metrics, Output

from components import component


@component
def report_search(
    studies: list,
    trials: list,
    report: Output[HTML],
    metrics: Output[Metrics],
) -> str:
    """Write the page of all trials; returns the best settings, as the field ``overrides`` takes.

    ``trials`` has the number of trials of each worker: this step waits for all of them.
    """
    import tempfile
    from collections import Counter
    from pathlib import Path

    from components.artifacts import log_metrics
    from streetseg.config.overrides import format_overrides
    from streetseg.core.errors import StreetsegError, exit_on_error
    from streetseg.tuning.shared import finish_search

    with exit_on_error(), tempfile.TemporaryDirectory() as scratch:
        if not studies:
            raise StreetsegError("no study is named: give the output of plan-search")
        found = finish_search(studies[0], Path(scratch))
        Path(report.path).write_text(found.page.read_text())
    states = Counter(trial.state for trial in found.trials)
    log_metrics(metrics, {"IoU mean of the holdout": found.best.miou or 0.0, **states})
    best = format_overrides(found.best.settings)
    print(f"study {studies[0]}, trials of each worker: {trials}; the best settings:\n{best}")
    return best
