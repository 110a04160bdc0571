"""Scores by source, beside the champion's: where a model gained and where it lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from streetseg.evaluation.result import Evaluation
from streetseg.metrics.confusion import mean_iou, plain_number
from streetseg.metrics.jackknife import Drives, Estimate, Jackknife, plain_interval

NOT_IN_METRIC_NAMES = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class SourceScore:
    """The mean IoU on the frames of one source, over the categories that they show."""

    name: str
    frames: int
    drives: Drives
    miou: float
    champion_miou: float
    difference: Estimate
    """Challenger minus champion, with its variation over drives."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "frames": self.frames,
            "drives": self.difference.drives,
            "miou": plain_number(self.miou),
            "champion_miou": plain_number(self.champion_miou),
            "difference": plain_number(self.difference.value),
            "interval": plain_interval(self.difference.interval(lowest=-1)),
        }


def scores_by_source(evaluation: Evaluation) -> Iterator[SourceScore]:
    """The scores of model and champion on each source, by name.

    There are none if the data have one source, if no champion was scored, or if the evaluation
    does not hold the source of each frame.
    """
    champion = evaluation.champion
    if evaluation.sources is None or evaluation.counts is None:
        return
    if champion is None or champion.counts is None:
        return
    names = np.full(len(evaluation.counts), "") if evaluation.drives is None else evaluation.drives
    for source in np.unique(evaluation.sources):
        chosen = evaluation.sources == source
        drives = Drives.of_names(names[chosen])
        both = Jackknife(evaluation.counts[chosen], drives, minus=champion.counts[chosen])
        miou, champion_miou = (float(mean_iou(iou)) for iou in both.totals)
        frames = int(chosen.sum())
        yield SourceScore(str(source), frames, drives, miou, champion_miou, both.mean())


def source_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Metrics of a run: ``miou_on_<source>`` and ``champion_miou_on_<source>``.

    Characters that no metric of MLflow may have become underscores.
    """
    metrics = {}
    for each in evaluation.metrics.get("sources") or []:
        name = NOT_IN_METRIC_NAMES.sub("_", each["name"])
        metrics[f"miou_on_{name}"] = each["miou"]
        metrics[f"champion_miou_on_{name}"] = each["champion_miou"]
    return {name: value for name, value in metrics.items() if value is not None}
