"""The results of an evaluation, in memory and as files."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streetseg.core.errors import StreetsegError, did_you_mean_path
from streetseg.data.drives import drive_of
from streetseg.data.splits import TEST
from streetseg.metrics.cityscapes import ScoreTable, flat_scores, official_name, read_tables
from streetseg.metrics.confusion import (
    Scores,
    plain_number,
    plain_numbers,
    read_number,
    read_numbers,
)
from streetseg.metrics.jackknife import Drives

SCORES_FILE, COUNTS_FILE = "evaluation.json", "frames.npz"


class FrameScore(NamedTuple):
    """The score of one frame."""

    name: str
    miou: float


@dataclass(frozen=True)
class ChampionScores:
    """Scores of the champion on the frames of an evaluation, or why it has none."""

    version: str
    run_id: str
    data_version: str
    """What it was trained on."""
    label_space: str
    categories: list[str]
    n_seen_in_training: int | None
    """How many of the frames the champion was trained on; None if its artifact does not say."""
    miou: float = math.nan
    miou_official: float = math.nan
    iou: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    """Why it cannot be scored on these frames; empty if it can."""
    counts: np.ndarray | None = field(default=None, repr=False, compare=False)
    """int64[F, C, C], the category confusion of each frame, as :attr:`Evaluation.counts`."""

    @property
    def is_scored(self) -> bool:
        """Whether it has a score."""
        return not math.isnan(self.miou)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ChampionScores:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            version=content["version"],
            run_id=content["run_id"],
            data_version=content.get("data_version", ""),
            label_space=content["label_space"],
            categories=content["categories"],
            n_seen_in_training=content.get("trained_on_these"),
            miou=read_number(content["miou"]),
            miou_official=read_number(content.get("miou_official")),
            iou=read_numbers(content.get("iou") or {}),
            reason=content.get("reason", ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; the scores are null if it could not be scored."""
        return {
            "version": self.version,
            "run_id": self.run_id,
            "data_version": self.data_version,
            "label_space": self.label_space,
            "categories": self.categories,
            "miou": plain_number(self.miou),
            "miou_official": plain_number(self.miou_official),
            "iou": plain_numbers(self.iou) if self.iou else None,
            "trained_on_these": self.n_seen_in_training,
            **({"reason": self.reason} if self.reason else {}),
        }


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a split, as kept in ``evaluation.json`` and ``frames.npz``."""

    data_version: str
    split: str
    run_id: str
    """The run that trained the model."""
    label_space: str
    scores: Scores
    frames: list[FrameScore]
    """Best first."""
    n_seen_in_training: int | None
    """How many of the frames the model was trained on; None if its artifact does not say."""
    champion: ChampionScores | None
    metrics: dict[str, Any]
    """Results of all other metrics: plain data, as in ``evaluation.json``."""
    counts: np.ndarray | None = field(default=None, repr=False, compare=False)
    """int64[F, C, C] (truth, prediction), in index order; None if read without champion scores."""
    drives: np.ndarray | None = field(default=None, repr=False, compare=False)
    """The drive of each frame, str[F], in index order; empty where it is not known."""
    sources: np.ndarray | None = field(default=None, repr=False, compare=False)
    """The source of each frame, str[F], in index order; None if the data have one."""
    confusion: np.ndarray | None = field(default=None, repr=False, compare=False)
    """int64[256, 256], the confusion of label ids of all frames together; None if read."""
    graph_precision: str = "float32"
    """Of the graph that was scored, ``float32`` or ``int8``; early releases did not tell."""

    @property
    def drives_of_frames(self) -> Drives:
        """The drives; none is known if the evaluation does not hold them."""
        if self.drives is None:
            return Drives.of_names(np.full(len(self.frames), ""))
        return Drives.of_names(self.drives)

    @property
    def intervals(self) -> dict[str, Any]:
        """95 % intervals, [low, high] or None: of ``miou``, ``miou_official`` and
        ``boundary_miou``, and under ``iou`` of each category. Empty in early releases."""
        return self.metrics.get("intervals") or {}

    def refuse_test(self) -> None:
        """Raise StreetsegError if the scores are of the split ``test``, which decides nothing."""
        if self.split == TEST:
            raise StreetsegError(
                "these scores are of the split test, on which no model is chosen: run 'streetseg "
                "evaluate' without --split test, and use that folder"
            )

    @property
    def tables(self) -> dict[str, ScoreTable]:
        """``classes`` and ``categories`` of the Cityscapes benchmark, where it applies."""
        return read_tables(self.metrics.get("benchmark"))

    @property
    def official_name(self) -> str:
        """What the official score is called."""
        return official_name(self.scores.categories)

    def headline(self) -> dict[str, float]:
        """The scores that runs are compared by, without those that do not exist.

        In ``cityscapes-19``, those of the benchmark too, such as ``class_miiou``.
        """
        scores = {"miou": self.scores.miou, "miou_official": self.scores.miou_official}
        scores |= {f"iou_{name}": value for name, value in self.scores.iou.items()}
        scores |= flat_scores(self.tables)
        return {name: value for name, value in scores.items() if not math.isnan(value)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evaluation:
        """Read what :meth:`to_dict` wrote, in this release or an earlier one.

        Raises:
            KeyError, TypeError: it is no evaluation.
        """
        champion = content.get("champion")
        frames = [
            FrameScore(each["frame"], read_number(each["miou"])) for each in content["frames"]
        ]
        evaluation = cls(
            data_version=content["data_version"],
            split=content["split"],
            run_id=content["run_id"],
            label_space=content["label_space"],
            scores=Scores.from_dict(content),
            frames=frames,
            n_seen_in_training=content.get("trained_on_these"),
            champion=ChampionScores.from_dict(champion) if champion else None,
            metrics={},
            graph_precision=content.get("graph_precision", "float32"),
        )
        typed = evaluation.to_dict()
        rest = {name: value for name, value in content.items() if name not in typed}
        return replace(evaluation, metrics=rest)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a score that does not exist is null."""
        return {
            "data_version": self.data_version,
            "split": self.split,
            "run_id": self.run_id,
            "label_space": self.label_space,
            "graph_precision": self.graph_precision,
            **self.scores.to_dict(),
            **self.metrics,
            "trained_on_these": self.n_seen_in_training,
            "champion": self.champion.to_dict() if self.champion else None,
            "frames": [{"frame": name, "miou": plain_number(miou)} for name, miou in self.frames],
        }


def write_evaluation(evaluation: Evaluation, folder: Path, frames: Sequence[str]) -> None:
    """Write ``evaluation.json`` and ``frames.npz``; ``frames`` are names in order of the counts."""
    content = json.dumps(evaluation.to_dict(), indent=1)
    (folder / SCORES_FILE).write_text(f"{content}\n")
    arrays: dict[str, Any] = {
        "frames": np.array(frames),
        "counts": evaluation.counts,
    }
    if evaluation.drives is not None:
        arrays["drives"] = evaluation.drives
    if evaluation.sources is not None:
        arrays["sources"] = evaluation.sources
    if evaluation.champion and evaluation.champion.counts is not None:
        arrays["champion_counts"] = evaluation.champion.counts
    np.savez_compressed(folder / COUNTS_FILE, allow_pickle=False, **arrays)


def read_evaluation(folder: Path) -> Evaluation:
    """Read the files of ``streetseg evaluate``; the counts only if a champion was scored.

    Raises:
        StreetsegError: a file is missing or broken, or they are of different evaluations.
    """
    path = folder / SCORES_FILE
    try:
        evaluation = Evaluation.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        hint = did_you_mean_path(folder, "run 'streetseg evaluate' first")
        raise StreetsegError(f"no evaluation in {path}: {hint}") from None
    champion = evaluation.champion
    if champion is None or not champion.is_scored:
        return evaluation
    path = folder / COUNTS_FILE
    try:
        with np.load(path) as arrays:
            counts, champion_counts = arrays["counts"], arrays["champion_counts"]
            drives, sources = arrays.get("drives"), arrays.get("sources")
            names = arrays.get("frames", np.full(len(counts), ""))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        raise StreetsegError(
            f"{path} does not hold the counts of both models: run 'streetseg evaluate' again"
        ) from None
    if not np.array_equal(counts.sum(axis=0), evaluation.scores.category_confusion):
        raise StreetsegError(
            f"{path} is of another evaluation than evaluation.json: run 'streetseg evaluate' again"
        )
    champion = replace(champion, counts=champion_counts)
    if drives is None:  # of an early release
        drives = np.array([drive_of(name) for name in names.tolist()])
    return replace(evaluation, counts=counts, drives=drives, sources=sources, champion=champion)
