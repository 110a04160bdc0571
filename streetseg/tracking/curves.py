"""The learning curves of a model's run, for the page of its evaluation."""

from __future__ import annotations

from pathlib import Path

from streetseg.config.params import Registry
from streetseg.core.errors import StreetsegError
from streetseg.evaluation.curves import Curves
from streetseg.inference.artifact import read_config
from streetseg.tracking.read import read_run
from streetseg.tracking.store import connect


def curves_of(params: Registry, artifact: Path) -> Curves | None:
    """Loss and held-out mIoU of the run that trained an artifact; None if MLflow lacks it."""
    try:
        run = read_run(connect(params), read_config(artifact)["run_id"])
    except StreetsegError:
        return None
    return Curves(run.loss, run.selection_miou) if run and run.loss else None
