"""The last training on a data version, with the verdict of the gate."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streetseg.config.params import Registry
from streetseg.tracking.metric_names import CHAMPION_MIOU_ON, MIOU_ON
from streetseg.tracking.read import search_everywhere
from streetseg.tracking.store import connect, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class JudgedRun:
    """A training run, and what the gate said of its model."""

    id: str
    name: str
    started: datetime
    """In UTC."""
    settings: dict[str, str]
    """By key path, values as text."""
    gate: str | None
    """``passed`` or ``failed``; None if it was not judged."""
    compared_with: str | None
    reasons: list[str]
    sources: dict[str, tuple[float, float]]
    """The mean IoU of model and champion on each source, where both were scored."""


def last_judged(params: Registry, data_version: str) -> JudgedRun | None:
    """The latest run on a data version that was judged, else the latest; None if there is none.

    Raises:
        NoRegistryError: there is no store.
        StreetsegError: the store does not answer.
    """
    client = connect(params)
    with translate_errors(f"cannot read the runs on data version {data_version}"):
        runs = list(search_everywhere(client, f"tags.data_version = '{data_version}'"))
        if not runs:
            return None
        run = next((each for each in runs if "gate" in each.data.tags), runs[0])
        tags, metrics = run.data.tags, run.data.metrics
        names = [name.removeprefix(MIOU_ON) for name in metrics if name.startswith(MIOU_ON)]
        return JudgedRun(
            run.info.run_id,
            run.info.run_name or "",
            datetime.fromtimestamp(run.info.start_time / 1000, UTC),
            dict(run.data.params),
            tags.get("gate"),
            tags.get("gate_compared_with"),
            _reasons(client, run.info.run_id) if "gate" in tags else [],
            {
                name: (metrics[f"{MIOU_ON}{name}"], metrics[f"{CHAMPION_MIOU_ON}{name}"])
                for name in names
                if f"{CHAMPION_MIOU_ON}{name}" in metrics
            },
        )


def _reasons(client: MlflowClient, run_id: str) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        path = client.download_artifacts(run_id, "gate/verdict.json", scratch)
        return [str(reason) for reason in json.loads(Path(path).read_text())["reasons"]]
