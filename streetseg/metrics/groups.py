"""Scores by source and by condition: where a model breaks."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pandas as pd

from streetseg.data.labels import LabelSpace
from streetseg.metrics.confusion import plain_number, plain_numbers, score
from streetseg.metrics.metric import ScoredFrame

Group = tuple[str, str]
"""A source and a condition, either of which may be empty: the frames of all."""


class GroupScores:
    """The scores of each source, and of each condition in it."""

    def __init__(self, index: pd.DataFrame, labels: LabelSpace) -> None:
        """Take the groups from ``index``, which has a row for each frame in the order added."""
        self._groups = groups_of(index)
        self._labels = labels
        self._frames = 0
        self._counts: dict[Group, np.ndarray] = defaultdict(lambda: np.zeros((256, 256), np.int64))

    def add(self, frame: ScoredFrame) -> None:
        """Count a frame."""
        for group in self._groups[self._frames]:
            self._counts[group] += frame.confusion
        self._frames += 1

    def result(self) -> dict[str, Any]:
        """``groups``: for each, ``source``, ``condition``, ``frames``, and the scores ``miou``,
        ``miou_official`` and ``iou`` of each category."""
        frames = Counter(group for groups in self._groups for group in groups)
        entries = []
        for group in sorted(self._counts):
            scores = score(self._counts[group], self._labels)
            entries.append(
                {
                    "source": group[0],
                    "condition": group[1],
                    "frames": frames[group],
                    "miou": plain_number(scores.miou),
                    "miou_official": plain_number(scores.miou_official),
                    "iou": plain_numbers(scores.iou),
                }
            )
        return {"groups": entries}


def groups_of(index: pd.DataFrame) -> list[list[Group]]:
    """The groups of each frame: its source, and its condition there."""
    blank = [""] * len(index)
    columns = [index[name].tolist() if name in index else blank for name in ("source", "condition")]
    return [
        [(source, "")] if not condition else [(source, ""), (source, condition)]
        for source, condition in zip(*columns, strict=True)
    ]
