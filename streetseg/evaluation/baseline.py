"""The champion: the model that a new one must beat, scored on the same frames by the same code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config, read_labels, read_trained_on
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.accumulator import ConfusionAccumulator, Interval
from streetseg.metrics.bootstrap import frames_showing, interval, mean_iou, resampled_iou
from streetseg.metrics.confusion import category_iou, mean, plain_number, plain_numbers


@dataclass(frozen=True)
class Champion:
    """A version in the registry, with its model artifact on this machine."""

    version: str
    artifact: Path


@dataclass(frozen=True)
class Difference:
    """How much better the challenger is than the champion, on the same frames."""

    value: float
    interval: Interval
    """95 %, from frames drawn for both alike."""


class BaselineModel:
    """A champion while it is scored.

    Attributes:
        reason: why it cannot be, if so.
        trained_on_these: how many of the frames to score on it was trained on; None if unknown.
    """

    def __init__(self, champion: Champion, dataset: PreparedDataset, rows: np.ndarray) -> None:
        """Open the champion, to be scored on some rows of a dataset.

        Raises:
            StreetsegError: its folder is no model artifact.
        """
        self.version = champion.version
        self.info = read_config(champion.artifact)
        self.labels = read_labels(champion.artifact)
        self.reason = self._why_not(dataset)
        self.trained_on_these = count_seen_frames(champion.artifact, dataset, rows)
        self.model = None if self.reason else Segmenter(champion.artifact)
        self.tally = ConfusionAccumulator(dataset.labels)

    def _why_not(self, dataset: PreparedDataset) -> str | None:
        ours, theirs = dataset.labels, self.labels
        if theirs.name != ours.name:
            return f"its label space is {theirs.name}, that of these frames {ours.name}"
        if theirs.names != ours.names:
            return f"it tells apart {', '.join(theirs.names)}, these frames {', '.join(ours.names)}"
        if tuple(self.info["size"]) != dataset.size:
            (height, width), (our_height, our_width) = self.info["size"], dataset.size
            return (
                f"it looks at frames of {width}x{height}, these are prepared at "
                f"{our_width}x{our_height}"
            )
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the scores are null if it could not be scored."""
        scores = None if self.reason else self.tally.scores
        return {
            "version": self.version,
            "run_id": self.info["run_id"],
            "data_version": self.info["data_version"],
            "label_space": self.labels.name,
            "categories": self.labels.names,
            "miou": plain_number(scores.miou) if scores else None,
            "miou_official": plain_number(scores.miou_official) if scores else None,
            "iou": plain_numbers(scores.iou) if scores else None,
            "trained_on_these": self.trained_on_these,
            **({"reason": self.reason} if self.reason else {}),
        }


def count_seen_frames(artifact: Path, dataset: PreparedDataset, rows: np.ndarray) -> int | None:
    """How many of the frames in ``rows`` a model was trained on; None if it does not say."""
    learnt = read_trained_on(artifact)
    if learnt is None:
        return None
    return int(dataset.index["image_hash"].iloc[rows].isin(learnt).sum())


def differences(counts: np.ndarray, champion_counts: np.ndarray) -> tuple[Difference, ...]:
    """What the challenger is better by: in mean IoU, then in the IoU of each category.

    Args:
        counts: int64[F, C, C], the confusion of each frame.
        champion_counts: the champion's, of the same frames.
    """
    ours, theirs = (category_iou(each.sum(axis=0)) for each in (counts, champion_counts))
    our_samples, their_samples = resampled_iou(counts), resampled_iou(champion_counts)
    whole = mean_iou(our_samples) - mean_iou(their_samples)
    by_category = zip(
        ours - theirs, (our_samples - their_samples).T, frames_showing(counts), strict=True
    )
    return (
        Difference(mean(ours) - mean(theirs), interval(whole, len(counts), lowest=-1)),
        *(
            Difference(float(value), interval(samples, showing, lowest=-1))
            for value, samples, showing in by_category
        ),
    )
