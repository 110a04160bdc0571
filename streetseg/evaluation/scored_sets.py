"""A model scored on several prepared datasets, each by itself, and the scores of all together."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from streetseg.config.params import Params
from streetseg.config.yaml_files import validated
from streetseg.core.atomic_files import write_new
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.cross import Worst, WorstFrame, worst_frames, write_cross
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.inference.segmenter import Segmenter
from streetseg.metrics.confusion import plain_number, plain_numbers, score
from streetseg.metrics.groups import Group

SET_FILE = "set.json"
MAX_SETS = 100
"""Kubeflow passes all of them with their settings on a command line, of at most 125 kB."""


@dataclass(frozen=True)
class SetToScore:
    """A set, and all that its score depends on."""

    name: str
    data_version: str
    model: str
    """By its number in the registry, ``models:/<name>/<version>``."""
    run: str
    """Of the model: its id in MLflow, which tells registries apart."""
    settings: dict[str, Any]

    @classmethod
    def from_dict(cls, plain: Any) -> SetToScore:
        """Take what the step ``list-sets`` lists; StreetsegError if it is something else."""
        return validated(TypeAdapter(cls), plain, "the set, an entry of list-sets")


@dataclass(frozen=True)
class ScoredSet:
    """What is left of a set when it has been scored."""

    evaluation: Evaluation
    confusion: np.ndarray
    """int64[256, 256], of label ids (truth, prediction), all frames together."""
    labels: LabelSpace
    groups: list[dict[str, Any]]
    """Scores of the set and of its conditions, as :class:`streetseg.metrics.groups.GroupScores`."""
    worst: Worst

    @classmethod
    def read(cls, folder: Path) -> ScoredSet:
        """Read what :func:`score_set` wrote; StreetsegError if it is something else."""
        path = folder / SET_FILE
        try:
            content = json.loads(path.read_text())
            confusion = np.zeros((256, 256), np.int64)
            truth, predicted, counts = np.array(content["confusion"], np.int64).reshape(-1, 3).T
            confusion[truth, predicted] = counts
            return cls(
                evaluation=read_evaluation(folder),
                confusion=confusion,
                labels=LabelSpace.from_dict(content["labels"]),
                groups=content["groups"],
                worst=[
                    ((source, condition), [WorstFrame(**frame) for frame in frames])
                    for (source, condition), frames in content["worst"]
                ],
            )
        except (OSError, ValueError, LookupError, TypeError):
            raise StreetsegError(f"{path} is no scored set: score it with 'score-set'") from None


def parse_sets(text: str) -> dict[str, str]:
    """Data version or git revision by name, sorted, of ``NAME=VERSION`` with blanks between them.

    Raises:
        StreetsegError: another form, a name twice, none, or more than ``MAX_SETS``.
    """
    sets: dict[str, str] = {}
    for entry in text.split():
        name, _, version = entry.partition("=")
        if not re.fullmatch(r"\w[\w.-]*", name) or not version:
            raise StreetsegError(
                f"data_versions: '{entry}' is no NAME=VERSION, such as acdc={'0' * 32}.dir"
            )
        if name in sets:
            raise StreetsegError(f"data_versions names '{name}' twice: give each set its own name")
        sets[name] = version
    if not 1 <= len(sets) <= MAX_SETS:
        raise StreetsegError(f"data_versions has {len(sets)} sets: give 1 to {MAX_SETS}")
    return dict(sorted(sets.items()))


def score_set(
    name: str, artifact: Path, dataset: PreparedDataset, params: Params, destination: Path
) -> Evaluation:
    """Score a model on the split val of one set, to be joined with others.

    Writes the files of :func:`streetseg.evaluation.evaluate.evaluate` and ``set.json``.

    Raises:
        StreetsegError: as there; such as a dataset that does not fit the model.
    """
    model = Segmenter(artifact)
    evaluation = evaluate(model, dataset, params, destination)
    confusion = evaluation.confusion
    assert confusion is not None, "an evaluation made just now has it"
    cells = np.nonzero(confusion)
    worst = worst_frames(model, dataset, evaluation)
    several = len({source for (source, _), _ in worst}) > 1
    content = {
        "labels": model.labels.to_dict(),
        "confusion": np.stack([*cells, confusion[cells]], axis=1).tolist(),
        "groups": _groups(name, evaluation, several),
        "worst": [
            (_named(name, group, several), [asdict(frame) for frame in frames])
            for group, frames in worst
        ],
    }
    write_new({destination / SET_FILE: json.dumps(content)})
    return evaluation


def join_sets(folders: Sequence[Path], table: Path, page: Path) -> Evaluation:
    """Write the table and the page of ``streetseg cross-evaluate`` for sets that were scored.

    Returns the evaluation of all frames together, with the sets as ``groups``. It has no intervals
    and no other metrics.

    Raises:
        StreetsegError: a folder is no scored set, they are of different models, or a file cannot
            be written.
    """
    sets = [ScoredSet.read(folder) for folder in folders]
    if not sets:
        raise StreetsegError("no set was scored: give at least one")
    first = sets[0]
    if any(
        (each.evaluation.run_id, each.labels) != (first.evaluation.run_id, first.labels)
        for each in sets
    ):
        raise StreetsegError("the sets were scored with different models: score them with one")
    everything = replace(
        first.evaluation,
        data_version="",
        scores=score(np.sum([each.confusion for each in sets], axis=0), first.labels),
        frames=[frame for each in sets for frame in each.evaluation.frames],
        n_seen_in_training=None,
        metrics={"groups": [group for each in sets for group in each.groups]},
        counts=None,
        drives=None,
    )
    write_cross(everything, [shown for each in sets for shown in each.worst], table, page)
    return everything


def _groups(name: str, evaluation: Evaluation, several: bool) -> list[dict[str, Any]]:
    """A row of the whole set, and those of its sources, if there are several, and conditions."""
    scores = evaluation.scores
    whole = {
        "source": name,
        "condition": "",
        "frames": len(evaluation.frames),
        "miou": plain_number(scores.miou),
        "miou_official": plain_number(scores.miou_official),
        "iou": plain_numbers(scores.iou),
    }
    rows = []
    for row in evaluation.metrics.get("groups") or []:
        if several or row["condition"]:
            source, condition = _named(name, (row["source"], row["condition"]), several)
            rows.append(row | {"source": source, "condition": condition})
    return [whole, *rows]


def _named(name: str, group: Group, several: bool) -> Group:
    source, condition = group
    return (f"{name}/{source}" if several else name), condition
