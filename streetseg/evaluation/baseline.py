"""The champion: the model that a new one must beat, scored on the same frames by the same code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.result import ChampionScores
from streetseg.inference.artifact import read_config, read_labels, read_trained_on
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import categories_at, shown_part
from streetseg.metrics.accumulator import ConfusionAccumulator
from streetseg.metrics.jackknife import Drives, Estimate, Jackknife
from streetseg.metrics.metric import ScoredFrame


@dataclass(frozen=True)
class Champion:
    """A version in the registry, with its model artifact on this machine."""

    version: str
    artifact: Path


class BaselineModel:
    """A champion being scored; ``reason`` says why it cannot be, and is empty if it can."""

    def __init__(self, champion: Champion, dataset: PreparedDataset, rows: np.ndarray) -> None:
        """Open the champion, to be scored on some rows of a dataset.

        Raises:
            StreetsegError: its folder is no model artifact.
        """
        info, labels = read_config(champion.artifact), read_labels(champion.artifact)
        self.reason = _why_not_scored(info, labels, dataset)
        self._unscored = ChampionScores(
            version=champion.version,
            run_id=info["run_id"],
            data_version=info["data_version"],
            label_space=labels.name,
            categories=labels.names,
            n_seen_in_training=count_seen_frames(champion.artifact, dataset, rows),
            reason=self.reason,
        )
        self._model = None if self.reason else Segmenter(champion.artifact)
        self._confusion = ConfusionAccumulator(dataset.labels)

    def add(self, frame: ScoredFrame) -> None:
        """Predict a frame with the champion, and count it."""
        if self._model:
            logits = shown_part(self._model.logits(frame.image[None])[0], frame.placement)
            categories = categories_at(logits, frame.truth.shape)
            self._confusion.add(replace(frame, categories=categories))

    def result(self) -> ChampionScores:
        """The scores on the frames added so far, or why there are none."""
        if not self._model:
            return self._unscored
        scores = self._confusion.scores
        return replace(
            self._unscored,
            miou=scores.miou,
            miou_official=scores.miou_official,
            iou=scores.iou,
            counts=self._confusion.counts,
        )


def open_baseline(
    champion: Champion | None, model: Segmenter, dataset: PreparedDataset, rows: np.ndarray
) -> BaselineModel | None:
    """The champion to score beside a model; None if there is none or it is that same model.

    Raises:
        StreetsegError: its folder is no model artifact.
    """
    if champion is None:
        return None
    if read_config(champion.artifact)["run_id"] == model.info["run_id"]:
        print(
            f"this model is the champion, version {champion.version}: nothing to compare with",
            file=sys.stderr,
        )
        return None
    baseline = BaselineModel(champion, dataset, rows)
    if reason := baseline.reason:
        print(f"the champion, version {champion.version}, is not scored: {reason}", file=sys.stderr)
    return baseline


def _why_not_scored(info: Mapping[str, Any], labels: LabelSpace, dataset: PreparedDataset) -> str:
    expected = dataset.labels
    if labels.name != expected.name:
        return f"its label space is {labels.name}, that of these frames {expected.name}"
    if labels.names != expected.names:
        names, expected_names = ", ".join(labels.names), ", ".join(expected.names)
        return f"its categories are {names}, those of these frames {expected_names}"
    if tuple(info["size"]) != dataset.size:
        (height, width), (prepared_height, prepared_width) = info["size"], dataset.size
        return (
            f"it takes frames of {width}x{height}, these are prepared at "
            f"{prepared_width}x{prepared_height}"
        )
    if (fit := info.get("fit", "stretch")) != dataset.fit:
        return f"it was trained with prepare.fit={fit}, these are prepared with {dataset.fit}"
    return ""


def count_seen_frames(artifact: Path, dataset: PreparedDataset, rows: np.ndarray) -> int | None:
    """How many of the frames in ``rows`` a model was trained on; None if it does not say."""
    trained_on = read_trained_on(artifact)
    if trained_on is None:
        return None
    return int(dataset.index["image_hash"].iloc[rows].isin(trained_on).sum())


def differences(
    counts: np.ndarray, champion_counts: np.ndarray, drives: Drives
) -> tuple[Estimate, ...]:
    """Challenger minus champion: the mean IoU, then the IoU of each category.

    The counts are int64[F, C, C], the confusion of each frame, for the same frames.
    """
    both = Jackknife(counts, drives, minus=champion_counts)
    return (both.mean(), *(both.category(column) for column in range(counts.shape[1])))
