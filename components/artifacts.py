"""What components hand on: artifacts that are checked before use, and metrics that are numbers."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.metrics.confusion import row_normalized

if TYPE_CHECKING:
    from kfp.dsl import Artifact, ClassificationMetrics, Metrics

MAX_METRICS = 10
"""Rows on the first page of the UI's table of metrics."""


class Contents(NamedTuple):
    """How much is in a folder and the folders below it, or in a file."""

    files: int
    bytes: int

    @classmethod
    def of(cls, path: Path) -> Contents:
        """Count what is there: nothing if there is no such path."""
        paths = [path] if path.is_file() else path.rglob("*")
        sizes = [file.stat().st_size for file in paths if file.is_file()]
        return cls(len(sizes), sum(sizes))


def seal(artifact: Artifact, step: str) -> None:
    """Record in the metadata of a complete output which step wrote it, and how much.

    Args:
        artifact: an output whose files are written.
        step: name of the step, as ``submit --no-cache`` takes it.
    """
    artifact.metadata |= {"step": step, **Contents.of(Path(artifact.path))._asdict()}


def checked(artifact: Artifact) -> Path:
    """The path of an input, whose files are those that its step wrote.

    Kubeflow reuses the outputs of a step without looking whether they are still in the store. Where
    they are not, the next step receives an empty folder. Artifacts of other components, which
    :func:`seal` has not seen, must only not be empty.

    Raises:
        StreetsegError: files are missing.
    """
    path = Path(artifact.path)
    found = Contents.of(path)
    step = artifact.metadata.get("step") or f"the step that wrote '{artifact.name or path.name}'"
    written = _sealed(artifact)
    if found.files and (written is None or found == written):
        return path
    part = ""
    if found.files and written:
        part = f" in part ({found.files} of {written.files} files are left, {found.bytes} of "
        part += f"{written.bytes} bytes)"
    raise StreetsegError(
        f"the artifact of {step} is gone from the store{part}: submit again with --no-cache"
    )


def _sealed(artifact: Artifact) -> Contents | None:
    """What :func:`seal` has recorded; None of an artifact of another component."""
    if "step" not in artifact.metadata:
        return None
    try:  # Numbers of the metadata come back from Kubeflow as floats.
        return Contents(*(int(artifact.metadata[key]) for key in Contents._fields))
    except (KeyError, TypeError, ValueError):
        return None


def log_metrics(metrics: Metrics, values: Mapping[str, float]) -> None:
    """Show the first ten of ``values`` that are numbers, the most important first.

    The UI sorts them by name, capitals before small letters. Kubeflow fails a step that hands on
    NaN or infinity, so such a value is left out, with a warning that names it.
    """
    numbers = {name: value for name, value in values.items() if math.isfinite(value)}
    for name in values.keys() - numbers.keys():
        print(f"warning: '{name}' is {values[name]}, no number: left out", file=sys.stderr)
    for name in [*numbers][:MAX_METRICS]:
        metrics.log_metric(name, numbers[name])
    Path(metrics.path).write_text(json.dumps(metrics.metadata))


def log_confusion(
    confusion: ClassificationMetrics, categories: Sequence[str], counts: np.ndarray
) -> None:
    """Show a confusion matrix in per cent of the pixels of each true category.

    Args:
        confusion: the output.
        categories: names, in order of category id.
        counts: int64[C, C] (truth, prediction); a category without pixels is shown as zeros.
    """
    percent = np.round(100 * row_normalized(counts), 1)
    confusion.log_confusion_matrix([*categories], percent.tolist())
    Path(confusion.path).write_text(json.dumps(confusion.metadata))
