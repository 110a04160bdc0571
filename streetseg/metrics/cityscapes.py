"""The scores of the Cityscapes benchmark: IoU and iIoU of its 19 classes and 7 categories.

Source: ``evalPixelLevelSemanticLabeling`` of cityscapesScripts, whose tables papers report as IoU
class, iIoU class, IoU category and iIoU category.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from streetseg.data.labels import LabelSpace
from streetseg.metrics.confusion import mean_iou, read_numbers, score
from streetseg.metrics.instance_iou import InstanceIou, Objects
from streetseg.metrics.metric import ScoredFrame

NAME = "Cityscapes"


@cache
def _spaces() -> dict[str, LabelSpace]:
    """The label space of each table."""
    names = {"classes": "cityscapes-19", "categories": "cityscapes"}
    return {table: LabelSpace.load(name) for table, name in names.items()}


@dataclass(frozen=True)
class ScoreTable:
    """IoU and iIoU, 0 to 1; NaN where the benchmark's script gives NaN."""

    iou: Mapping[str, float]
    iiou: Mapping[str, float] | None
    """Of classes or categories with instances; None if instance ids are not known."""

    @property
    def miou(self) -> float:
        """The mean IoU."""
        return _mean(self.iou.values())

    @property
    def miiou(self) -> float:
        """The mean iIoU; NaN if instance ids are not known."""
        return _mean((self.iiou or {}).values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, not rounded; a score that does not exist is null."""
        iiou = None if self.iiou is None else _plain(self.iiou)
        means = _plain({"miou": self.miou, "miiou": self.miiou})
        return {**means, "iou": _plain(self.iou), "iiou": iiou}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ScoreTable:
        """The inverse of :meth:`to_dict`."""
        iiou = content["iiou"]
        return cls(read_numbers(content["iou"]), None if iiou is None else read_numbers(iiou))


class CityscapesScores:
    """The two tables of some frames."""

    def __init__(self) -> None:
        """Start without frames."""
        self._confusion = np.zeros((256, 256), np.int64)
        self._instance_iou = {name: InstanceIou(space) for name, space in _spaces().items()}
        self._has_instances = True

    def count(self, confusion: np.ndarray, objects: Objects | None) -> None:
        """Count a frame: int64[256, 256] by label id (truth, prediction), and its objects.

        After a frame without known objects (None), there is no iIoU.
        """
        self._confusion += confusion
        self._has_instances &= objects is not None
        if objects:
            for instance_iou in self._instance_iou.values():
                instance_iou.add(objects)

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        objects = None
        if frame.instances is not None:
            predicted = frame.labels.representative_ids[frame.categories]
            objects = Objects.of(frame.instances, predicted)
        self.count(frame.confusion, objects)

    @property
    def tables(self) -> dict[str, ScoreTable]:
        """By name, ``classes`` and ``categories``."""
        return {
            name: ScoreTable(
                score(self._confusion, space).iou_official,
                self._instance_iou[name].result(self._confusion) if self._has_instances else None,
            )
            for name, space in _spaces().items()
        }

    def result(self) -> dict[str, Any]:
        """``benchmark``: its name and the tables."""
        return {"benchmark": benchmark_entry(self.tables)}


def benchmark_entry(tables: Mapping[str, ScoreTable]) -> dict[str, Any]:
    """The tables as the entry ``benchmark`` of an evaluation."""
    return {"name": NAME} | {name: table.to_dict() for name, table in tables.items()}


def read_tables(benchmark: Mapping[str, Any] | None) -> dict[str, ScoreTable]:
    """The tables in an entry ``benchmark``; none in that of another benchmark."""
    return {
        name: ScoreTable.from_dict(content)
        for name in _spaces()
        if (content := (benchmark or {}).get(name))
    }


def official_name(categories: Iterable[str]) -> str:
    """What the official score of a model of some categories is called."""
    of_classes = [*categories] == _spaces()["classes"].names
    return f"official {'class' if of_classes else 'category'} score"


def tables_of(labels: LabelSpace, by_category: bool) -> list[str]:
    """The tables that fit predictions in the label ids, or in the category ids, of a label space.

    None fits unless its labels are numbered as in Cityscapes.
    """
    classes, categories = _spaces().values()
    official = {(label.id, label.name) for label in categories.labels}
    if not official.issuperset((label.id, label.name) for label in labels.labels):
        return []
    if not by_category or labels.names == classes.names:
        return [*_spaces()]
    return ["categories"] if labels.names == categories.names else []


def has_classes(labels: LabelSpace) -> bool:
    """Whether its categories are the 19 classes, as in ``cityscapes-19``."""
    return "classes" in tables_of(labels, by_category=True)


def flat_scores(tables: Mapping[str, ScoreTable]) -> dict[str, float]:
    """Scores by names such as ``class_miou``, ``class_iou_road`` and ``category_iiou_human``."""
    scores: dict[str, float] = {}
    for kind, title in (("classes", "class"), ("categories", "category")):
        if table := tables.get(kind):
            scores |= {f"{title}_miou": table.miou, f"{title}_miiou": table.miiou}
            scores |= {f"{title}_iou_{name}": value for name, value in table.iou.items()}
            iiou = table.iiou or {}
            scores |= {f"{title}_iiou_{name}": value for name, value in iiou.items()}
    return scores


def classes_of(category: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that are classes of a category, as person and rider of human."""
    labels = _spaces()["categories"].labels
    classes = [x.name for x in labels if x.category == category and not x.ignore_in_eval]
    return [name for name in names if name in classes]


def _mean(values: Iterable[float]) -> float:
    return float(mean_iou(np.array([*values], float)))


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
