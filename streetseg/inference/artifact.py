"""The model artifact: a folder of safe formats with all that serving and fine-tuning need.

=======================  ===========================================================================
``model.onnx``           what is served: RGB uint8[N, height, width, 3] -> logits float32[N, C, ...]
``model.int8.onnx``      the same in 8-bit integers, which CPUs serve; only if it passed the gate
``weights.safetensors``  the same weights for PyTorch, to fine-tune
``config.json``          architecture, input size and fit, and where the model comes from
``labels.json``          the label space
``example.safetensors``  an image and PyTorch's logits for it, to check other runtimes
``trained_on.txt``       hashes of the images it was trained on; missing if they are unknown
``reference.json``       statistics of its evaluation for :mod:`streetseg.monitoring.drift`; only in
                         registered versions, and not in the oldest of them
=======================  ===========================================================================
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from streetseg.core.errors import StreetsegError, did_you_mean_path, joined
from streetseg.data.labels import LabelSpace

FORMAT, FORMAT_WITH_FIT = 1, 2
"""An artifact whose fit is not ``stretch`` has the second: releases that stretch refuse it."""
WEIGHTS = "weights.safetensors"
TRAINED_ON = "trained_on.txt"
REFERENCE = "reference.json"
GRAPHS = {"float32": "model.onnx", "int8": "model.int8.onnx"}


def read_config(artifact: Path) -> dict[str, Any]:
    """The ``config.json`` of an artifact; StreetsegError if it is missing or of another format."""
    config = _read_json(artifact, "config.json")
    if config.get("format") not in (FORMAT, FORMAT_WITH_FIT):
        raise StreetsegError(
            f"{artifact} has format {config.get('format')}, this version reads {FORMAT} and "
            f"{FORMAT_WITH_FIT}: train the "
            "model again, or use the release that made it"
        )
    return config


def weights_sha256(artifact: Path) -> str:
    """The SHA-256 of the weights, 64 hexadecimal digits: equal for equal weights.

    Raises:
        StreetsegError: the folder holds none, as the copy that a service keeps.
    """
    try:
        with (Path(artifact) / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise _no_artifact(artifact, WEIGHTS) from None


def read_labels(artifact: Path) -> LabelSpace:
    """The label space of an artifact; StreetsegError if the folder holds none."""
    return LabelSpace.from_dict(_read_json(artifact, "labels.json"), f"{artifact}/labels.json")


def read_trained_on(artifact: Path) -> set[str] | None:
    """Hashes of the images that a model was trained on; None if they are unknown."""
    path = Path(artifact) / TRAINED_ON
    return set(path.read_text().split()) if path.exists() else None


def _read_json(artifact: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((Path(artifact) / name).read_text())
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise _no_artifact(artifact, name)
    return content


def _no_artifact(artifact: Path, missing: str) -> StreetsegError:
    message = f"{artifact} holds no model artifact ({missing})"
    return StreetsegError(joined(message, did_you_mean_path(artifact, "")))
