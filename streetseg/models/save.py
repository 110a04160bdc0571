"""Writing a model artifact (see :mod:`streetseg.inference.artifact` for the format)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from streetseg.config.params import Params
from streetseg.core.atomic_files import atomic_folder
from streetseg.core.provenance import git_revision
from streetseg.data.dataset import PreparedDataset
from streetseg.images.resize import resize_rgb
from streetseg.inference.artifact import (
    FORMAT,
    FORMAT_WITH_FIT,
    GRAPHS,
    TRAINED_ON,
    WEIGHTS,
    read_config,
    read_labels,
)
from streetseg.inference.self_check import EXAMPLE, check_onnx, read_example
from streetseg.models.build import SegmentationModel, check_size
from streetseg.models.description import describe
from streetseg.models.load import load_torch
from streetseg.models.onnx_export import export_onnx


def save_artifact(
    model: SegmentationModel,
    dataset: PreparedDataset,
    params: Params,
    destination: Path,
    *,
    run_id: str,
    epoch: int,
    trained_on: Collection[str] | None = None,
) -> Path:
    """Write ``model`` (on the CPU, in eval mode) as an artifact, atomically.

    The caller holds the lock of ``destination`` if other processes may write it, too.
    ``trained_on`` is the result of :func:`images_trained_on`; None if unknown.

    Raises:
        StreetsegError: the folder cannot be written, or the exported graph gives other logits.
    """
    config = {
        "format": FORMAT if dataset.fit == "stretch" else FORMAT_WITH_FIT,
        "model": params.model.model_dump(),
        "size": list(dataset.size),
        "fit": dataset.fit,
        "run_id": run_id,
        "epoch": epoch,
        "data_version": dataset.version,
        "git_revision": git_revision(),
        "params": params.to_dict(),
    }
    with atomic_folder(destination, "config.json", locked=True) as folder:
        _write_json(folder / "config.json", config)
        _write_json(folder / "labels.json", dataset.labels.to_dict())
        if trained_on is not None:
            hashes = "".join(f"{image_hash}\n" for image_hash in sorted(trained_on))
            (folder / TRAINED_ON).write_text(hashes)
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save(weights))
        export_onnx(model, dataset.size, folder / "model.onnx", describe(config, dataset.labels))
        save_example(model, dataset.image(int(dataset.rows("train")[0])), folder)
        check_onnx(folder)
    return destination


def resize_artifact(artifact: Path, size: tuple[int, int], folder: Path) -> Path:
    """Write what prediction needs of an artifact to ``folder``, with an input of (height, width).

    Raises:
        StreetsegError: the network cannot take this size, or the exported graph gives other logits.
    """
    model, config = load_torch(artifact), read_config(artifact) | {"size": list(size)}
    check_size(model, size)
    _write_json(folder / "config.json", config)
    shutil.copyfile(artifact / "labels.json", folder / "labels.json")
    export_onnx(model, size, folder / GRAPHS["float32"], describe(config, read_labels(artifact)))
    save_example(model, resize_rgb(read_example(artifact), size), folder)
    check_onnx(folder)
    return folder


def save_example(model: SegmentationModel, image: np.ndarray, folder: Path) -> None:
    """Store an image uint8[height, width, 3] and the logits that PyTorch computes for it."""
    images = torch.from_numpy(np.array(image)[None])
    with torch.inference_mode():
        example = {"images": images, "logits": model(images).contiguous()}
    (folder / EXAMPLE).write_bytes(save(example))


def images_trained_on(
    dataset: PreparedDataset, inherited: Collection[str] | None
) -> set[str] | None:
    """The ``image_hash`` of every image behind a model that was trained on ``dataset``.

    They include held-out frames, and ``inherited`` from the initial model; None if that is unknown.
    """
    own = set(dataset.index["image_hash"][dataset.rows("train")])
    return None if inherited is None else own.union(inherited)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
